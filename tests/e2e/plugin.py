"""Our Neovim plugin, installed from its archive in a user's home, and a Neovim that has it."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.e2e.neovim import NVIM, ROOT, Editor, Home, running
from tests.e2e.neovim import wait_for as wait_long
from tests.e2e.pages import block

T = TypeVar("T")

NVIM_11 = ROOT / ".cache/nvim-0.11/nvim"
READY = """
local client = vim.lsp.get_clients({ bufnr = 0, name = 'cl_lsp' })[1]
return client ~= nil and client.initialized == true
"""


def wait_for(what: str, poll: Callable[[], T], seconds: float = 15) -> T:
    """Without a model that must be loaded first, what takes longer never comes."""
    return wait_long(what, poll, seconds)


def install(home: Home, archive: Path | None = None) -> None:
    """The archive (without one, of this tree) and `docs/neovim.md`, followed to the letter."""
    there = home.path / "cl-lsp.nvim.tar.gz"
    if archive:
        shutil.copy(archive, there)
    else:
        home.run(ROOT / "editors/nvim/package.sh", there)
    home.run("sh", "-ec", f"cd {home.path}\n{block('neovim', 'sh')}")
    config = home.path / ".config/nvim"
    config.mkdir(parents=True)
    (config / "init.lua").write_text(block("neovim", "lua"))


both = pytest.mark.parametrize("editor", [NVIM, NVIM_11], ids=["0.12", "0.11"], indirect=True)


class PluginEditor(Editor):
    """Ghost text is what the plugin says is shown, and what stands on the screen."""

    def wait_for_server(self) -> None:
        wait_for("running server", lambda: self.lua(READY))

    def ghost(self) -> str:
        return self.lua("return require('cl_lsp.ghost').shown()") or ""

    def wait_for_ghost(self, text: str) -> None:
        wait_for(f"ghost text {text!r}", lambda: self.ghost() == text)

    def command(self, command: str) -> str:
        """What it says, errors too."""
        said = f"select(2, pcall(vim.fn.execute, {command!r}))"
        return self.lua(f"return {said}").strip()

    def insert(self, at_end_of: str) -> None:
        """Insert mode at the end of the first line that has this."""
        self.press(f"\x1b/\\V{at_end_of}\rA")
        wait_for("insert mode", lambda: self.call("nvim_get_mode")["mode"] == "i")


@contextlib.contextmanager
def plugin_editor(
    home: Home,
    file: str = "inventory.py",
    *,
    nvim: Path = NVIM,
    before: str = "",
    wait: bool = True,
) -> Iterator[PluginEditor]:
    """`before`: Lua that runs before the plugin, as the beginning of the user's init.lua."""
    address = home.path / "nvim.sock"
    init = home.path / ".config/nvim/init.lua"
    init.write_text(f"{before}\n{init.read_text()}")
    command = [nvim, "--headless", "-n", file]
    with (
        running(home, address, *command) as process,
        contextlib.closing(PluginEditor(address)) as editor,
    ):
        if wait:
            editor.wait_for_server()
        yield editor
        editor.quit()
        assert process.wait(timeout=15) == 0
