"""The Neovim plugin with the embedded model, without any stand-in: a screen, and five windows."""

import contextlib
import re
import time

import pytest

from tests.e2e.neovim import NVIM, ROOT, Home, home, running, wait_for
from tests.e2e.plugin import PluginEditor, install
from tests.e2e.screen import screen

__all__ = ["home"]  # a fixture
ARTEFACT = ROOT / ".cache/artefacts/neovim-plugin.txt"
KEYS = "prices = [item.price for item in self.items.values()]"

pytestmark = [pytest.mark.editor, pytest.mark.timeout(180)]


def type_until_ghost(editor: PluginEditor) -> str:
    """Key by key, as somebody who waits a moment after each."""
    for key in KEYS:
        editor.press(key)
        with contextlib.suppress(AssertionError):
            return wait_for("ghost text", editor.ghost, 1.5)
    pytest.fail(f"no ghost text anywhere in {editor.line!r}")


def test_a_screen(home: Home) -> None:
    install(home)
    address = home.path / "nvim.sock"
    with (
        screen(home, NVIM, "-n", "--listen", address, "inventory.py") as shown,
        contextlib.closing(PluginEditor(address, shown.type)) as editor,
    ):
        editor.wait_for_server()
        editor.open_line()
        ghost = type_until_ghost(editor)
        first = re.findall(r"^[ -~]{0,20}", ghost)[0]
        visible = editor.line + first
        wait_for("ghost text on the screen", lambda: visible in shown.text)
        coloured = shown.coloured
        assert re.search(r"\x1b\[[\d;]+m" + re.escape(first), coloured), "has no own colour"
        editor.lua("vim.o.statusline = \"%f %m%=%{v:lua.require'cl_lsp'.statusline()} %l:%c \"")
        wait_for("the statusline", lambda: re.search(r"cl-lsp .*\d+ ms", shown.text))
        coloured = shown.coloured
        shown.press("Tab")
        wait_for("accepted text", lambda: ghost.split("\n")[0] in editor.line)
        shown.press("Escape")
        wait_for("normal mode on the screen", lambda: "INSERT" not in shown.text)
        ARTEFACT.parent.mkdir(parents=True, exist_ok=True)
        ARTEFACT.write_text(f"ghost text:\n{coloured}\nafter Tab:\n{shown.coloured}")
        assert editor.messages == ""
        editor.command("checkhealth cl_lsp")
        report = "\n".join(editor.lines)
        assert "OK the engine: embedded: ok" in report
        assert "ERROR" not in report and "WARNING" not in report, report
        editor.quit()


def test_five_windows_share_one_daemon_and_leave_nothing(home: Home) -> None:
    install(home)
    init = home.path / ".config/nvim/init.lua"
    options = "{ engine = { idleExitMinutes = 0.05 } }"
    init.write_text(f"vim.lsp.config('cl_lsp', {{ init_options = {options} }})\n{init.read_text()}")
    with contextlib.ExitStack() as stack:
        addresses = [home.path / f"nvim{number}.sock" for number in range(5)]
        command = [NVIM, "--headless", "-n", "inventory.py"]
        processes = [stack.enter_context(running(home, at, *command)) for at in addresses]
        editors = [stack.enter_context(contextlib.closing(PluginEditor(at))) for at in addresses]
        for editor in editors:
            editor.wait_for_server()
            editor.open_line()
        for editor in editors:
            type_until_ghost(editor)
            assert len(home.engines()) == 1
            editor.press("\t")
        for editor, process in zip(editors, processes, strict=True):
            assert editor.messages == ""
            editor.quit()
            assert process.wait(timeout=15) == 0
    began = time.monotonic()
    wait_for("end of the daemon", lambda: not home.processes(), 20)
    assert time.monotonic() - began < 15
