"""A terminal, 100 by 30, in a tmux of the user's own: what is on it, and keys."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.neovim import Home


class Screen:
    def __init__(self, home: Home):
        self._home = home

    def tmux(self, *arguments: str | Path) -> str:
        return self._home.run("tmux", "-L", "cl-lsp", "-f", "/dev/null", *arguments)

    @property
    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    @property
    def coloured(self) -> str:
        """With the terminal's escape sequences."""
        return self.tmux("capture-pane", "-p", "-e")

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """By tmux's names: Enter, Escape, C-x, Tab."""
        self.tmux("send-keys", *keys)


@contextlib.contextmanager
def screen(home: Home, *command: str | Path) -> Iterator[Screen]:
    """With a program in it, started in the user's project."""
    shown = Screen(home)
    size = ["-x", "100", "-y", "30"]
    shown.tmux("new-session", "-d", *size, "-c", home.path / "project", *command)
    try:
        yield shown
    finally:
        with contextlib.suppress(Exception):  # with its program it may be gone
            shown.tmux("kill-server")


def ask_until(shown: Screen, text: str, *keys: str) -> None:
    """Press keys until a text is on the screen: the server may not be there yet."""
    for _ in range(30):
        shown.press(*keys)
        for _ in range(10):
            if text in shown.text:
                return
            time.sleep(0.1)
    raise AssertionError(f"no {text!r} on the screen:\n{shown.text}")
