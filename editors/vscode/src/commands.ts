// The commands, and the menu behind the status bar item.

import {
  commands,
  type Disposable,
  type ExtensionContext,
  type QuickPickItem,
  window,
} from "vscode";
import { ExecuteCommandRequest } from "vscode-languageclient/node";
import type { Client } from "./client";
import { install } from "./install";
import { selectModel } from "./models";
import type { Server } from "./server";
import type { Status } from "./status";
import { showTrace } from "./trace";

type Do = () => unknown;

export function registerCommands(
  context: ExtensionContext,
  server: Server,
  status: Status,
): Disposable[] {
  const id = context.extension.id;
  const all: Record<string, Do> = {
    menu: () => menu(status),
    pause: asked(server, (client) => run(client, "cl-lsp.pause")),
    resume: asked(server, (client) => run(client, "cl-lsp.resume")),
    connect: asked(server, (client) => run(client, "cl-lsp.restart")),
    selectModel: asked(server, (client) => selectModel(client, "completion")),
    selectChatModel: asked(server, (client) => selectModel(client, "chat")),
    trace: asked(server, showTrace),
    log: () => server.log.show(true),
    restart: () => server.restart(),
    install: async () => used(server, await install(context)),
    choose: async () => used(server, await choose()),
    settings: () => commands.executeCommand("workbench.action.openSettings", `@ext:${id}`),
    walkthrough: async () => {
      await commands.executeCommand("workbench.action.openWalkthrough", `${id}#start`, false);
      await server.announce(); // only now are its steps ticked off
    },
  };
  return Object.entries(all).map(([name, what]) =>
    commands.registerCommand(`clLsp.${name}`, async () => {
      try {
        await what();
      } catch (error) {
        server.log.error(`${name}: ${error}`);
        void window.showErrorMessage(`cl-lsp: ${error instanceof Error ? error.message : error}`);
      }
    }),
  );
}

/** A command of the server's, with the running client; if there is none, the user is told. */
function asked(server: Server, what: (client: Client) => unknown): Do {
  return () => {
    const client = server.running();
    return client && what(client);
  };
}

function run(client: Client, command: string): Promise<unknown> {
  return client.sendRequest(ExecuteCommandRequest.type, { command });
}

async function choose(): Promise<string | undefined> {
  const [file] = (await window.showOpenDialog({ title: "The program cl-lsp" })) ?? [];
  return file?.fsPath;
}

async function used(server: Server, program: string | undefined): Promise<void> {
  if (program !== undefined) {
    await server.use(program);
  }
}

interface Entry extends QuickPickItem {
  command: string;
}

async function menu(status: Status): Promise<void> {
  const { state } = status.state;
  const running = !["missing", "stopped", "starting"].includes(state);
  const pause: Entry =
    state === "off"
      ? { label: "$(play) Resume suggestions", command: "resume" }
      : { label: "$(debug-pause) Pause suggestions", command: "pause" };
  const entries: Entry[] = [
    ...(running
      ? [
          pause,
          { label: "$(chip) Select the model…", command: "selectModel" },
          { label: "$(comment-discussion) Open the chat", command: "openChat" },
          { label: "$(question) Why was there no suggestion?", command: "trace" },
        ]
      : [
          { label: "$(cloud-download) Install the language server…", command: "install" },
          { label: "$(file-binary) Choose its program…", command: "choose" },
        ]),
    { label: "$(output) Show the log", command: "log" },
    { label: "$(debug-restart) Restart the language server", command: "restart" },
    { label: "$(settings-gear) Settings", command: "settings" },
  ];
  const picked = await window.showQuickPick(entries, { title: status.title });
  if (picked) {
    await commands.executeCommand(`clLsp.${picked.command}`);
  }
}
