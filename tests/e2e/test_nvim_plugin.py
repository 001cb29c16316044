"""Our plugin in real Neovims: ghost text and what is done with it. The engine is scripted, so that
what is shown is known; the embedded model is used where a test says so."""

from collections.abc import Iterator

import pytest

from tests.e2e.neovim import NVIM, Home, home
from tests.e2e.plugin import NVIM_11, PluginEditor, install, plugin_editor, wait_for
from tests.e2e.scripted import scripted_engine
from tests.lsp.fake_engine import FakeEngine

__all__ = ["home"]  # a fixture

pytestmark = [pytest.mark.editor, pytest.mark.timeout(180)]

FORCED = "vim.g.cl_lsp = { ghost = 'extmark' }"


@pytest.fixture
def engine(home: Home) -> Iterator[FakeEngine]:
    with scripted_engine(home, FakeEngine()) as engine:
        yield engine


@pytest.fixture(params=[NVIM, NVIM_11], ids=["0.12", "0.11"])
def editor(
    home: Home, engine: FakeEngine, request: pytest.FixtureRequest
) -> Iterator[PluginEditor]:
    install(home)
    (home.path / "project/a.py").write_text("import os\n\ntotal = \n\n\ndef double(x):\n")
    with plugin_editor(home, "a.py", nvim=request.param) as editor:
        yield editor


def test_accepting_all_a_word_or_a_line(editor: PluginEditor, engine: FakeEngine) -> None:
    engine.text = "first.value + second"
    editor.lua("require('cl_lsp').map('<C-l>', 'line') require('cl_lsp').map('<C-w>', 'word')")
    editor.insert("total =")
    editor.wait_for_ghost("first.value + second")
    for accepted in ["first", "first.", "first.value", "first.value +"]:
        editor.press("<C-w>")
        wait_for(f"{accepted!r}", lambda a=accepted: editor.line == f"total = {a}")
        editor.wait_for_ghost("first.value + second".removeprefix(accepted))
    editor.press("\t")
    wait_for("the whole", lambda: editor.line == "total = first.value + second")
    assert editor.ghost() == ""
    editor.press("\x1bu")
    wait_for("the last part to be undone", lambda: editor.line == "total = first.value +")


def test_several_lines_and_closed_brackets(editor: PluginEditor, engine: FakeEngine) -> None:
    editor.lua("require('cl_lsp').map('<C-l>', 'line') require('cl_lsp').map('<C-w>', 'word')")
    engine.text = "\n    y = x + x\n    return y\n"
    editor.insert("double(x):")
    editor.wait_for_ghost("\n    y = x + x\n    return y")
    editor.press("<C-l>")
    wait_for("a line", lambda: editor.lines[-2:] == ["def double(x):", "    y = x + x"])
    engine.text = "\n    return y\n"
    editor.wait_for_ghost("\n    return y")
    editor.press("<C-w>")
    wait_for("a word of the next line", lambda: editor.line == "    return")
    engine.text = "len(os.sep))"
    editor.press("\x1bo    print()<Left>")
    editor.wait_for_ghost("len(os.sep))")
    editor.press("<C-w><C-w><C-w>")
    wait_for("three words, and the bracket is still there", lambda: "len(os)" in editor.line)
    editor.wait_for_ghost(".sep))")
    editor.press("\t")
    wait_for("each bracket once", lambda: editor.line == "    print(len(os.sep))")


def test_what_was_typed_since_is_not_inserted_again(
    editor: PluginEditor, engine: FakeEngine
) -> None:
    engine.text = "größe = 'ü𝄞' + x"
    editor.insert("total =")
    editor.wait_for_ghost(engine.text)
    editor.press("grö\t")  # sooner than any answer
    wait_for("the suggestion, once", lambda: editor.line == f"total = {engine.text}")


