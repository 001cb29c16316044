"""A VS Code in which the extension was just installed, on a machine without `cl-lsp`."""

import pytest

from tests.e2e.neovim import Home, wait_for
from tests.e2e.vscode import VSIX, a_user, install, type_until_ghost, vscode, write

pytestmark = [pytest.mark.editor, pytest.mark.timeout(240)]


class Newcomer(Home):
    @property
    def env(self) -> dict[str, str]:
        return super().env | {"PATH": "/usr/bin:/bin"}


def test_from_no_server_to_the_first_ghost_text() -> None:
    with a_user(Newcomer) as user, vscode(user, VSIX) as code, code.window() as window:
        write(user.path / "project/a.py", "def add(first, second):\n    return fir\n")
        wait_for("no server", lambda: "not installed" in window.status)
        window.open("a.py")
        for _ in range(2):
            window.command("cl-lsp: Restart the Language Server")
        window.command("Notifications: Show Notifications")
        wait_for("the message", lambda: "not installed on the machine that has your" in window.told)
        assert len(window.messages) == 1, window.told

        window.button("Install…").click()
        title = window.page.locator(".quick-input-widget", has_text="The wheel of cl-lsp")
        title.wait_for()
        window.press("Escape")

        install(user, "elsewhere")
        window.command("cl-lsp: Choose the Language Server’s Program…")
        window.page.locator(".quick-input-widget", has_text="The program cl-lsp").wait_for()
        window.press("Control+A")
        window.type(str(user.path / "elsewhere/cl-lsp"), 5)
        window.press("Enter")
        wait_for("the language server", lambda: "ready" in window.status)
        window.press("Control+1", "Control+End", "ArrowUp", "End")
        type_until_ghost(window, "st + sec")
