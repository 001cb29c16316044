"""Chats and edits in real Neovims. The engine is scripted: no model is needed to chat."""

import re
from collections.abc import Iterator

import pytest

from tests.e2e.neovim import NVIM, Home, home
from tests.e2e.plugin import PluginEditor, both, install, plugin_editor, wait_for
from tests.e2e.scripted import scripted_engine
from tests.lsp.fake_engine import FakeEngine

__all__ = ["home"]  # a fixture

pytestmark = [pytest.mark.editor, pytest.mark.timeout(90)]

CODE = "import os\n\n\ndef double(x):\n    return x + x\n"
ANSWER = "It doubles.\n\n```python\ndef double(x):\n    return 2 * x\n```\n"


@pytest.fixture
def engine(home: Home) -> Iterator[FakeEngine]:
    with scripted_engine(home, FakeEngine(text=ANSWER)) as engine:
        yield engine


@pytest.fixture
def editor(
    home: Home, engine: FakeEngine, request: pytest.FixtureRequest
) -> Iterator[PluginEditor]:
    install(home)
    (home.path / "project/a.py").write_text(CODE)
    with plugin_editor(home, "a.py", nvim=getattr(request, "param", NVIM)) as editor:
        yield editor
        assert "Error" not in editor.messages, editor.messages


def answered(editor: PluginEditor) -> bool:
    """Whether the next turn is the user's."""
    text = "\n".join(editor.lines).rstrip()
    return "## cl-lsp" in text and text.endswith("## You")


def chats(engine: FakeEngine) -> list[list[dict]]:
    """The messages of each, whatever was read ahead for the cursor meanwhile."""
    return [request["messages"] for request in engine.requests if "messages" in request]


def asked(engine: FakeEngine) -> str:
    return chats(engine)[-1][-1]["content"]


@both
def test_an_explanation_streams_into_a_chat(editor: PluginEditor, engine: FakeEngine) -> None:
    engine.delay_s = 2
    editor.command("4,5ClLsp explain")
    begins = re.compile(r"^It", re.MULTILINE)
    wait_for("the beginning of the answer", lambda: begins.search("\n".join(editor.lines)))
    assert engine.open, "the answer was shown only when it was complete"
    assert "def double(x):\n    return x + x" in asked(engine)
    wait_for("its end", lambda: answered(editor))
    assert "    return 2 * x" in editor.lines
    windows = editor.lua("return #vim.api.nvim_list_wins()")
    assert windows == 2, "the chat took the place of the code"
    engine.delay_s = 0
    engine.text = "Because."
    editor.press("GoWhy?\x1b\r")
    wait_for("the second answer", lambda: "Because." in editor.lines)
    assert asked(engine) == "Why?"
    assert len(chats(engine)[-1]) == 3


@both
def test_a_block_replaces_the_origin(editor: PluginEditor, engine: FakeEngine) -> None:
    editor.command("4,5ClLsp chat faster?")
    wait_for("the answer", lambda: "    return 2 * x" in editor.lines)
    assert "faster?" in asked(engine)
    wait_for("its end", lambda: answered(editor))
    editor.press("/2 \\*\rgR")
    code = CODE.replace("x + x", "2 * x").splitlines()
    buffer = "vim.fn.bufnr('a.py')"
    lines = f"return vim.api.nvim_buf_get_lines({buffer}, 0, -1, true)"
    wait_for("the block in the code", lambda: editor.lua(lines) == code)


def test_an_answer_is_stopped(editor: PluginEditor, engine: FakeEngine) -> None:
    engine.delay_s = 60
    editor.command("4,5ClLsp explain")
    wait_for("the beginning of the answer", lambda: "It" in "\n".join(editor.lines[8:]))
    editor.press("<C-c>")
    wait_for("its end", lambda: not [s for s in engine.open if "messages" in s.body])
    assert engine.cancelled


def test_an_edit_with_an_instruction(editor: PluginEditor, engine: FakeEngine) -> None:
    editor.command("4,5ClLsp edit use a product")
    changed = CODE.replace("x + x", "2 * x").splitlines()
    wait_for("the edit", lambda: editor.lines == changed)
    assert "use a product" in asked(engine)
    editor.press("u")
    wait_for("the code as it was", lambda: editor.lines == CODE.splitlines())
    editor.lua("vim.ui.input = function(_, told) told('use a sum') end")
    editor.press("/return\r")
    editor.command("ClLsp edit")
    wait_for("the edit at the cursor", lambda: editor.lines == changed)
    assert "use a sum" in asked(engine)


def test_a_fix_is_told_the_problems(editor: PluginEditor, engine: FakeEngine) -> None:
    editor.lua(
        """
        local problem = { lnum = 4, col = 0, message = 'x may be None' }
        vim.diagnostic.set(vim.api.nvim_create_namespace('test'), 0, { problem })
        """
    )
    editor.command("4,5ClLsp fix")
    wait_for("the edit", lambda: "    return 2 * x" in editor.lines)
    assert "x may be None" in asked(engine)


def test_a_code_action_of_the_menu(editor: PluginEditor, engine: FakeEngine) -> None:
    editor.lua("vim.ui.select = function(items, _, chosen) menu = items chosen(items[1]) end")
    editor.press("/return\r")
    editor.command("lua vim.lsp.buf.code_action({ context = { only = { 'cl-lsp.explain' } } })")
    wait_for("the answer", lambda: "It doubles." in editor.lines)


def test_the_selection_is_filled(editor: PluginEditor, engine: FakeEngine) -> None:
    engine.text = "    return 3 * x\n"
    editor.command("5ClLsp fill")
    wait_for("the filling", lambda: editor.lines[4] == "    return 3 * x")
