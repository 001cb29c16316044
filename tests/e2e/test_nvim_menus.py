"""Our Neovim plugin beside completion menus: who gets Tab, and what is shown meanwhile.

blink.cmp and nvim-cmp are not on the machines that test; `menus.lua` does with keys and events what
they do (blink.cmp 1.10.2 itself did the same by hand), and is set up as `docs/neovim.md` says.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.frames import Frames
from tests.e2e.neovim import Home, home
from tests.e2e.pages import block
from tests.e2e.plugin import NVIM, NVIM_11, PluginEditor, install, plugin_editor, wait_for
from tests.e2e.scripted import scripted_engine
from tests.lsp.fake_engine import FakeEngine

__all__ = ["home"]  # a fixture

pytestmark = [pytest.mark.editor, pytest.mark.timeout(120)]

MENUS = Path(__file__).with_name("menus.lua")
# As both plugins have it when nobody says otherwise, or as their users often write it.
BLINK = "require('blink.cmp').setup({ keymap = { ['<Tab>'] = { 'snippet_forward', 'fallback' } } })"
CMP = """
local cmp = require('cmp')
cmp.setup({ mapping = { ['<Tab>'] = cmp.mapping(function(fallback)
  if cmp.visible() then cmp.select_next_item() else fallback() end
end) } })
"""

MENU_OPEN = "return vim.fn.pumvisible() == 1 or menu.window ~= nil"


@pytest.fixture
def engine(home: Home) -> Iterator[FakeEngine]:
    install(home)
    (home.path / "project/a.py").write_text("import os\n\ndouble = 1\n\ntotal = \n")
    with scripted_engine(home, FakeEngine(text="ble(1)")) as engine:
        yield engine


@pytest.fixture(params=[NVIM, NVIM_11], ids=["0.12", "0.11"])
def nvim(request: pytest.FixtureRequest) -> Path:
    return request.param


def open_menu(editor: PluginEditor) -> None:
    editor.insert("total =")
    editor.press("dou")
    wait_for("the menu", lambda: editor.lua("return menu.window ~= nil"))


@pytest.mark.parametrize("what", ["all", "word"])
def test_accepting_in_an_expression(home: Home, engine: FakeEngine, nvim: Path, what: str) -> None:
    with plugin_editor(home, "a.py", nvim=nvim) as editor:
        editor.lua(
            f"""
            vim.keymap.set('i', '<C-f>', function()
              return require('cl_lsp').accept('{what}') and '' or 'none'
            end, {{ expr = true }})
            """
        )
        editor.insert("total =")
        editor.wait_for_ghost("ble(1)")
        editor.press("<C-f>")
        shown = {"all": "ble(1)", "word": "ble"}[what]
        wait_for("the suggestion", lambda: editor.line == f"total = {shown}")
        assert editor.messages == ""


@pytest.mark.parametrize("plugin", ["blink.cmp", "nvim-cmp"])
def test_tab_as_the_documents_set_it_up(
    home: Home, engine: FakeEngine, nvim: Path, plugin: str
) -> None:
    recipe = block("neovim", "lua", after=f"**{plugin}**")
    with plugin_editor(home, "a.py", nvim=nvim, before=f"dofile('{MENUS}')") as editor:
        editor.lua(recipe)
        open_menu(editor)
        editor.wait_for_ghost("ble(1)")
        editor.press("\t")
        wait_for("the suggestion", lambda: editor.line == "total = double(1)")
        engine.text = ""
        editor.press("\x1bcctotal = dou")
        wait_for("the menu", lambda: editor.lua("return menu.window ~= nil"))
        wait_for("the answer", lambda: not engine.open)
        editor.press("\t")
        wait_for("the menu's next item", lambda: editor.lua("return menu.selected") == 1)
        assert editor.line == "total = dou"
        editor.press("\x1b")
        wait_for("the menu's end", lambda: editor.lua("return menu.window == nil"))
        editor.press("cc\t")
        wait_for("a tab", lambda: editor.line == "    ")
        assert editor.messages == ""


@pytest.mark.parametrize(("plugin", "menus"), [(BLINK, 0), (CMP, 1)], ids=["blink", "cmp"])
def test_their_tab_goes_before_ours(
    home: Home, engine: FakeEngine, nvim: Path, plugin: str, menus: int
) -> None:
    """Ours is what their key falls back to."""
    with plugin_editor(home, "a.py", nvim=nvim, before=f"dofile('{MENUS}')\n{plugin}") as editor:
        open_menu(editor)
        editor.wait_for_ghost("ble(1)")
        editor.press("\t")
        if menus:
            wait_for("the menu's next item", lambda: editor.lua("return menu.selected") == menus)
            editor.lua("menu.close()")
            editor.press("\t")
        wait_for("the suggestion", lambda: editor.line == "total = double(1)")
        assert editor.messages == ""


def test_a_key_of_one_buffer_stays_there(home: Home, engine: FakeEngine, nvim: Path) -> None:
    engine.text = ""
    with plugin_editor(home, "a.py", nvim=nvim) as editor:
        editor.lua(
            """
            vim.keymap.set('i', '<C-f>', 'here', { buffer = true })
            require('cl_lsp').map('<C-f>')
            vim.cmd.new()
            """
        )
        editor.press("i<C-f>x")
        wait_for("the key's own meaning", lambda: editor.line.endswith("x"))
        assert editor.line == "\x06x"
        editor.press("\x1b:quit!\rcc<C-f>")
        wait_for("the buffer's own", lambda: editor.line == "here")


@pytest.mark.parametrize("hidden", [False, True], ids=["beside", "hidden"])
@pytest.mark.parametrize("plugin", ["menu.popup()", BLINK], ids=["popup", "blink"])
def test_nothing_flickers_beside_a_menu(
    home: Home, engine: FakeEngine, nvim: Path, plugin: str, hidden: bool
) -> None:
    before = f"""
    vim.g.cl_lsp = {{ hide_beside_menu = {str(hidden).lower()} }}
    dofile('{MENUS}')
    {plugin}
    """
    with plugin_editor(home, "a.py", nvim=nvim, before=before) as editor:
        editor.insert("total =")
        editor.press("dou")
        wait_for("the menu", lambda: editor.lua(MENU_OPEN))
        wait_for("the answer", lambda: engine.streams and not engine.open)
        wait_for("its place", lambda: editor.ghost() == ("" if hidden else "ble(1)"))
        with Frames(home.path / "nvim.sock", "total =") as frames:
            wait_for("a frame", lambda: frames.seen)
            for key in "bl":
                editor.press(key)
                time.sleep(0.4)
            assert editor.line == "total = doubl"
            assert editor.lua(MENU_OPEN)
        typed = {"total = dou", "total = doub", "total = doubl"}
        assert set(frames.seen) == (typed if hidden else {"total = double(1)"})
