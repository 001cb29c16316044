// What the user has set, as the server wants it: what nobody set is left to its weaker sources.

import type { WorkspaceConfiguration } from "vscode";

export const SECTION = "cl-lsp";
// A repository may turn it off, but not on.
const STRICTER = "completion.enabled";
const OURS = new Set(["server"]); // what is the extension's own

export type Values = { [section: string]: { [key: string]: unknown } };

/** Explicitly set values only: package.json's defaults would hide the user's cl-lsp.toml. */
export function explicit(keys: string[], from: Pick<WorkspaceConfiguration, "inspect">): Values {
  const values: Values = {};
  for (const key of keys) {
    const [section = "", name = ""] = key.split(".");
    const value = combined(key, from.inspect(key) ?? {});
    if (value !== undefined && !OURS.has(section)) {
      (values[section] ??= {})[name] = value;
    }
  }
  return values;
}

interface Inspected {
  globalValue?: unknown;
  workspaceValue?: unknown;
  workspaceFolderValue?: unknown;
}

/** The nearest value; lists add up, so that a folder's takes nothing off the user's. */
function combined(key: string, found: Inspected): unknown {
  const values = [found.globalValue, found.workspaceValue, found.workspaceFolderValue].filter(
    (value) => value !== undefined,
  );
  if (key === STRICTER && values.length > 0) {
    return values.every(Boolean);
  }
  return values.every(Array.isArray) && values.length > 0
    ? [...new Set(values.flat())]
    : values.at(-1);
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
