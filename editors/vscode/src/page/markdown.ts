// Markdown to HTML that is safe to show: no HTML of the text's, no images, nothing is fetched.

import MarkdownIt from "markdown-it";

const BUTTONS = [
  ["insert", "Insert", "Insert at the cursor"],
  ["copy", "Copy", "Copy the code"],
  ["apply", "Apply", "Replace the code that was asked about; undo takes it back"],
];

const markdown = new MarkdownIt({ html: false, linkify: false }).disable(["image", "html_inline"]);
const { escapeHtml } = markdown.utils;

markdown.renderer.rules["fence"] = (tokens, index) => {
  const { info, content } = tokens[index] ?? { info: "", content: "" };
  const language = escapeHtml(info.trim().split(/\s+/)[0] ?? "");
  const buttons = BUTTONS.map(
    ([name, text, title]) => `<button data-do="${name}" title="${title}">${text}</button>`,
  ).join("");
  return (
    `<div class="code"><div class="bar"><span>${language}</span>${buttons}</div>` +
    `<pre tabindex="0"><code>${escapeHtml(content)}</code></pre></div>`
  );
};
// A click is the host's business: it opens a page in the browser, if the user says so.
markdown.renderer.rules["link_open"] = (tokens, index) => {
  const target = escapeHtml(String(tokens[index]?.attrGet("href") ?? ""));
  return `<a href="#" data-link="${target}" title="${target}">`;
};

export function render(text: string): string {
  return markdown.render(text);
}
