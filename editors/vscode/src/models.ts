// Choosing a model: what the engine has, what each can do, what it takes of memory.

import { ConfigurationTarget, type QuickPickItem, QuickPickItemKind, window, workspace } from "vscode";
import type { Client } from "./client";
import { type Card, details, NEEDED, type Role } from "./cards";
import { SECTION } from "./settings";

/** The answer to `cl-lsp/models`. */
type Models = Record<Role, { current: string | null; models: Card[]; problem: string | null }>;

const KEYS: Record<Role, string> = { completion: "engine.model", chat: "chat.model" };
const TITLES: Record<Role, string> = {
  completion: "The model that completes",
  chat: "The model that chats",
};

type Item = QuickPickItem & { card?: Card };

export async function selectModel(client: Client, role: Role): Promise<void> {
  const { current, models, problem } = (await client.sendRequest<Models>("cl-lsp/models"))[role];
  if (problem) {
    void window.showErrorMessage(`cl-lsp: ${problem}`);
    return;
  }
  const able = (card: Card) => card.capabilities?.includes(NEEDED[role]) ?? true;
  const item = (card: Card): Item => ({
    label: `${card.id === current ? "$(check) " : ""}${card.id}`,
    description: card.status ?? "",
    detail: details(card, role),
    card,
  });
  const rest = models.filter((card) => !able(card)).map(item);
  const separator = { label: `no ${NEEDED[role]}`, kind: QuickPickItemKind.Separator };
  const items = [...models.filter(able).map(item), ...(rest.length ? [separator, ...rest] : [])];
  const placeHolder = "More models: `cl-lsp pull` in a terminal; `cl-lsp models` lists them";
  const options = { title: TITLES[role], placeHolder, matchOnDetail: true };
  const picked = await window.showQuickPick<Item>(items, options);
  if (picked?.card && picked.card.id !== current) {
    const settings = workspace.getConfiguration(SECTION);
    await settings.update(KEYS[role], picked.card.id, ConfigurationTarget.Global);
  }
}
