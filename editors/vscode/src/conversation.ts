// The turns of one conversation, and the request that gets the next one.

import { CancellationTokenSource } from "vscode";
import { ResponseError, LSPErrorCodes } from "vscode-languageclient/node";
import type { Client } from "./client";
import type { Origin } from "./origin";

export interface Turn {
  role: "user" | "assistant";
  text: string;
  note?: string;
}

export class Conversation {
  readonly turns: Turn[] = [];
  origin: Origin | undefined;
  private asking: CancellationTokenSource | undefined;

  get busy(): boolean {
    return this.asking !== undefined;
  }

  stop(): void {
    this.asking?.cancel();
  }

  /** `grown` is called as the answer grows. What goes wrong becomes the answer's note. */
  async ask(client: Client, text: string, grown: (answer: Turn) => void): Promise<void> {
    const cancel = (this.asking = new CancellationTokenSource());
    const answer: Turn = { role: "assistant", text: "" };
    this.turns.push({ role: "user", text }, answer);
    try {
      await send(client, this, answer, cancel, () => grown(answer));
    } catch (error) {
      const cancelled = error instanceof ResponseError && error.code === LSPErrorCodes.RequestCancelled;
      answer.note = cancelled ? "stopped" : error instanceof Error ? error.message : String(error);
    } finally {
      this.asking = undefined;
      cancel.dispose();
      grown(answer);
    }
  }
}

async function send(
  _client: Client,
  _conversation: Conversation,
  _answer: Turn,
  _cancel: CancellationTokenSource,
  _grown: () => void,
): Promise<void> {
  throw new Error("waits for cl-lsp/chat");
}
