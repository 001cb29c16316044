"""Five windows of an editor on real screens: one daemon, one copy of the model, nothing is left.

VS Code's are in `test_vscode.py`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.neovim import NVIM, Home, home, wait_for
from tests.e2e.pages import block
from tests.e2e.plugin import NVIM_11, install
from tests.e2e.screen import Screen, ask_until, screen
from tests.e2e.test_other_editors import EMACS, HELIX

__all__ = ["home"]  # a fixture

pytestmark = [pytest.mark.editor, pytest.mark.timeout(120)]

IDLE_S = 8
COMPLETED = "del self.items[name]"  # the last line of the example


@dataclass(frozen=True)
class Program:
    """`ask`: from the file on the screen to the completed line."""

    command: list[str | Path]
    set_up: Callable[[Home], None]
    ask: Callable[[Screen], None]
    quit: list[str]


def ask_in_neovim(shown: Screen) -> None:
    shown.press("G", "A")
    ask_until(shown, COMPLETED, "BSpace", "t")
    shown.press("Tab", "Escape")


def set_up_emacs(home: Home) -> None:
    # With its locks it would ask who may edit the file.
    more = "(add-hook 'python-mode-hook 'eglot-ensure)\n(setq create-lockfiles nil)\n"
    (home.path / "init.el").write_text(block("emacs", "elisp") + more)


def ask_in_emacs(shown: Screen) -> None:
    wait_for("the language server", lambda: "[eglot:" in shown.text)
    shown.press("M->", "Left")
    ask_until(shown, COMPLETED, "M-Tab")


def set_up_helix(home: Home) -> None:
    folder = home.path / ".config/helix"
    folder.mkdir(parents=True)
    (folder / "languages.toml").write_text(block("helix", "toml"))


def ask_in_helix(shown: Screen) -> None:
    shown.press("g", "e", "A")
    ask_until(shown, "items[name]", "BSpace", "t")
    shown.press("Tab", "Enter")
    wait_for("it in the line", lambda: COMPLETED in shown.text)
    shown.press("Escape")


QUIT = [":", *"qa!", "Enter"]
PROGRAMS = {
    "nvim": Program([NVIM, "-n"], install, ask_in_neovim, QUIT),
    "nvim-0.11": Program([NVIM_11, "-n"], install, ask_in_neovim, QUIT),
    "emacs": Program(
        [EMACS, "-nw", "-Q", "-l", "../init.el"],
        set_up_emacs,
        ask_in_emacs,
        ["M-x", *"kill-emacs", "Enter"],
    ),
    "helix": Program([HELIX], set_up_helix, ask_in_helix, QUIT),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_five_windows_share_one_daemon_and_leave_nothing(home: Home, program: Program) -> None:
    program.set_up(home)
    settings = home.path / ".config/cl-lsp/cl-lsp.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[engine]\nidleExitMinutes = {IDLE_S / 60}\n")
    command = [*program.command, "inventory.py"]
    with screen(home, *command) as shown:
        for _ in range(4):
            shown.tmux("new-window", "-d", "-c", home.path / "project", *command)
        for window in range(5):
            shown.tmux("select-window", "-t", str(window))
            wait_for("the file on the screen", lambda: "class Inventory" in shown.text)
            program.ask(shown)
            assert len(home.engines()) == 1
        status = home.status()
        assert home.engines() == [status["pid"]]
        assert [model["id"] for model in status["models"]] == ["embedded"]
        assert status["clients"] == 5
        for window in range(5):
            shown.tmux("select-window", "-t", str(window))
            shown.press(*program.quit)
        wait_for("the end of the editors", lambda: list(home.processes()) == home.engines(), 15)
        began = time.monotonic()
        wait_for("the end of the daemon", lambda: not home.processes(), IDLE_S + 15)
        assert time.monotonic() - began < IDLE_S + 10
