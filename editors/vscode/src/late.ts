// Suggestions that come late are shown. VS Code stops waiting for an automatic one after 750 ms,
// to open its list of words instead; what comes after that is offered again, if nobody typed on.

import {
  CancellationTokenSource,
  commands,
  Disposable,
  type CancellationToken,
  type InlineCompletionContext,
  type InlineCompletionItem,
  type InlineCompletionList,
  type Position,
  type ProviderResult,
  type TextDocument,
  window,
  workspace,
} from "vscode";

type Items = InlineCompletionItem[] | InlineCompletionList | undefined | null;
type Ask = (
  document: TextDocument,
  position: Position,
  context: InlineCompletionContext,
  token: CancellationToken,
) => ProviderResult<Items>;

// A cancellation sooner than this is not VS Code's impatience: somebody typed or pressed Esc.
const IMPATIENT_MS = 700;

export class Late {
  private kept: { document: TextDocument; version: number; position: Position; items: Items } | undefined;

  async provide(
    document: TextDocument,
    position: Position,
    context: InlineCompletionContext,
    token: CancellationToken,
    ask: Ask,
  ): Promise<Items> {
    const kept = this.kept;
    this.kept = undefined;
    const { version } = document;
    if (kept?.document === document && kept.version === version && kept.position.isEqual(position)) {
      return kept.items;
    }
    const began = Date.now();
    const asked = new CancellationTokenSource();
    const stop = () => asked.cancel();
    const moved = () => {
      const editor = window.activeTextEditor;
      const here = editor?.document === document && editor.selection.active.isEqual(position);
      if (!here || document.version !== version) {
        stop();
      }
    };
    const watching = Disposable.from(
      token.onCancellationRequested(() => Date.now() - began < IMPATIENT_MS && stop()),
      workspace.onDidChangeTextDocument(moved),
      window.onDidChangeTextEditorSelection(moved),
      window.onDidChangeActiveTextEditor(moved),
    );
    try {
      const items = await ask(document, position, context, asked.token);
      const some = (Array.isArray(items) ? items : items?.items)?.length;
      if (some && token.isCancellationRequested && !asked.token.isCancellationRequested) {
        this.kept = { document, version, position, items };
        await commands.executeCommand("editor.action.inlineSuggest.trigger");
      }
      return items;
    } finally {
      watching.dispose();
      asked.dispose();
    }
  }
}
