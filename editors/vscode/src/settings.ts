// What the user has set, as the server wants it: what nobody set is left to its weaker sources.

import type { WorkspaceConfiguration } from "vscode";

export const SECTION = "cl-lsp";
const OURS = new Set(["server"]); // what is the extension's own

export type Values = { [section: string]: { [key: string]: unknown } };

/** Explicitly set values only: package.json's defaults would hide the user's cl-lsp.toml. */
export function explicit(keys: string[], from: Pick<WorkspaceConfiguration, "inspect">): Values {
  const values: Values = {};
  for (const key of keys) {
    const [section = "", name = ""] = key.split(".");
    const found = from.inspect(key);
    const value = found?.workspaceFolderValue ?? found?.workspaceValue ?? found?.globalValue;
    if (value !== undefined && !OURS.has(section)) {
      (values[section] ??= {})[name] = value;
    }
  }
  return values;
}

interface Manifest {
  contributes: { configuration: { properties: object }[] };
}

/** The keys that package.json declares, without `cl-lsp.`. */
export function declaredKeys(manifest: Manifest): string[] {
  return manifest.contributes.configuration
    .flatMap((group) => Object.keys(group.properties))
    .map((key) => key.slice(SECTION.length + 1));
}
