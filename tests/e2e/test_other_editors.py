"""Completion and a code action in real Emacs, Helix and Vim, set up as in docs/.

The engine is scripted, so that it chats without a model.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.neovim import ROOT, Home, home
from tests.e2e.pages import block
from tests.e2e.plugin import wait_for
from tests.e2e.screen import ask_until, screen
from tests.e2e.scripted import scripted_engine
from tests.lsp.fake_engine import FakeEngine

__all__ = ["home"]  # a fixture

EMACS = ROOT / ".cache/emacs/emacs"
HELIX = ROOT / ".cache/helix/hx"
VIM = ROOT / ".cache/vim/vim"
CODE = "import os\n\ntotal = \n\n\ndef double(x):\n    return x + x\n"
EXPLAIN = "cl-lsp: Explain this code"

pytestmark = [pytest.mark.editor, pytest.mark.timeout(120)]


@pytest.fixture
def engine(home: Home) -> Iterator[FakeEngine]:
    (home.path / "project/a.py").write_text(CODE)
    with scripted_engine(home, FakeEngine(text="rst + second")) as engine:
        yield engine


def test_emacs(home: Home, engine: FakeEngine) -> None:
    init, project = home.path / "init.el", home.path / "project"
    init.write_text(block("emacs", "elisp"))
    script = Path(__file__).with_name("emacs.el")
    out = home.run(EMACS, "--batch", "-Q", "--chdir", project, "-l", init, "-l", script)
    assert out.startswith("total = first + second\n")
    assert "# Explain this code" in out
    assert engine.requests[-1]["messages"]


def test_helix(home: Home, engine: FakeEngine) -> None:
    folder = home.path / ".config/helix"
    folder.mkdir(parents=True)
    (folder / "languages.toml").write_text(block("helix", "toml"))
    with screen(home, HELIX, "a.py") as shown:
        wait_for("the file", lambda: "def double" in shown.text)
        shown.type("jjAfi")
        ask_until(shown, "first + second", "C-x")
        shown.press("Tab")
        wait_for("it in the line", lambda: "total = first + second" in shown.text)
        engine.text = "It doubles."
        shown.press("Escape")
        wait_for("normal mode", lambda: " NOR " in shown.text)
        shown.type("% a")
        wait_for("the menu", lambda: EXPLAIN in shown.text)
        entries = re.findall(r"cl-lsp: [\w ]+", shown.text)
        shown.press(*["C-n"] * [entry.strip() for entry in entries].index(EXPLAIN), "Enter")
        wait_for("the answer", lambda: "It doubles." in shown.text)
        assert "# Explain this code" in shown.text


def test_vim(home: Home, engine: FakeEngine) -> None:
    (home.path / ".vimrc").write_text(block("vim", "vim"))
    with screen(home, VIM, "a.py") as shown:
        wait_for("the file", lambda: "def double" in shown.text)
        shown.type("jjAfi")
        ask_until(shown, "first + second v cl-lsp", "BSpace", "i")
        shown.press("C-n")
        wait_for("it in the line", lambda: "total = first + second" in shown.text)
        shown.press("C-y", "Escape")
        wait_for("normal mode", lambda: "-- " not in shown.text)
        ask_until(shown, EXPLAIN, ":", *"ALECodeAction", "Enter")
        number = re.search(rf"(\d+)\) {EXPLAIN}", shown.text)
        assert number
        shown.press(number[1], "Enter")
        wait_for("the question", lambda: engine.requests and engine.requests[-1].get("messages"))
