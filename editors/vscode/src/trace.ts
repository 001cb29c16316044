// "Why was there no suggestion?": what the server noted of its last requests, as a document.

import { window, workspace } from "vscode";
import type { Client } from "./client";

/** `cl-lsp/trace` answers with text, or with an object for machines. */
export async function showTrace(client: Client): Promise<void> {
  const trace = await client.sendRequest<unknown>("cl-lsp/trace", {});
  const content = typeof trace === "string" ? trace : JSON.stringify(trace, null, 2);
  const language = typeof trace === "string" ? "markdown" : "json";
  const document = await workspace.openTextDocument({ content, language });
  await window.showTextDocument(document, { preview: true });
}
