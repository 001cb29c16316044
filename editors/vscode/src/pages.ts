// The HTML of the chat view: our own script and style, and nothing from anywhere else.

import { randomBytes } from "node:crypto";
import { Uri, type Webview } from "vscode";

export function chatPage(webview: Webview, extension: Uri): string {
  const nonce = randomBytes(16).toString("base64");
  const at = (name: string) => webview.asWebviewUri(Uri.joinPath(extension, "dist", name));
  const policy = `default-src 'none'; style-src ${webview.cspSource}; script-src 'nonce-${nonce}'`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<link rel="stylesheet" href="${at("chat.css")}">
<title>cl-lsp chat</title>
</head>
<body class="empty">
<div id="turns" role="log" aria-live="polite" tabindex="0"></div>
<p id="hint">Ask about the code that you have selected, or about anything. Answers come from the model on
your machine; it needs to be an Instruct model.</p>
<form>
<div id="about"></div>
<textarea id="question" rows="3" aria-label="question" placeholder="Ask (Enter sends, Shift+Enter is a new line)"></textarea>
<div class="buttons">
<button id="stop" type="button">Stop</button>
<button id="ask" type="button">Ask</button>
</div>
</form>
<script nonce="${nonce}" src="${at("chat.js")}"></script>
</body>
</html>`;
}
