// "Install…": pip, in an environment of our own, from the wheel that the user picks.

import * as path from "node:path";
import {
  type ExtensionContext,
  ShellExecution,
  Task,
  TaskRevealKind,
  TaskScope,
  tasks,
  window,
} from "vscode";

/** Where it goes; on the machine that has the code. */
export function environment(context: ExtensionContext): string {
  return path.join(context.globalStorageUri.fsPath, "server");
}

/** Whether it is installed now. The user sees the commands run, in a terminal. */
export async function install(context: ExtensionContext): Promise<boolean> {
  const [picked] =
    (await window.showOpenDialog({
      title: "The wheel of cl-lsp (cl_lsp-*.whl)",
      openLabel: "Install",
      filters: { wheel: ["whl"] },
    })) ?? [];
  if (picked === undefined) {
    return false;
  }
  const target = environment(context);
  const windows = process.platform === "win32";
  const python = path.join(target, windows ? "Scripts" : "bin", "python");
  const make = new ShellExecution(windows ? "py" : "python3", ["-m", "venv", target]);
  const fill = new ShellExecution(python, ["-m", "pip", "install", `${picked.fsPath}[engine]`]);
  return (await run("make an environment", make)) && (await run("install cl-lsp", fill));
}

async function run(name: string, execution: ShellExecution): Promise<boolean> {
  const task = new Task({ type: "shell" }, TaskScope.Global, name, "cl-lsp", execution);
  task.presentationOptions = { reveal: TaskRevealKind.Always };
  const running = await tasks.executeTask(task);
  return new Promise((resolve) => {
    const listener = tasks.onDidEndTaskProcess((ended) => {
      if (ended.execution === running) {
        listener.dispose();
        resolve(ended.exitCode === 0);
      }
    });
  });
}
