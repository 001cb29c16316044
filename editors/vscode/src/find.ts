// Where the program `cl-lsp` is on the machine that has the code.

import { accessSync, constants, statSync } from "node:fs";
import * as path from "node:path";

export interface Surroundings {
  /** The setting `cl-lsp.server.path`; empty if it is not set. */
  given: string;
  /** Whose environments may be run: none of a workspace that is not trusted. */
  folders: string[];
  /** The Python that the user has chosen for the workspace. */
  interpreter: string | undefined;
  searchPath: string;
  home: string;
  windows: boolean;
}

/** All places, best first. A program that was named is looked for nowhere else. */
export function places(at: Surroundings): string[] {
  const { posix, win32 } = path;
  const { join, dirname, delimiter } = at.windows ? win32 : posix;
  const program = at.windows ? "cl-lsp.exe" : "cl-lsp";
  const scripts = at.windows ? "Scripts" : "bin";
  if (at.given) {
    return [at.given.replace(/^~(?=$|[\\/])/, at.home)];
  }
  return [
    ...at.folders.flatMap((folder) => [".venv", "venv"].map((name) => join(folder, name, scripts))),
    ...(at.interpreter ? [dirname(at.interpreter)] : []),
    ...at.searchPath.split(delimiter).filter((folder) => folder !== ""),
    join(at.home, ".local", "bin"), // which a desktop's menu often leaves out of PATH
  ].map((folder) => join(folder, program));
}

/** The first of the places that has a program. */
export function find(at: Surroundings, isThere = isProgram): string | undefined {
  return places(at).find(isThere);
}

export function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
