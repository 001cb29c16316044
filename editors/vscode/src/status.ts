// The status bar item: state, model, last latency; a click opens the menu.

import { type Disposable, StatusBarAlignment, ThemeColor, window } from "vscode";
import { type State, shown } from "./state";

const BACKGROUNDS = {
  none: undefined,
  warning: new ThemeColor("statusBarItem.warningBackground"),
  error: new ThemeColor("statusBarItem.errorBackground"),
};

export class Status implements Disposable {
  private readonly item = window.createStatusBarItem("cl-lsp.status", StatusBarAlignment.Right, 100);
  private known: State = { state: "starting" };

  constructor() {
    this.item.name = "cl-lsp";
    this.item.command = "clLsp.menu";
    this.show(this.known);
    this.item.show();
  }

  get state(): State {
    return this.known;
  }

  /** One line, for the menu. */
  get title(): string {
    return shown(this.known).tooltip.split("\n")[0] ?? "";
  }

  show(state: State): void {
    this.known = state;
    const { text, tooltip, severity } = shown(state);
    this.item.text = text;
    this.item.tooltip = tooltip;
    this.item.backgroundColor = BACKGROUNDS[severity];
    this.item.accessibilityInformation = { label: tooltip };
  }

  dispose(): void {
    this.item.dispose();
  }
}
