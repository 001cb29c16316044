// Bad news, once each, with a button that helps.

import { window } from "vscode";
import { MessageType, type ShowMessageParams } from "vscode-languageclient/node";

export interface Button {
  title: string;
  press: () => unknown;
}

export class Troubles {
  private readonly known = new Set<string>();
  private readonly standing = new Set<string>();

  /** Show a message, unless this trouble was told before and is not over. */
  async tell(trouble: string, message: string, ...buttons: Button[]): Promise<void> {
    if (!this.known.has(trouble)) {
      this.known.add(trouble);
      await this.pass({ type: MessageType.Error, message }, ...buttons);
    }
  }

  /** What the server says, unless it stands there already. */
  async pass({ type, message }: ShowMessageParams, ...buttons: Button[]): Promise<void> {
    if (this.standing.has(message)) {
      return;
    }
    this.standing.add(message);
    const titles = buttons.map((button) => button.title);
    const pressed = await shower(type)(message, ...titles);
    this.standing.delete(message);
    await buttons.find((button) => button.title === pressed)?.press();
  }

  /** All is well: what goes wrong after this is told again. */
  over(): void {
    this.known.clear();
  }
}

function shower(type: MessageType): (message: string, ...titles: string[]) => Thenable<string | undefined> {
  switch (type) {
    case MessageType.Error:
      return window.showErrorMessage;
    case MessageType.Warning:
      return window.showWarningMessage;
    default:
      return window.showInformationMessage;
  }
}
