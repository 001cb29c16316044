// Where a workspace's conversation is kept: a file of VS Code's own storage, which is on the machine
// that has the code, readable by its user only. A window without a folder has none.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import type { Uri } from "vscode";
import { type Kept, packed, unpacked } from "./kept";

export class Store {
  private readonly file: string | undefined;

  constructor(folder: Uri | undefined) {
    this.file = folder && path.join(folder.fsPath, "chat.json");
  }

  read(): Kept | undefined {
    try {
      return this.file === undefined ? undefined : unpacked(readFileSync(this.file, "utf8"));
    } catch {
      return undefined; // there is none yet
    }
  }

  /** At once, for the window may be closing. Without turns there is nothing to keep. */
  write(kept: Kept): void {
    if (this.file === undefined) {
      return;
    }
    if (kept.turns.length === 0) {
      rmSync(this.file, { force: true });
      return;
    }
    mkdirSync(path.dirname(this.file), { recursive: true });
    writeFileSync(`${this.file}.new`, packed(kept), { mode: 0o600 });
    renameSync(`${this.file}.new`, this.file);
  }
}
