// Bad news, once each, with a button that helps.

import { window } from "vscode";

export interface Button {
  title: string;
  press: () => unknown;
}

export class Troubles {
  private readonly open = new Set<string>();

  /** Show a message, unless this trouble was told before and is not over. */
  async tell(trouble: string, message: string, ...buttons: Button[]): Promise<void> {
    if (this.open.has(trouble)) {
      return;
    }
    this.open.add(trouble);
    const titles = buttons.map((button) => button.title);
    const pressed = await window.showErrorMessage(message, ...titles);
    await buttons.find((button) => button.title === pressed)?.press();
  }

  /** All is well: what goes wrong after this is told again. */
  over(): void {
    this.open.clear();
  }
}
