// The language server's life: found, started, watched, started again; and what is said if not.

import { homedir } from "node:os";
import {
  commands,
  ConfigurationTarget,
  type Disposable,
  type ExtensionContext,
  extensions,
  type LogOutputChannel,
  Uri,
  workspace,
} from "vscode";
import {
  CloseAction,
  DidChangeConfigurationNotification,
  MessageType,
  ShowMessageNotification,
  type ShowMessageParams,
  State,
} from "vscode-languageclient/node";
import { type Client, makeClient, type Views } from "./client";
import { Crashes } from "./crashes";
import { Early } from "./early";
import { find, isProgram } from "./find";
import { declaredKeys, explicit, SECTION } from "./settings";
import type { Status } from "./status";
import type { Button, Troubles } from "./trouble";
import { older, OLDEST } from "./version";

const RUNNING = "clLsp.running";
const press = (title: string, command: string): Button => ({
  title,
  press: () => commands.executeCommand(command),
});
const LOG = press("Show Log", "clLsp.log");
const RESTART = press("Restart", "clLsp.restart");
const CONNECT = press("Connect Again", "clLsp.connect");
const CHOOSE = press("Choose the Program…", "clLsp.choose");
const INSTALL = press("Install…", "clLsp.install");

export class Server implements Disposable {
  client: Client | undefined;
  private readonly crashes = new Crashes();
  private readonly early = new Early();
  private readonly keys: string[];
  private changing: Promise<unknown> = Promise.resolve();
  private readonly listeners: ((client: Client) => void)[] = [];

  constructor(
    context: ExtensionContext,
    readonly log: LogOutputChannel,
    private readonly status: Status,
    private readonly troubles: Troubles,
    private readonly views: Views,
  ) {
    this.keys = declaredKeys(context.extension.packageJSON);
  }

  /** Called with each client before it starts, to listen to the server. */
  onClient(listener: (client: Client) => void): void {
    this.listeners.push(listener);
  }

  /** Also if it runs already, or never gets to that. One after the other: a restart waits for the
   * start before. What is still wrong is told again. */
  restart(): Promise<unknown> {
    this.crashes.forget();
    this.troubles.over();
    const stopped = this.stop();
    this.changing = Promise.all([this.changing, stopped]).then(async () => {
      await this.stop();
      await this.start();
    });
    return this.changing;
  }

  /** The program that the user wants, from now on; wherever another one is named. */
  async use(program: string): Promise<void> {
    const named = () => workspace.getConfiguration(SECTION).get<string>("server.path");
    if (named() === program) {
      await this.restart(); // it is a newer one
    }
    for (const target of [ConfigurationTarget.Global, ConfigurationTarget.Workspace]) {
      if (named() !== program) {
        await workspace.getConfiguration(SECTION).update("server.path", program, target);
      }
    }
  }

  /** Tell the server what the user has changed. */
  async configured(): Promise<void> {
    if (this.client?.isRunning()) {
      const settings = { [SECTION]: explicit(this.keys, workspace.getConfiguration(SECTION)) };
      await this.client.sendNotification(DidChangeConfigurationNotification.type, { settings });
    }
  }

  /** The context key again, for those who look only when it changes. */
  async announce(): Promise<void> {
    await commands.executeCommand("setContext", RUNNING, false);
    await commands.executeCommand("setContext", RUNNING, this.client?.isRunning() ?? false);
  }

  /** Undefined if no server is running; then the user has been told. */
  running(): Client | undefined {
    if (this.client?.isRunning()) {
      return this.client;
    }
    if (this.status.state.state !== "starting") {
      void this.restart();
    }
    return undefined;
  }

  dispose(): void {
    this.early.dispose();
    void this.stop();
  }

  async stop(): Promise<void> {
    const { client } = this;
    this.client = undefined;
    void commands.executeCommand("setContext", RUNNING, false);
    await client?.dispose(2000).catch((error) => this.log.warn(`stopping: ${error}`));
  }

