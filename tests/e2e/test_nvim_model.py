"""The Neovim plugin on a screen with the embedded model, without any stand-in."""

import contextlib
import re

import pytest

from tests.e2e.neovim import NVIM, ROOT, Home, home, wait_for
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
