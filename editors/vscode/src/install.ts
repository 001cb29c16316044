// "Install…": pip, in an environment of our own, from the wheel that the user picks.

import * as path from "node:path";
import {
  commands,
  Disposable,
  type ExtensionContext,
  ProcessExecution,
  Task,
  TaskRevealKind,
  TaskScope,
  tasks,
  window,
} from "vscode";

/** The program, on the machine that has the code; undefined if it was not installed, which the user
 * has been told. He sees the commands run, in a terminal. */
export async function install(context: ExtensionContext): Promise<string | undefined> {
  const [picked] =
    (await window.showOpenDialog({
      title: "The wheel of cl-lsp (cl_lsp-*.whl)",
      openLabel: "Install",
      filters: { wheel: ["whl"] },
    })) ?? [];
  if (picked === undefined) {
    return undefined;
  }
  const target = path.join(context.globalStorageUri.fsPath, "server");
  const windows = process.platform === "win32";
  const at = (name: string) =>
    windows ? path.join(target, "Scripts", `${name}.exe`) : path.join(target, "bin", name);
  if (
    (await runs("make an environment", windows ? "py" : "python3", ["-m", "venv", target])) &&
    (await runs("install cl-lsp", at("python"), ["-m", "pip", "install", `${picked.fsPath}[engine]`]))
  ) {
    return at("cl-lsp");
  }
  void toldWhy();
  return undefined;
}

async function toldWhy(): Promise<void> {
  const message = "cl-lsp was not installed; the terminal says why.";
  if (await window.showErrorMessage(message, "Install…")) {
    await commands.executeCommand("clLsp.install");
  }
}

/** Without a shell, of which each has its own rules for what is in brackets. */
async function runs(name: string, program: string, args: string[]): Promise<boolean> {
  const task = new Task({ type: "process" }, TaskScope.Global, name, "cl-lsp", new ProcessExecution(program, args));
  task.presentationOptions = { reveal: TaskRevealKind.Always };
  let listening = Disposable.from();
  const ended = new Promise<boolean>((resolve) => {
    const ours = ({ name: its, source }: Task) => its === name && source === "cl-lsp";
    listening = Disposable.from(
      tasks.onDidEndTaskProcess(({ execution, exitCode }) => ours(execution.task) && resolve(exitCode === 0)),
      tasks.onDidEndTask(({ execution }) => ours(execution.task) && resolve(false)), // also if it never began
    );
  });
  try {
    await tasks.executeTask(task);
    return await ended;
  } finally {
    listening.dispose();
  }
}
