// What a conversation is about: the selection of an editor, as it was when the question was asked.

import * as path from "node:path";
import { Range, type TextEditor, type Uri, window, workspace } from "vscode";
import type { Range as Lines } from "vscode-languageclient/node";

export interface Origin {
  uri: Uri;
  range: Range;
  text: string;
}

/** Of the active editor; undefined if nothing is selected. */
export function selected(editor: TextEditor | undefined = window.activeTextEditor): Origin | undefined {
  if (!editor || editor.selection.isEmpty) {
    return undefined;
  }
  const range = new Range(editor.selection.start, editor.selection.end);
  return { uri: editor.document.uri, range, text: editor.document.getText(range) };
}

export function rangeOf({ start, end }: Lines): Range {
  return new Range(start.line, start.character, end.line, end.character);
}

/** `inventory.py:3-9` */
export function place({ uri, range }: Origin): string {
  const [first, last] = [range.start.line + 1, range.end.line + (range.end.character ? 1 : 0)];
  return `${path.posix.basename(uri.path)}:${first}${last > first ? `-${last}` : ""}`;
}

/** Put code at the cursor of the editor that was used last. */
export async function insert(code: string): Promise<void> {
  const editor = window.activeTextEditor ?? window.visibleTextEditors[0];
  if (!editor) {
    void window.showInformationMessage("cl-lsp: no editor is open to insert the code into.");
    return;
  }
  await editor.edit((edit) => edit.replace(editor.selection, code));
  await window.showTextDocument(editor.document, editor.viewColumn);
}

/** Replace what was asked about, if it is still there, and show it; undo takes it back. */
export async function apply(code: string, origin: Origin | undefined): Promise<void> {
  if (!origin) {
    await insert(code);
    return;
  }
  const document = await workspace.openTextDocument(origin.uri);
  if (document.getText(origin.range) !== origin.text) {
    const message = `cl-lsp: ${place(origin)} has changed since the question; nothing was replaced.`;
    void window.showWarningMessage(message);
    return;
  }
  const editor = await window.showTextDocument(document, { selection: origin.range });
  await editor.edit((edit) => edit.replace(origin.range, code));
}
