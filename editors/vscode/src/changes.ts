// A change is seen before it is made: the document as it is beside what it would be, and one key.
// VS Code's own preview of edits that need a confirmation starts with none of them ticked.

import {
  commands,
  Disposable,
  languages,
  type TabChangeEvent,
  TabInputTextDiff,
  type TextDocument,
  Uri,
  window,
  workspace,
} from "vscode";
import type { ApplyWorkspaceEditParams, ApplyWorkspaceEditResult, TextEdit } from "vscode-languageclient/node";
import { type Change, confirmed, onlyChange } from "./edits";
import { rangeOf } from "./origin";

const SCHEME = "cl-lsp-change";
const DECIDING = "clLsp.deciding";
// The server's word for what was no failure: the user did not want it.
const DISCARDED = { applied: false, failureReason: "discarded" };

type Apply = (params: ApplyWorkspaceEditParams) => PromiseLike<ApplyWorkspaceEditResult>;

export class Changes {
  private readonly texts = new Map<string, string>();
  private number = 0;
  private turn: Promise<unknown> = Promise.resolve();
  private decided: ((apply: boolean) => void) | undefined;

  register(): Disposable[] {
    const provideTextDocumentContent = (uri: Uri) => this.texts.get(uri.toString()) ?? "";
    return [
      workspace.registerTextDocumentContentProvider(SCHEME, { provideTextDocumentContent }),
      window.tabGroups.onDidChangeTabs((event) => this.closed(event)),
      commands.registerCommand("clLsp.applyChange", () => this.decided?.(true)),
      commands.registerCommand("clLsp.discardChange", () => this.decided?.(false)),
      new Disposable(() => this.decided?.(false)),
    ];
  }

  /** Applies what the user has seen and wants; what is of several files, or asks for nothing, at once. */
  async apply(params: ApplyWorkspaceEditParams, apply: Apply): Promise<ApplyWorkspaceEditResult> {
    const change = onlyChange(params.edit);
    if (change === undefined) {
      return apply(params);
    }
    this.decided?.(false); // a newer one takes its place
    const asking = this.turn.then(() => this.ask(change, params.label ?? ""));
    this.turn = asking.catch(() => undefined);
    if (!(await asking)) {
      return DISCARDED;
    }
    const result = await apply({ ...params, edit: confirmed(params.edit) });
    if (result.applied && change.creates) {
      await window.showTextDocument(Uri.parse(change.uri));
    }
    return result;
  }

  private async ask(change: Change, label: string): Promise<boolean> {
    try {
      await this.show(change, label);
      return await new Promise<boolean>((resolve) => (this.decided = resolve));
    } finally {
      this.decided = undefined;
      await this.close();
    }
  }

  private async show(change: Change, label: string): Promise<void> {
    this.number += 1;
    const uri = Uri.parse(change.uri);
    const document = change.creates ? undefined : await workspace.openTextDocument(uri);
    const [was, will] = [document?.getText() ?? "", changed(document, change.edits)];
    const left = await this.version(uri, "before", was, document?.languageId);
    const right = await this.version(uri, "after", will, document?.languageId);
    const title = `${label.replace(/^cl-lsp: /, "")}: Ctrl+Enter applies, Esc discards`;
    await commands.executeCommand("setContext", DECIDING, true);
    await commands.executeCommand("vscode.diff", left, right, title, { preview: true });
  }

  /** A document of ours with the name, and so the language, of another. */
  private async version(uri: Uri, side: string, text: string, language?: string): Promise<Uri> {
    const path = `${uri.path}${uri.scheme === "vscode-notebook-cell" ? ".cell" : ""}`;
    const version = Uri.from({ scheme: SCHEME, path, query: `${this.number} ${side}` });
    this.texts.set(version.toString(), text);
    const document = await workspace.openTextDocument(version);
    if (language && document.languageId !== language) {
      await languages.setTextDocumentLanguage(document, language);
    }
    return version;
  }

  private async close(): Promise<void> {
    this.texts.clear();
    await commands.executeCommand("setContext", DECIDING, false);
    const tabs = window.tabGroups.all.flatMap((group) => group.tabs);
    await window.tabGroups.close(tabs.filter(({ input }) => isOurs(input)));
  }

  private closed({ closed }: TabChangeEvent): void {
    if (closed.some(({ input }) => isOurs(input) && this.texts.has(input.modified.toString()))) {
      this.decided?.(false);
    }
  }
}

function isOurs(input: unknown): input is TabInputTextDiff {
  return input instanceof TabInputTextDiff && input.modified.scheme === SCHEME;
}

/** The text of a document, or of one that is not there yet, with the edits made. */
function changed(document: TextDocument | undefined, edits: TextEdit[]): string {
  const text = document?.getText() ?? "";
  let [made, at] = ["", 0];
  for (const { range, newText } of edits) {
    const { start, end } = rangeOf(range);
    made += text.slice(at, document?.offsetAt(start) ?? 0) + newText;
    at = document?.offsetAt(end) ?? 0;
  }
  return made + text.slice(at);
}
