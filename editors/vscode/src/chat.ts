// The chat view: between the page, the conversation and the editors.

import {
  commands,
  type Disposable,
  env,
  type ExtensionContext,
  Uri,
  type WebviewView,
  type WebviewViewProvider,
  window,
} from "vscode";
import { Conversation } from "./conversation";
import { apply, insert, type Origin, place, selected } from "./origin";
import type { FromPage, ToPage } from "./page/chat";
import { chatPage } from "./pages";
import type { Server } from "./server";
import { Store } from "./store";

const VIEW = "clLsp.chat";

export class Chat implements WebviewViewProvider {
  private view: WebviewView | undefined;
  private conversation: Conversation;
  private readonly store: Store;

  constructor(
    private readonly context: ExtensionContext,
    private readonly server: Server,
  ) {
    this.store = new Store(context.storageUri);
    this.conversation = new Conversation(this.store.read());
  }

  register(): Disposable[] {
    return [
      window.registerWebviewViewProvider(VIEW, this),
      window.onDidChangeTextEditorSelection(() => this.showAbout()),
      window.onDidChangeActiveTextEditor(() => this.showAbout()),
      commands.registerCommand("clLsp.openChat", () => this.open()),
      commands.registerCommand("clLsp.newChat", () => this.begin()),
      { dispose: () => this.keep() }, // also half an answer
    ];
  }

  resolveWebviewView(view: WebviewView): void {
    this.view = view;
    const { extensionUri } = this.context;
    view.webview.options = {
      enableScripts: true,
      localResourceRoots: [Uri.joinPath(extensionUri, "dist")],
    };
    view.webview.html = chatPage(view.webview, extensionUri);
    view.webview.onDidReceiveMessage((message: FromPage) => this.received(message));
    view.onDidDispose(() => (this.view = undefined));
  }

  private async open(): Promise<void> {
    await commands.executeCommand(`${VIEW}.focus`);
    this.post({ type: "focus" });
  }

  /** About a piece of code, in a new conversation; without a question the user writes it. */
  async show(origin: Origin, question?: string): Promise<void> {
    this.begin();
    this.conversation.origin = origin;
    await this.open();
    this.showAbout();
    if (question) {
      await this.ask(question);
    }
  }

  /** What the next question is about: the selection, or what the last one was about. */
  private get about(): Origin | undefined {
    return selected() ?? this.conversation.origin;
  }

  private begin(): void {
    this.conversation.stop();
    this.conversation = new Conversation();
    this.keep();
    this.showAll();
  }

  private keep(): void {
    try {
      this.store.write(this.conversation.kept);
    } catch (error) {
      this.server.log.warn(`the chat is not kept: ${error}`);
    }
  }

  private async received(message: FromPage): Promise<void> {
    switch (message.type) {
      case "ready":
        return this.showAll();
      case "ask":
        return this.ask(message.text);
      case "stop":
        return this.conversation.stop();
      case "copy":
        return env.clipboard.writeText(message.code);
      case "insert":
        return insert(message.code);
      case "apply":
        return apply(message.code, this.conversation.origin);
      case "link":
        if (/^https?:/i.test(message.target)) {
          await env.openExternal(Uri.parse(message.target));
        }
    }
  }

  private async ask(text: string): Promise<void> {
    const { conversation } = this;
    const client = this.server.running();
    if (!client || conversation.busy) {
      return this.post({ type: "back", text });
    }
    conversation.origin = this.about;
    const asking = conversation.ask(client, text, (answer) => {
      if (conversation === this.conversation) {
        this.post({ type: "answer", text: answer.text, note: answer.note ?? "" });
      }
    });
    this.keep();
    this.showAll();
    await asking;
    if (conversation === this.conversation) {
      this.keep();
      this.post({ type: "busy", busy: false });
    }
  }

  private showAll(): void {
    this.post({ type: "turns", turns: this.conversation.turns });
    this.post({ type: "busy", busy: this.conversation.busy });
    this.showAbout();
  }

  private showAbout(): void {
    const { about } = this;
    this.post({ type: "about", text: about ? `about ${place(about)}` : "" });
  }

  private post(message: ToPage): void {
    void this.view?.webview.postMessage(message);
  }
}
