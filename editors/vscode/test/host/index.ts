// Runs inside VS Code's extension host, with the extension: what only its API can tell.

import assert from "node:assert/strict";
import { type CodeAction, commands, extensions, Range, Selection, Uri, window, workspace } from "vscode";
import { declaredKeys } from "../../src/settings";

/** Called by VS Code; what it throws fails the run. */
export async function run(): Promise<void> {
  const extension = extensions.getExtension("cl-lsp.cl-lsp");
  assert.ok(extension);
  await extension.activate();
  const manifest = extension.packageJSON;

  const known = new Set(await commands.getCommands(true));
  for (const { command } of manifest.contributes.commands) {
    assert.ok(known.has(command), `${command} is declared and not registered`);
  }
  const settings = workspace.getConfiguration("cl-lsp");
  for (const key of declaredKeys(manifest)) {
    assert.notEqual(settings.inspect(key)?.defaultValue, undefined, key);
  }

  const folder = workspace.workspaceFolders?.[0];
  assert.ok(folder);
  const document = await workspace.openTextDocument(Uri.joinPath(folder.uri, "inventory.py"));
  const editor = await window.showTextDocument(document);
  const total = new Range(22, 0, 23, 40);
  editor.selection = new Selection(total.start, total.end);
  let actions: CodeAction[] = [];
  for (let i = 0; i < 100 && actions.length === 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const all = await commands.executeCommand<CodeAction[]>("vscode.executeCodeActionProvider", document.uri, total);
    actions = all.filter(({ title }) => title.startsWith("cl-lsp"));
  }
  const titles = actions.map(({ title }) => title);
  assert.ok(titles.some((title) => title.includes("Fill")), titles.join());
  const explain = actions.find(({ title }) => title.includes("Explain this code"));
  assert.ok(!explain || explain.disabled, "the embedded model cannot chat");

  const provideTextDocumentContent = () => document.getText();
  const provider = workspace.registerTextDocumentContentProvider("made-up", { provideTextDocumentContent });
  const virtual = await workspace.openTextDocument(Uri.from({ scheme: "made-up", path: document.uri.path }));
  await window.showTextDocument(virtual);
  assert.equal(virtual.languageId, "python");
  const others = await commands.executeCommand<CodeAction[]>("vscode.executeCodeActionProvider", virtual.uri, total);
  assert.deepEqual(others.map(({ title }) => title).filter((title) => title.startsWith("cl-lsp")), []);
  provider.dispose();
  assert.ok((await commands.getCommands(true)).includes("cl-lsp.fill"), "the server's own command");
}
