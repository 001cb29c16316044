// The turns of one conversation, and the request that gets the next one.

import { randomUUID } from "node:crypto";
import { CancellationTokenSource, Uri } from "vscode";
import { ErrorCodes, LSPErrorCodes, ProgressType, ResponseError } from "vscode-languageclient/node";
import type { Client } from "./client";
import type { Kept, Turn } from "./kept";
import { type Origin, rangeOf } from "./origin";

/** The result of `cl-lsp/chat`. */
interface Answer {
  text: string;
  notes: string[];
}

export class Conversation {
  readonly turns: Turn[];
  origin: Origin | undefined;
  private asking: CancellationTokenSource | undefined;

  /** A new one, or one that was kept. */
  constructor({ turns, about }: Kept = { turns: [] }) {
    this.turns = turns;
    this.origin = about && { uri: Uri.parse(about.uri), range: rangeOf(about.range), text: about.text };
  }

  get kept(): Kept {
    const { turns, origin } = this;
    const about = origin && { uri: origin.uri.toString(), range: plain(origin.range), text: origin.text };
    return { turns, about };
  }

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

function plain({ start, end }: Origin["range"]) {
  const at = ({ line, character }: typeof start) => ({ line, character });
  return { start: at(start), end: at(end) };
}

const ENDS: Record<number, string> = {
  [LSPErrorCodes.RequestCancelled]: "stopped",
  [ErrorCodes.PendingResponseRejected]: "the language server was ended meanwhile",
};

function said(error: unknown): string {
  const known = error instanceof ResponseError ? ENDS[error.code] : undefined;
  return known ?? (error instanceof Error ? error.message : String(error));
}
