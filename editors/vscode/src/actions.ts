// Code actions of the server's that VS Code has a better place for than a chat document.

import { Uri, window, workspace } from "vscode";
import type { Range as Lines } from "vscode-languageclient/node";
import { type Origin, rangeOf } from "./origin";

/** The argument of the command `cl-lsp.chat`. */
interface Argument {
  action: string;
  uri: string;
  range: Lines;
  instruction?: string;
}

type Next = (command: string, args: unknown[]) => unknown;

const QUESTIONS: Record<string, string> = { explain: "Explain briefly what this code does." };

/** Runs a command of the server's; `show` opens the chat view, and asks if there is a question. */
export async function runAction(
  command: string,
  args: unknown[],
  next: Next,
  show: (origin: Origin, question?: string) => unknown,
): Promise<unknown> {
  const [argument] = args as [Argument | undefined];
  if (command !== "cl-lsp.chat" || !argument || argument.instruction) {
    return next(command, args);
  }
  const { action } = argument;
  if (action === "explain" || action === "ask") {
    return show(await origin(argument), QUESTIONS[action]);
  }
  if (action === "edit") {
    const prompt = "What is to be changed? You see the change before it is made.";
    const instruction = await window.showInputBox({ title: "Edit this code", prompt });
    return instruction && next(command, [{ ...argument, instruction }]);
  }
  return next(command, args);
}

async function origin({ uri, range }: Argument): Promise<Origin> {
  const document = await workspace.openTextDocument(Uri.parse(uri));
  const lines = rangeOf(range);
  return { uri: document.uri, range: lines, text: document.getText(lines) };
}
