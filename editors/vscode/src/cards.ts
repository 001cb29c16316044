// The engine's model cards, for people.

export type Role = "completion" | "chat";

/** Of the engine's `/v1/models`; of servers that are not ours only `id` is known. */
export interface Card {
  id: string;
  status?: string;
  capabilities?: string[];
  refused?: Record<string, string>;
  context_length?: number;
  weight_bytes?: number;
  kv_bytes_per_token?: number;
}

/** The capability that a role needs. */
export const NEEDED: Record<Role, string> = { completion: "infilling", chat: "chat" };

/** `completion, infilling · 16,384 tokens · 12.6 GiB and 0.5 GiB per 1,024 tokens`. */
export function details(card: Card, role: Role): string {
  const { capabilities, context_length: context, weight_bytes: weights, refused } = card;
  const parts = [
    ...(capabilities ? [capabilities.join(", ")] : []),
    ...(context ? [`${context.toLocaleString("en")} tokens`] : []),
    ...(weights ? [memory(weights, card.kv_bytes_per_token ?? 0)] : []),
    ...(refused?.[NEEDED[role]] ? [`${refused[NEEDED[role]]}`] : []),
  ];
  return parts.join(" · ");
}

function memory(weights: number, perToken: number): string {
  const kv = perToken ? ` and ${size(perToken * 1024)} for 1,024 tokens` : "";
  return `${size(weights)}${kv}`;
}

function size(bytes: number): string {
  const gib = bytes / 2 ** 30;
  return gib >= 0.1 ? `${gib.toFixed(1)} GiB` : `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
