import assert from "node:assert/strict";
import { test } from "node:test";
import { render } from "../src/page/markdown";

test("HTML, images and scripts stay text", () => {
  const html = render('<script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\n![a](https://x.test/a.png "t")');
  assert.doesNotMatch(html, /<script|<img/);
  assert.match(html, /&lt;script&gt;/);
});

test("a link is only named: the host decides what a click does", () => {
  const html = render('[a](https://x.test/?a="b) [b](javascript:alert(1)) [c](command:x)');
  assert.match(html, /<a href="#" data-link="https:\/\/x\.test\/\?a=%22b"/);
  assert.doesNotMatch(html, /href="(?!#)/);
  assert.doesNotMatch(html, /data-link="javascript:/);
});

test("a code block has its language, its buttons and its text, escaped", () => {
  const html = render('```python "x\nif a < b:\n```\nthen');
  assert.match(html, /<span>python<\/span>/);
  assert.deepEqual([...html.matchAll(/data-do="(\w+)"/g)].map(([, name]) => name), ["insert", "copy", "apply"]);
  assert.match(html, /<code>if a &lt; b:\n<\/code>/);
});

test("a block that is still being written is one already", () => {
  assert.match(render("```js\nlet a"), /<code>let a\n?<\/code>/);
});
