// The LSP client: vscode-languageclient, without pop-ups of its own.

import { CancellationTokenSource, type LogOutputChannel, type WorkspaceConfiguration } from "vscode";
import {
  type ApplyWorkspaceEditResult,
  type ClientCapabilities,
  type ErrorHandler,
  ErrorAction,
  type FeatureState,
  LanguageClient,
  type LanguageClientOptions,
  RevealOutputChannelOn,
  type StaticFeature,
} from "vscode-languageclient/node";
import { runAction } from "./actions";
import type { Changes } from "./changes";
import { Late } from "./late";
import { explicit, SECTION } from "./settings";

// Files, what is not saved yet, and the cells of notebooks; no settings, logs or diffs.
const SCHEMES = ["file", "untitled", "vscode-notebook-cell"];
const NEVER = new CancellationTokenSource().token;

export class Client extends LanguageClient {
  /** To the log: whoever starts it says what went wrong, once. */
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

/** Where the user sees what comes of an action. */
export interface Views {
  chat: Parameters<typeof runAction>[3];
  change: Changes["apply"];
}

/** `read` gives the settings of the window or of a folder. */
export function makeClient(
  program: string,
  keys: string[],
  read: (scope?: string) => WorkspaceConfiguration,
  log: LogOutputChannel,
  closed: ErrorHandler["closed"],
  views: Views,
): Client {
  const late = new Late();
  const options: LanguageClientOptions = {
    documentSelector: SCHEMES.map((scheme) => ({ scheme })),
    initializationOptions: () => explicit(keys, read()),
    outputChannel: log,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    initializationFailedHandler: () => false,
    errorHandler: { closed, error: () => ({ action: ErrorAction.Continue, handled: true }) },
    markdown: { isTrusted: false, supportHtml: false },
    middleware: {
      provideInlineCompletionItems: (...asked) => late.provide(...asked),
      executeCommand: (command, args, next) => runAction(command, args, next, views.chat),
      workspace: {
        handleApplyEdit: (params, next) =>
          views.change(params, async (edit) => (await next(edit, NEVER)) as ApplyWorkspaceEditResult),
        configuration: (params, token, next) =>
          params.items.every((item) => item.section?.split(".")[0] === SECTION)
            ? params.items.map((item) => within(explicit(keys, read(item.scopeUri)), item.section))
            : next(params, token),
      },
    },
  };
  const command = { command: program, args: ["--stdio"] };
  const client = new Client(SECTION, "cl-lsp", { run: command, debug: command }, options);
  client.registerFeature(new AsksForStatus());
  return client;
}

/** The server sends `cl-lsp/status` to clients that say they want it. */
class AsksForStatus implements StaticFeature {
  fillClientCapabilities(capabilities: ClientCapabilities): void {
    capabilities.experimental = { ...capabilities.experimental, clLsp: { status: true } };
  }
  initialize(): void {}
  getState(): FeatureState {
    return { kind: "static" };
  }
  clear(): void {}
}

/** The part of the settings below `cl-lsp.section`. */
function within(values: { [section: string]: unknown }, section = SECTION): unknown {
  const [, name] = section.split(".");
  return name === undefined ? values : (values[name] ?? {});
}