  private async start(): Promise<void> {
    const given = workspace.getConfiguration(SECTION).get<string>("server.path") ?? "";
    const program = find(await this.surroundings(given));
    if (program === undefined) {
      this.status.show({ state: "missing" });
      await this.saidMissing(given);
      return;
    }
    this.log.info(`starting ${program}`);
    this.status.show({ state: "starting" });
    this.early.watch();
    const read = (scope?: string) =>
      workspace.getConfiguration(SECTION, scope === undefined ? null : Uri.parse(scope));
    const closed = () => this.closed(client);
    const client: Client = makeClient(program, this.keys, read, this.log, closed, this.views);
    client.onDidChangeState(({ newState }) => {
      if (newState === State.Running) {
        // That is said before VS Code knows whom to ask for a suggestion; this promise is kept after.
        void client.start().then(() => client === this.client && this.started(client, program), () => undefined);
      }
    });
    client.onNotification(ShowMessageNotification.type, (said) => this.said(said));
    this.listeners.forEach((listen) => listen(client));
    this.client = client;
    await client.start().catch((error) => this.failed(program, error));
  }

  private started(client: Client, program: string): void {
    const { name, version = "0" } = client.initializeResult?.serverInfo ?? { name: "?" };
    this.log.info(`${name} ${version} runs`);
    void commands.executeCommand("setContext", RUNNING, true);
    void this.early.ask();
    if (this.status.state.state === "starting") {
      this.status.show({ state: "idle" });
    }
    if (name !== "cl-lsp") {
      const message = `${program} is not cl-lsp, it calls itself ${name}.`;
      void this.troubles.tell("other", message, CHOOSE, INSTALL);
    } else if (older(version)) {
      const message = `${program} is cl-lsp ${version}; this extension needs ${OLDEST} or newer.`;
      void this.troubles.tell("older", message, INSTALL, CHOOSE);
    } else {
      this.troubles.over();
    }
  }

  /** The client's own way of showing it has no buttons. */
  private said(message: ShowMessageParams): void {
    const bad = message.type <= MessageType.Warning;
    const engine = message.type === MessageType.Error;
    void this.troubles.pass(message, ...(engine ? [CONNECT] : []), ...(bad ? [LOG] : []));
  }

  private closed(client: Client): { action: CloseAction; handled: boolean } {
    if (client !== this.client) {
      return { action: CloseAction.DoNotRestart, handled: true }; // it was stopped while it started
    }
    if (!this.crashes.tooMany(Date.now())) {
      this.status.show({ state: "starting" });
      this.early.watch();
      return { action: CloseAction.Restart, handled: true };
    }
    this.stopped("cl-lsp has ended five times within three minutes and is left alone now.");
    return { action: CloseAction.DoNotRestart, handled: true };
  }

  private failed(program: string, error: unknown): void {
    this.log.error(`${program}: ${error}`);
    // A crash in mid-start is counted by closed(), which goes on trying.
    if (this.client?.state === State.StartFailed || this.client?.state === State.Stopped) {
      this.stopped(`${program} could not be started.`);
    }
  }

  private stopped(message: string): void {
    void commands.executeCommand("setContext", RUNNING, false);
    this.status.show({ state: "stopped" });
    void this.troubles.tell("stopped", message, RESTART, LOG, CHOOSE);
  }

  private async saidMissing(given: string): Promise<void> {
    const message = given
      ? `There is no program ${given}, which the setting cl-lsp.server.path names.`
      : "The language server cl-lsp is not installed on the machine that has your code.";
    void this.troubles.tell("missing", message, INSTALL, CHOOSE);
  }

  private async surroundings(given: string) {
    const trusted = workspace.isTrusted;
    return {
      given,
      folders: trusted ? folders() : [],
      interpreter: trusted ? await interpreter() : undefined,
      searchPath: process.env["PATH"] ?? "",
      home: homedir(),
      windows: process.platform === "win32",
    };
  }
}

function folders(): string[] {
  const all = workspace.workspaceFolders ?? [];
  return all.filter(({ uri }) => uri.scheme === "file").map(({ uri }) => uri.fsPath);
}

/** What the Python extension, if it is there and awake, would run. */
async function interpreter(): Promise<string | undefined> {
  const python = extensions.getExtension("ms-python.python");
  try {
    const chosen = python?.isActive && python.exports?.environments?.getActiveEnvironmentPath?.();
    return typeof chosen?.path === "string" && isProgram(chosen.path) ? chosen.path : undefined;
  } catch {
    return undefined; // its own trouble
  }
}
