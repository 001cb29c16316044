// The extension's start: it connects the parts and returns at once; the server starts beside.

import { type ExtensionContext, window, workspace } from "vscode";
import { Changes } from "./changes";
import { Chat } from "./chat";
import { registerCommands } from "./commands";
import { Server } from "./server";
import { SECTION } from "./settings";
import type { State } from "./state";
import { Status } from "./status";
import { Troubles } from "./trouble";

let running: Server | undefined;

export function activate(context: ExtensionContext): void {
  const log = window.createOutputChannel("cl-lsp", { log: true });
  const status = new Status();
  const changes = new Changes();
  const server = (running = new Server(context, log, status, new Troubles(), {
    chat: (...asked) => chat.show(...asked),
    change: (...asked) => changes.apply(...asked),
  }));
  const chat = new Chat(context, server);
  server.onClient((client) => {
    client.onNotification("cl-lsp/status", (state: State) => status.show(state));
  });
  context.subscriptions.push(
    log,
    status,
    server,
    ...registerCommands(context, server, status),
    ...chat.register(),
    ...changes.register(),
    workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration(`${SECTION}.server`)) {
        void server.restart();
      } else if (change.affectsConfiguration(SECTION)) {
        void server.configured();
      }
    }),
    workspace.onDidGrantWorkspaceTrust(() => status.state.state === "missing" && server.restart()),
  );
  void server.restart();
}

export async function deactivate(): Promise<void> {
  await running?.stop();
}
