""":ClLsp in real Neovims, with a scripted engine: it chats without a model."""

import re
from collections.abc import Iterator

import pytest

from tests.e2e.neovim import NVIM, Home, home
from tests.e2e.plugin import PluginEditor, both, install, plugin_editor, wait_for
from tests.e2e.scripted import scripted_engine
from tests.lsp.fake_engine import FakeEngine

__all__ = ["home"]  # a fixture

pytestmark = [pytest.mark.editor, pytest.mark.timeout(90)]

CLIENT = "vim.lsp.get_clients({ name = 'cl_lsp' })[1]"
ANSWERED = f"next({CLIENT}.requests) == nil"


@pytest.fixture
def engine(home: Home) -> Iterator[FakeEngine]:
    with scripted_engine(home, FakeEngine(text="one")) as engine:
        yield engine


@pytest.fixture
def editor(
    home: Home, engine: FakeEngine, request: pytest.FixtureRequest
) -> Iterator[PluginEditor]:
    install(home)
    (home.path / "project/a.py").write_text("total = \n\n\ndef double(x):\n    return x + x\n")
    with plugin_editor(home, "a.py", nvim=getattr(request, "param", NVIM)) as editor:
        yield editor
        assert "Error" not in editor.messages, editor.messages


def statusline(editor: PluginEditor) -> str:
    return editor.lua("return require('cl_lsp').statusline()")


@both
def test_pause_resume_and_the_statusline(editor: PluginEditor, engine: FakeEngine) -> None:
    engine.headers_s = 0.3
    editor.insert("total =")
    wait_for("a server that thinks", lambda: "…" in statusline(editor))
    editor.wait_for_ghost("one")
    wait_for("how long it took", lambda: re.fullmatch(r"cl-lsp fake \d+ ms", statusline(editor)))
    editor.command("ClLsp pause")
    wait_for("a pause", lambda: statusline(editor).endswith(" off"))
    editor.press("x")
    asked = len(engine.streams)
    wait_for("no ghost text", lambda: editor.ghost() == "")
    editor.command("ClLsp resume")
    wait_for("its end", lambda: not statusline(editor).endswith(" off"))
    assert len(engine.streams) == asked
    editor.press("y")
    editor.wait_for_ghost("one")
    status = editor.command("ClLsp status")
    assert "0.1.0" in status and "~/project" in status


@both
def test_the_trace_and_the_logs(editor: PluginEditor, home: Home, engine: FakeEngine) -> None:
    engine.text = ""
    editor.insert("total =")
    wait_for("a request", lambda: engine.finished)
    editor.press("\x1b")

    def why() -> bool:
        editor.command("ClLsp trace")
        wait_for("the trace", lambda: editor.lua(f"return {ANSWERED}"))
        return "## Why there was nothing" in editor.lines

    wait_for("the reason", why)
    assert editor.lines[0] == "# cl-lsp: the last requests"
    editor.press("q")
    wait_for("its end", lambda: editor.lines[0] == "total = ")
    assert "set_level('info')" in editor.command("ClLsp log")
    assert "nothing was logged yet" in editor.command("ClLsp log engine")
    editor.lua("vim.lsp.log.set_level('info')")
    editor.command("edit a.py")
    editor.insert("total =")
    editor.press("x")
    log = home.lsp_log
    wait_for("the reason", lambda: log.exists() and "no suggestion at a.py:1:" in log.read_text())
    editor.press("\x1b")
    assert "set_level" not in editor.command("ClLsp log")
    assert editor.lua("return vim.api.nvim_buf_get_name(0)") == str(log)


def test_a_model_is_chosen(editor: PluginEditor, engine: FakeEngine) -> None:
    engine.names = ("fake", "other")
    editor.lua("vim.ui.select = function(items, _, chosen) chosen(items[1]) end")
    editor.command("ClLsp model")
    editor.insert("total =")

    def asked(model: str) -> bool:
        editor.press("x")  # until the server has the new setting
        count = len(engine.requests)
        wait_for("a request", lambda: len(engine.requests) > count)
        return any(request.get("model") == model for request in engine.requests)

    wait_for("the first of the list", lambda: asked("fake"))
    wait_for("its name", lambda: statusline(editor).startswith("cl-lsp fake"))
    editor.command("ClLsp model other")
    wait_for("the other", lambda: asked("other"))
    editor.press("\x1b")
    editor.command("ClLsp model chat nope")
    editor.command("ClLsp model nope")
    no = "cl-lsp: there is no model nope here; there are fake, other"
    wait_for("that there is none", lambda: editor.messages.count(no) == 2)
    assert "nope" not in editor.lua(f"return vim.inspect({CLIENT}.settings)")
    editor.command("ClLsp model /tmp")
    wait_for("a directory", lambda: "/tmp" in editor.lua(f"return vim.inspect({CLIENT}.settings)"))


def test_arguments_are_completed(editor: PluginEditor) -> None:
    def completed(line: str) -> list[str]:
        return editor.lua(f"return vim.fn.getcompletion({line!r}, 'cmdline')")

    names = completed("ClLsp ")
    assert names == sorted(names) and {"pause", "status", "trace", "model"} < set(names)
    assert completed("ClLsp pa") == ["pause"]
    assert completed("ClLsp log ") == ["engine", "server"]
    assert completed("ClLsp model ") == ["chat", "completion", "fake"]
    assert completed("ClLsp model chat ") == ["fake"]
    assert "there is no :ClLsp nonsense" in editor.command("ClLsp nonsense")


def test_help_and_health(editor: PluginEditor) -> None:
    editor.command("help cl-lsp")
    assert editor.lines[0].startswith("*cl-lsp.txt*")
    for tag in [":ClLsp", "cl_lsp.accept()", "<Plug>(cl-lsp-accept-all)", "g:cl_lsp"]:
        editor.command(f"help {tag}")
    editor.lua("require('cl_lsp').map('<M-w>', 'word')")
    editor.command("checkhealth cl_lsp")
    report = "\n".join(editor.lines)
    assert "1 running" in report and "<Tab> accepts" in report
    assert "<M-w> accepts" in report


@both
def test_a_restart_and_a_server_that_is_killed(editor: PluginEditor, engine: FakeEngine) -> None:
    def running() -> list[int]:
        return editor.lua("return vim.tbl_map(function(c) return c.id end, vim.lsp.get_clients())")

    first = running()
    editor.command("ClLsp restart")
    wait_for("another server", lambda: running() not in ([], first))
    editor.wait_for_server()
    second = running()
    editor.command("lua vim.system({ 'pkill', '-9', '-P', tostring(vim.uv.os_getpid()) }):wait()")
    wait_for("another server", lambda: running() not in ([], second))
    editor.wait_for_server()
    editor.insert("total =")
    editor.wait_for_ghost("one")
