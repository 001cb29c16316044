// What a workspace edit of the server's is about.

import type { TextEdit, WorkspaceEdit } from "vscode-languageclient/node";

/** Of one document, in its order; `creates`: the document is not there yet. */
export interface Change {
  uri: string;
  creates: boolean;
  edits: TextEdit[];
}

/** What the user is to see before it is made; undefined if that is nothing, or not one document. */
export function onlyChange({ documentChanges = [], changeAnnotations = {} }: WorkspaceEdit): Change | undefined {
  const parts = [...documentChanges];
  const asks = Object.values(changeAnnotations).some((annotation) => annotation.needsConfirmation);
  const first = parts[0];
  const created = first && "kind" in first && first.kind === "create" ? first.uri : undefined;
  const [change, ...others] = created === undefined ? parts : parts.slice(1);
  if (!asks || others.length > 0 || change === undefined || !("edits" in change)) {
    return undefined;
  }
  const { uri } = change.textDocument;
  const edits = change.edits.filter((edit): edit is TextEdit => "newText" in edit).sort(
    ({ range: { start: a } }, { range: { start: b } }) => a.line - b.line || a.character - b.character,
  );
  const whole = edits.length === change.edits.length && (created ?? uri) === uri;
  return whole ? { uri, creates: created !== undefined, edits } : undefined;
}

/** The same, asking for nothing more. */
export function confirmed(edit: WorkspaceEdit): WorkspaceEdit {
  const { changeAnnotations = {} } = edit;
  const settled = Object.entries(changeAnnotations).map(([name, annotation]) => [
    name,
    { ...annotation, needsConfirmation: false },
  ]);
  return { ...edit, changeAnnotations: Object.fromEntries(settled) };
}
