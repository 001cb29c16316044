// The turns of one conversation, and the request that gets the next one.

import { randomUUID } from "node:crypto";
import { CancellationTokenSource } from "vscode";
import { LSPErrorCodes, ProgressType, ResponseError } from "vscode-languageclient/node";
import type { Client } from "./client";
import type { Origin } from "./origin";

export interface Turn {
  role: "user" | "assistant";
  text: string;
  note?: string;
}

/** The result of `cl-lsp/chat`. */
interface Answer {
  text: string;
  notes: string[];
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
    const token = randomUUID();
    const piece = new ProgressType<{ text: string }>();
    const listening = client.onProgress(piece, token, ({ text }) => {
      answer.text += text;
      grown(answer);
    });
    try {
      const params = { messages: this.messages(), ...this.about(client), partialResultToken: token };
      const whole = await client.sendRequest<Answer>("cl-lsp/chat", params, cancel.token);
      answer.text = whole.text;
      answer.note = whole.notes.join("; ");
    } catch (error) {
      answer.note = said(error);
    } finally {
      this.asking = undefined;
      listening.dispose();
      cancel.dispose();
      grown(answer);
    }
  }

  /** All turns that say something, for the model. */
  private messages(): { role: string; content: string }[] {
    const told = this.turns.filter(({ text }) => text !== "");
    return told.map(({ role, text }) => ({ role, content: text }));
  }

  private about(client: Client): object {
    if (!this.origin) {
      return {};
    }
    const { uri, range } = this.origin;
    const { code2ProtocolConverter: as } = client;
    return { uri: as.asUri(uri), range: as.asRange(range) };
  }
}

function said(error: unknown): string {
  const cancelled = error instanceof ResponseError && error.code === LSPErrorCodes.RequestCancelled;
  return cancelled ? "stopped" : error instanceof Error ? error.message : String(error);
}
