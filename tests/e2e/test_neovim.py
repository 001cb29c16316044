"""A real Neovim, the real `cl-lsp`, its daemon and the embedded model, without any stand-in.

Which text is suggested is not tested here, only that what is suggested is shown, is of the present
state of the buffer, and is what Tab inserts.
"""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.neovim import INIT, NVIM, ROOT, Editor, Home, editor_at, home, neovims, wait_for

__all__ = ["home"]  # a fixture
SCREEN = ROOT / ".cache/artefacts/neovim.txt"
KEYS = "prices = [item.price for item in self.items.values()]"

pytestmark = [pytest.mark.editor, pytest.mark.timeout(180)]


@pytest.fixture
def editor(home: Home) -> Iterator[Editor]:
    with neovims(home, 1) as (editor,):
        yield editor


def test_the_set_up_is_the_one_in_the_readme() -> None:
    _, set_up = INIT.read_text().split("\n", 1)
    assert f"```lua\n{set_up}```" in (ROOT / "README.md").read_text()


def test_ghost_text_is_accepted_with_tab_and_undone(home: Home, editor: Editor) -> None:
    original = editor.lines
    editor.open_line()
    editor.type_until_ghost(KEYS)
    editor.accept()
    accepted = editor.lines
    editor.press("\x1bu")
    wait_for("undone change", lambda: editor.lines == original)
    editor.press("\x12")
    wait_for("change done again", lambda: editor.lines == accepted)
    editor.check_quiet(home)


def test_nothing_stale_is_shown_after_quick_typing(home: Home, editor: Editor) -> None:
    editor.open_line()
    shown = 0
    # Neovim asks 200 ms after the last key: most of these pauses leave a request unanswered.
    for pauses in [0, 0.22, 0.3], [0.25, 0.25, 0.25], [0, 0, 0], [0.4, 0.3, 0.21]:
        for text, pause in zip(["prices = ", "[item.price ", "for item in "], pauses, strict=True):
            editor.type(text)
            time.sleep(pause)
        wait_for("answer for the last state", editor.settled)
        ghost = editor.ghost()
        assert ghost == editor.newest_answer()
        time.sleep(1)  # for what could come late
        assert editor.ghost() == ghost
        if ghost:
            shown += 1
            editor.accept()
        editor.press("\r")
        wait_for("new line", lambda: not editor.line.strip())
    assert shown
    editor.check_quiet(home)


def test_ghost_text_on_a_real_screen(home: Home) -> None:
    def tmux(*arguments: str | Path) -> str:
        return home.run("tmux", "-L", "cl-lsp", "-f", "/dev/null", *arguments)

    def screen(*options: str) -> str:
        return tmux("capture-pane", "-p", *options)

    address, file = home.path / "nvim.sock", home.path / "project/inventory.py"
    nvim = [NVIM, "-n", "-u", INIT, "--listen", address, file]
    tmux("new-session", "-d", "-x", "100", "-y", "40", *nvim)
    try:
        with editor_at(address, lambda keys: tmux("send-keys", "-l", keys)) as editor:
            wait_for("the file on the screen", lambda: "def total" in screen())
            editor.open_line()
            ghost = editor.type_until_ghost(KEYS)
            shown = re.findall(r"^[ -~]{0,20}", ghost)[0]  # the rest may look different on a screen
            visible = editor.line + shown
            wait_for("ghost text on the screen", lambda: visible in screen())
            with_ghost = screen("-e")
            assert re.search(r"\x1b\[[\d;]+m" + re.escape(shown), with_ghost), "has no own colour"
            editor.accept()
            editor.press("\x1b")
            wait_for("normal mode on the screen", lambda: "INSERT" not in screen())
            assert visible in screen()
            SCREEN.parent.mkdir(parents=True, exist_ok=True)
            SCREEN.write_text(f"ghost text:\n{with_ghost}\nafter Tab:\n{screen('-e')}")
            editor.check_quiet(home)
            editor.quit()
    finally:
        tmux("kill-server")


def test_the_editor_outlives_its_daemon(home: Home, editor: Editor) -> None:
    editor.open_line()
    keys = iter(KEYS)
    editor.type_until_ghost(keys)
    killed = home.status()["pid"]
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    editor.type(next(keys))
    assert time.monotonic() - began < 1
    wait_for("answer of the next daemon", editor.settled)
    if not editor.ghost():
        editor.type_until_ghost(keys)
    editor.accept()
    assert home.status()["pid"] != killed
    assert editor.lua("return vim.v.errmsg") == ""


def test_five_editors_share_one_daemon(home: Home) -> None:
    with neovims(home, 5) as editors:
        for editor in editors:
            editor.open_line()
        for editor in editors:
            editor.type_until_ghost(KEYS)
        wait_for("end of the daemons that came second", lambda: len(home.engines()) == 1)
        assert home.engines() == [home.status()["pid"]]
        for editor in editors:
            editor.accept()
            editor.check_quiet(home)
