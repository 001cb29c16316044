"""Our Neovim plugin while buffers get other servers, names and texts. The engine is scripted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.neovim import NVIM, Home, home
from tests.e2e.plugin import NVIM_11, PluginEditor, install, plugin_editor, wait_for
from tests.e2e.scripted import scripted_engine
from tests.lsp.fake_engine import FakeEngine

__all__ = ["home"]  # a fixture

pytestmark = [pytest.mark.editor, pytest.mark.timeout(90)]

KILL = "lua vim.system({ 'pkill', '-9', '-P', tostring(vim.uv.os_getpid()) }):wait()"
STOP = "lua for _, client in ipairs(vim.lsp.get_clients()) do client:stop() end"
MARKS = """
return vim.iter(vim.api.nvim_get_namespaces()):any(function(_, space)
  local buf = vim.fn.bufnr('a.py')
  local marks = vim.api.nvim_buf_get_extmarks(buf, space, 0, -1, { details = true })
  return vim.iter(marks):any(function(mark) return mark[4].virt_text ~= nil end)
end)
"""
SERVERS = "return #vim.lsp.get_clients({ bufnr = 0 })"


@pytest.fixture
def engine(home: Home) -> Iterator[FakeEngine]:
    with scripted_engine(home, FakeEngine(text="first + second")) as engine:
        yield engine


@pytest.fixture(params=[NVIM, NVIM_11], ids=["0.12", "0.11"])
def editor(
    home: Home, engine: FakeEngine, request: pytest.FixtureRequest
) -> Iterator[PluginEditor]:
    install(home)
    (home.path / "project/a.py").write_text("import os\n\ntotal = \n")
    with plugin_editor(home, "a.py", nvim=request.param) as editor:
        yield editor
        assert "rror" not in editor.messages, editor.messages


def asked(engine: FakeEngine, before: str) -> bool:
    """Whether it was asked what follows this; it is asked ahead, too."""
    return any(request["prompt"].endswith(before) for request in engine.requests)


def test_what_is_typed_without_a_server_is_known_to_the_next(
    editor: PluginEditor, engine: FakeEngine
) -> None:
    editor.insert("total =")
    editor.wait_for_ghost("first + second")
    editor.press("\x1b")
    editor.command(KILL)
    wait_for("its end", lambda: editor.lua(SERVERS) == 0)
    editor.insert("total =")
    editor.press("mean")
    editor.wait_for_server()
    editor.press("while = ")
    editor.wait_for_ghost("first + second")
    assert asked(engine, "\ntotal = meanwhile = ")
    editor.press("\x1b")
    editor.command("silent write")
    editor.command("silent !echo 'other = 1' >a.py")
    editor.command("edit")
    editor.insert("other = 1")
    editor.press(" + ")
    editor.wait_for_ghost("first + second")
    assert asked(engine, "other = 1 + ")


@pytest.mark.parametrize("nvim", [NVIM, NVIM_11], ids=["0.12", "0.11"])
def test_who_types_before_the_server_is_there_needs_no_other_key(
    home: Home, engine: FakeEngine, nvim: Path
) -> None:
    install(home)
    (home.path / "project/a.py").write_text("total = \n")
    slow = home.path / "slow"
    slow.write_text("#!/bin/sh\nsleep 2\nexec cl-lsp\n")
    slow.chmod(0o700)
    before = f"vim.g.cl_lsp = {{ cmd = {{ '{slow}' }} }}"
    with plugin_editor(home, "a.py", nvim=nvim, before=before, wait=False) as editor:
        editor.insert("total =")
        editor.press("x")
        editor.wait_for_ghost("first + second")


def test_a_server_that_stops_takes_its_ghost_text_with_it(editor: PluginEditor) -> None:
    editor.insert("total =")
    editor.wait_for_ghost("first + second")
    editor.command(STOP)
    wait_for("no ghost text", lambda: editor.ghost() == "")
    editor.press("\t")
    wait_for("a tab", lambda: editor.line.rstrip() != editor.line)
    editor.press("\x1b")
    editor.command("ClLsp restart")
    editor.wait_for_server()
    editor.insert("total =")
    editor.wait_for_ghost("first + second")


def test_a_buffer_with_another_name(editor: PluginEditor, engine: FakeEngine) -> None:
    editor.command("file b.py")
    editor.insert("total =")
    editor.press("x")
    editor.wait_for_ghost("first + second")
    editor.press("\x1b")
    editor.command("saveas c.py")
    editor.insert("total =")
    editor.press("y")
    editor.wait_for_ghost("first + second")
    assert "closed" not in editor.command("ClLsp status")


def test_a_buffer_that_goes_before_the_answer_comes(
    editor: PluginEditor, engine: FakeEngine
) -> None:
    for leave in ("bwipeout!", "bdelete!", "edit!"):
        engine.headers_s = 0.5
        before = len(engine.streams)
        editor.insert("total =")
        editor.press("x")
        wait_for("a request", lambda n=before: len(engine.streams) > n)
        editor.command(leave)
        wait_for("its end", lambda: not engine.open)
        engine.headers_s = 0
        editor.press("\x1b")
        editor.command("edit! a.py")
        editor.wait_for_server()
        editor.insert("total =")
        editor.press("y")
        editor.wait_for_ghost("first + second")


def test_nothing_is_left_on_the_screen(editor: PluginEditor) -> None:
    editor.insert("total =")
    editor.wait_for_ghost("first + second")
    editor.press("<C-c>")  # ends insert mode without InsertLeave
    wait_for("no ghost text", lambda: not editor.lua(MARKS))
    editor.insert("total =")
    editor.press("x")
    editor.wait_for_ghost("first + second")
    editor.command("vsplit b.py")
    wait_for("none in the other window", lambda: not editor.lua(MARKS))


def test_an_acceptance_is_undone_by_itself(editor: PluginEditor) -> None:
    editor.lua("vim.bo.undolevels = 77")
    editor.insert("total =")
    editor.press("a")
    editor.wait_for_ghost("first + second")
    editor.press("\t")
    wait_for("the suggestion", lambda: editor.line == "total = afirst + second")
    editor.press(" + third\x1b")
    for left in ("total = afirst + second", "total = a", "total = "):
        editor.press("u")
        wait_for(f"{left!r}", lambda text=left: editor.line == text)
    assert editor.lua("return vim.go.undolevels") == 1000


def test_nothing_is_accepted_where_nothing_may_be_changed(editor: PluginEditor) -> None:
    editor.insert("total =")
    editor.wait_for_ghost("first + second")
    editor.lua("vim.bo.modifiable = false")
    assert not editor.lua("return require('cl_lsp').accept()")
    editor.lua("vim.bo.modifiable = true")
    assert editor.line == "total = "