def test_a_key_keeps_its_meaning_when_nothing_is_shown(
    editor: PluginEditor, engine: FakeEngine
) -> None:
    engine.text = ""
    editor.lua(
        """
        vim.keymap.set('i', '<C-y>', 'plain')
        vim.keymap.set('i', '<C-g>', function() return '<C-v>u00e9' end, { expr = true })
        vim.keymap.set('i', '<C-b>', function() vim.g.pressed = (vim.g.pressed or 0) + 1 end)
        vim.cmd([[inoremap <expr> <C-f> "vim" .. "script"]])
        for _, key in ipairs({ '<C-y>', '<C-g>', '<C-b>', '<C-f>', '<C-b>' }) do
          require('cl_lsp').map(key)
        end
        vim.keymap.set('i', '<C-d>', '<Plug>(cl-lsp-accept-word)')
        vim.o.expandtab, vim.o.shiftwidth, vim.o.tabstop = true, 4, 4
        """
    )
    editor.insert("import os")
    editor.press("\r<C-y><C-g><C-b><C-f>x\tx")
    wait_for("what the keys meant", lambda: editor.line == "plainévimscriptx    x")
    assert editor.lua("return vim.g.pressed") == 1
    editor.press("\x1bcc\t\tend<C-d>")
    wait_for("a level less", lambda: editor.line == "    end")
    engine.text = "of(it)"
    editor.press(".")
    editor.wait_for_ghost("of(it)")
    editor.press("<C-d>")
    wait_for("a word", lambda: editor.line == "    end.of")


def test_escape_hides_it_and_nothing_comes_back(editor: PluginEditor, engine: FakeEngine) -> None:
    engine.text = "later()"
    editor.insert("total =")
    editor.wait_for_ghost("later()")
    editor.lua("require('cl_lsp').dismiss()")
    wait_for("no ghost text", lambda: editor.ghost() == "")
    assert not editor.lua("return require('cl_lsp').accept()")
    engine.headers_s = 0.4
    asked = len(engine.streams)
    editor.press("x")
    wait_for("a request", lambda: len(engine.streams) > asked)
    editor.press("\x1b")
    wait_for("its end", lambda: not engine.open)
    assert editor.ghost() == ""
    assert editor.line == "total = x"


def test_beside_a_completion_menu(editor: PluginEditor, engine: FakeEngine) -> None:
    engine.text = "ble(1)"
    editor.lua(
        """
        local given = vim.tbl_extend('force', vim.g.cl_lsp or {}, { hide_beside_menu = true })
        vim.g.cl_lsp = given
        local client = vim.lsp.get_clients({ name = 'cl_lsp' })[1]
        require('cl_lsp.ghost').attach(vim.api.nvim_get_current_buf(), client)
        vim.o.completeopt = 'menuone,noselect'
        """
    )
    editor.insert("total =")
    editor.press("dou")
    editor.wait_for_ghost("ble(1)")
    editor.press("<C-n>")
    wait_for("the menu", lambda: editor.lua("return vim.fn.pumvisible()") == 1)
    wait_for("no ghost text beside it", lambda: editor.ghost() == "")
    editor.press("<C-e>")
    wait_for("no menu", lambda: editor.lua("return vim.fn.pumvisible()") == 0)
    editor.wait_for_ghost("ble(1)")
    editor.press("\t")
    wait_for("the suggestion", lambda: editor.line == "total = double(1)")


@pytest.mark.parametrize("before", ["", FORCED], ids=["builtin", "extmark"])
def test_windows_line_ends(home: Home, engine: FakeEngine, before: str) -> None:
    install(home)
    (home.path / "project/a.py").write_bytes(b"import os\r\n\r\n\r\ndef double(x):\r\n")
    engine.text = "\n    y = x + x\n    return y\n"
    with plugin_editor(home, "a.py", before=before) as editor:
        editor.insert("double(x):")
        editor.wait_for_ghost("\n    y = x + x\n    return y")
        editor.press("\t")
        wait_for(
            "the lines",
            lambda: editor.lines[3:] == ["def double(x):", "    y = x + x", "    return y"],
        )
