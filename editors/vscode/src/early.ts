// What was typed before there was a server to ask gets its suggestion when there is one: VS Code asks
// after a key only, and the user may be waiting for it.

import { commands, Disposable, type TextDocument, window, workspace } from "vscode";

export class Early implements Disposable {
  private typed: { document: TextDocument; version: number } | undefined;
  private watching: Disposable | undefined;

  /** From now on there is none. */
  watch(): void {
    this.watching ??= workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
      if (document === window.activeTextEditor?.document && contentChanges.length > 0) {
        this.typed = { document, version: document.version };
      }
    });
  }

  /** From now on there is one. */
  async ask(): Promise<void> {
    const { typed } = this;
    this.dispose();
    const document = window.activeTextEditor?.document;
    if (document !== undefined && typed?.document === document && typed.version === document.version) {
      if (workspace.getConfiguration("editor", document).get("inlineSuggest.enabled")) {
        await commands.executeCommand("editor.action.inlineSuggest.trigger");
      }
    }
  }

  dispose(): void {
    this.watching?.dispose();
    this.watching = this.typed = undefined;
  }
}
