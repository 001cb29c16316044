// "Why was there no suggestion?": what the server noted of its last requests, as a document.

import { window, workspace } from "vscode";
import type { Client } from "./client";

export async function showTrace(client: Client): Promise<void> {
  const { markdown } = await client.sendRequest<{ markdown: string }>("cl-lsp/trace", {});
  const document = await workspace.openTextDocument({ content: markdown, language: "markdown" });
  await window.showTextDocument(document, { preview: true });
}
