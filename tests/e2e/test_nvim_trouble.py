"""What the Neovim plugin says when something is wrong: one message, and what helps."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.neovim import NVIM, Home, home
from tests.e2e.plugin import NVIM_11, PluginEditor, install, plugin_editor, wait_for
from tests.e2e.scripted import scripted_engine
from tests.lsp.fake_engine import FakeEngine

__all__ = ["home"]  # a fixture

pytestmark = [pytest.mark.editor, pytest.mark.timeout(90)]

OLD = '''#!{python}
"""A server from before this plugin."""
import json, sys
if sys.argv[1:] == ["--version"]:
    sys.exit(print("0.0.1"))
while line := sys.stdin.buffer.readline():
    body = json.loads(sys.stdin.buffer.read(int(line.split()[1]) + 2))
    if "id" in body:
        result = {{"capabilities": {{}}, "serverInfo": {{"name": "cl-lsp", "version": "0.0.1"}}}}
        answer = json.dumps({{"jsonrpc": "2.0", "id": body["id"], "result": result}})
        sys.stdout.write(f"Content-Length: {{len(answer)}}\\r\\n\\r\\n{{answer}}")
        sys.stdout.flush()
    elif body["method"] == "exit":
        sys.exit(0)
'''
CRASHING = """#!{python}
import sys
with open({log!r}, "a") as log:
    log.write("started\\n")
sys.exit(sys.argv[1:] != [] and "broken" or 3)
"""


@pytest.fixture
def nvim(home: Home, request: pytest.FixtureRequest) -> Iterator[Path]:
    install(home)
    for name in ("a.py", "b.py"):
        (home.path / "project" / name).write_text("x = 1\n")
    yield getattr(request, "param", NVIM)


both = pytest.mark.parametrize("nvim", [NVIM, NVIM_11], ids=["0.12", "0.11"], indirect=True)


def program(home: Home, text: str, **values: object) -> tuple[Path, str]:
    path = home.path / "server"
    path.write_text(text.format(python=sys.executable, **values))
    path.chmod(0o700)
    return path, f"vim.g.cl_lsp = {{ cmd = {{ '{path}' }} }}"


def said(editor: PluginEditor, words: str) -> str:
    """The messages, once they have these words; nothing else may be said."""
    wait_for(f"{words!r} among the messages", lambda: words in editor.messages)
    for file in ("b.py", "a.py", "b.py"):
        editor.command(f"edit {file}")
    lines = [line for line in editor.messages.splitlines() if "written" not in line]
    return "\n".join(line for line in lines if not line.startswith('"'))


@both
def test_no_server_is_installed(home: Home, nvim: Path) -> None:
    before = "vim.g.cl_lsp = { cmd = { 'cl-lsp-that-is-not-there' } }"
    with (
        scripted_engine(home, FakeEngine()),
        plugin_editor(home, "a.py", nvim=nvim, before=before, wait=False) as editor,
    ):
        message = said(editor, "there is no program")
        assert message.count("cl-lsp-that-is-not-there") == 1
        assert ".whl[engine]'" in message and ":checkhealth cl_lsp" in message
        editor.command("checkhealth cl_lsp")
        assert any("ERROR there is no program" in line for line in editor.lines)
        assert any(".whl[engine]'" in line for line in editor.lines)
        editor.command("edit a.py")
        editor.lua("vim.g.cl_lsp = {}")
        editor.command("ClLsp restart")
        editor.wait_for_server()


def test_the_server_is_too_old(home: Home, nvim: Path) -> None:
    _, before = program(home, OLD)
    with plugin_editor(home, "a.py", nvim=nvim, before=before, wait=False) as editor:
        message = said(editor, "cl-lsp 0.0.1")
        assert message.count("0.0.1") == 1 and ".whl[engine]'" in message
        wait_for("its end", lambda: editor.lua("return #vim.lsp.get_clients()") == 0)
        assert "or newer" in editor.command("ClLsp status")
        editor.command("checkhealth cl_lsp")
        assert any("is 0.0.1; this plugin needs" in line for line in editor.lines)


@both
def test_the_server_crashes_five_times(home: Home, nvim: Path) -> None:
    log = home.path / "starts"
    _, before = program(home, CRASHING, log=str(log))
    with plugin_editor(home, "a.py", nvim=nvim, before=before, wait=False) as editor:
        message = said(editor, "ended 5 times")
        assert message.count("\n") == 0, message
        assert ":ClLsp log" in message and ":ClLsp restart" in message
        assert log.read_text().count("started") == 5
        editor.command("checkhealth cl_lsp")
        assert any("ERROR the server ended 5 times" in line for line in editor.lines)


def health(editor: PluginEditor) -> str:
    editor.press("\x1b")
    editor.command("checkhealth cl_lsp")
    return "\n".join(editor.lines)


def test_health_without_an_engine(
    home: Home, nvim: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The server alone is installed: nothing says so before the first key but `:checkhealth`."""
    missing = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    (tmp_path / "torch.py").write_text(missing)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with plugin_editor(home, "a.py", nvim=nvim) as editor:
        report = health(editor)
        assert "ERROR engine: is not installed (No module named 'torch')" in report
        assert ".whl[engine]'" in report


def test_health_of_an_engine_that_ends_at_its_start(home: Home, nvim: Path) -> None:
    before = "vim.lsp.config('cl_lsp', { init_options = { engine = { model = '7b' } } })"
    with plugin_editor(home, "a.py", nvim=nvim, before=before) as editor:
        assert "the engine: not running (it starts with the first key)" in health(editor)
        editor.command("edit a.py")
        editor.insert("x = 1")
        editor.press("2")
        wait_for("the problem", lambda: "cl-lsp pull codellama" in editor.messages, 60)
        report = health(editor)
        problem = report.partition("ERROR ")[2].partition("\n\n")[0]
        assert "cl-lsp pull codellama" in problem and ":ClLsp restart" in problem


def test_health_of_a_server_elsewhere_that_is_gone(home: Home, nvim: Path) -> None:
    settings = home.path / ".config/cl-lsp/cl-lsp.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('[engine]\nendpoint = "http://127.0.0.1:9"\n')
    with plugin_editor(home, "a.py", nvim=nvim) as editor:
        report = health(editor)
        assert re.search(r"ERROR endpoint: .*127\.0\.0\.1:9", report), report
        assert "start it, or set engine.endpoint" in report


def test_what_is_no_file_and_what_has_no_folder(home: Home, nvim: Path) -> None:
    (home.path / "alone.py").write_text("y = \n")
    with (
        scripted_engine(home, FakeEngine(text="one")) as engine,
        plugin_editor(home, str(home.path / "alone.py"), nvim=nvim) as editor,
    ):
        editor.insert("y =")
        editor.wait_for_ghost("one")
        editor.press("\x1b")
        assert "no folder" in editor.command("ClLsp status")
        editor.command("write")
        editor.command("edit view://things.py")
        editor.command("setfiletype python")
        editor.command("enew")
        editor.command("setfiletype python")
        editor.wait_for_server()
        engine.text = "two"
        editor.press("iz = ")
        editor.wait_for_ghost("two")
        editor.press("\x1b")
        assert "rror" not in editor.messages
