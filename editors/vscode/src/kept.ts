// A conversation as text, to be there again after the window was reloaded. Pure, and bounded.

import type { Range as Lines } from "vscode-languageclient/node";

export interface Turn {
  role: "user" | "assistant";
  text: string;
  /** For the user. An answer has one, if only an empty one, when it has ended. */
  note?: string;
}

/** `about`: the code, and what it was when it was asked about. */
export interface Kept {
  turns: Turn[];
  about?: { uri: string; range: Lines; text: string } | undefined;
}

const MOST = 100_000; // characters; what is sent to a model is less
const CUT_OFF = "the window was closed meanwhile";

/** The oldest turns are left out if they are too long, and so is code. */
export function packed({ turns, about }: Kept): string {
  let room = MOST;
  const newest = turns.toReversed();
  const over = newest.findIndex(({ text }) => (room -= text.length) < 0);
  const kept = newest.slice(0, over < 0 ? undefined : over).toReversed();
  const first = kept.findIndex(({ role }) => role === "user");
  return JSON.stringify({
    turns: first < 0 ? [] : kept.slice(first),
    about: about && about.text.length <= MOST ? about : undefined,
  });
}

/** Undefined for what `packed` has not written. */
export function unpacked(json: string): Kept | undefined {
  try {
    const { turns, about }: Kept = JSON.parse(json);
    const sound = turns.every(({ role, text }) => typeof role === "string" && typeof text === "string");
    const ended = turns.map((turn) =>
      turn.role === "assistant" ? { ...turn, note: turn.note ?? CUT_OFF } : turn,
    );
    return sound ? { turns: ended, about } : undefined;
  } catch {
    return undefined;
  }
}
