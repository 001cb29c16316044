"""Cells of a notebook in a real VS Code: suggestions that know the other cells, and edits."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator

from tests.e2e.neovim import Home, wait_for
from tests.e2e.vscode import ARTEFACTS, VsCode, code, scripted, user, write
from tests.e2e.window import Window
from tests.lsp.fake_engine import FakeEngine

__all__ = ["code", "user"]  # fixtures
pytestmark = [pytest.mark.editor, pytest.mark.timeout(240)]

CELLS = [
    ("markdown", "# A title"),
    ("code", "def first_cell(value):\n    return value"),
    ("code", ""),
    ("code", "print(last_cell)"),
]


def text(cell: Locator) -> str:
    return cell.inner_text().replace("\xa0", " ")


@contextlib.contextmanager
def notebook(code: VsCode, path: Path, engine: FakeEngine) -> Iterator[tuple[Window, Locator]]:
    """A window on a new notebook of CELLS, and the rows of those with code."""
    cells = [
        {"cell_type": kind, "metadata": {}, "source": source}
        | ({"execution_count": None, "outputs": []} if kind == "code" else {})
        for kind, source in CELLS
    ]
    language = {"language_info": {"name": "python"}}
    made = {"cells": cells, "metadata": language, "nbformat": 4, "nbformat_minor": 5}
    write(path, json.dumps(made))
    with scripted(engine) as url:
        code.settings(
            {f"cl-lsp.{role}.endpoint": url for role in ("engine", "chat")}
            | {"cl-lsp.engine.fim": "codellama"}
        )
        with code.window() as window:
            wait_for("the language server", lambda: "ready" in window.status)
            window.open(path.name, ".notebook-editor .code-cell-row")
            yield window, window.page.locator(".notebook-editor .code-cell-row")


def test_a_cell_knows_the_cells_around_it(code: VsCode, user: Home) -> None:
    engine = FakeEngine(text="_cell(3)")
    with notebook(code, user.path / "project/a.ipynb", engine) as (window, cells):
        cell = cells.nth(1)
        cell.locator(".cell-editor-container").click()
        window.type("first")
        ghost = cell.locator("[class*=ghost-text-decoration]")
        wait_for("ghost text in the cell", lambda: "_cell(3)" in "".join(ghost.all_inner_texts()))
        request = engine.requests[-1]
        assert "def first_cell(value):\n    return value\n\nfirst" in request["prompt"]
        assert "last_cell" in request["prompt"]
        assert "A title" not in str(request)
        window.press("Tab")
        wait_for("the accepted text", lambda: "first_cell(3)" in text(cell))
        window.check_quiet()


def test_an_edit_lands_in_its_cell(code: VsCode, user: Home) -> None:
    engine = FakeEngine(text="```python\n    return value + 1\n```\n")
    path = user.path / "project/b.ipynb"
    with notebook(code, path, engine) as (window, cells):
        first, diff = cells.nth(0), window.page.locator(".monaco-diff-editor")
        first.locator(".cell-editor-container").click()
        window.press("Control+End", "Home", "Shift+End")
        window.action("Edit this code")
        window.page.get_by_text("What is to be changed?").wait_for()
        window.type("Add one\n")
        will = diff.locator(".modified .view-line")
        will.filter(has_text="return value + 1").wait_for()
        assert will.filter(has_text="def first_cell(value):").count() == 1
        window.press("Control+Enter")
        wait_for("the end of the question", lambda: not diff.count())
        wait_for("the changed cell", lambda: "return value + 1" in text(first))
        assert "+ 1" not in text(cells.nth(1)) + text(cells.nth(2))
        window.screenshot(ARTEFACTS / "vscode-cell.png")
        window.press("Control+Z")
        wait_for("the undone change", lambda: "value + 1" not in text(first))
        window.check_quiet()


def test_a_chat_about_a_cell_changes_it(code: VsCode, user: Home) -> None:
    engine = FakeEngine(text="```python\n    return value + 1\n```\n")
    path = user.path / "project/c.ipynb"
    with notebook(code, path, engine) as (window, cells):
        first, second = cells.nth(0), cells.nth(1)
        first.locator(".cell-editor-container").click()
        window.press("Control+End", "Home", "Home", "Shift+End")
        window.action("Explain this code")
        answer = window.chat().locator("article.assistant")
        answer.get_by_text("return value + 1").wait_for()
        assert "c.ipynb" in window.chat().locator("#about").inner_text()
        answer.get_by_role("button", name="Apply").click()
        wait_for("the changed cell", lambda: "return value + 1" in text(first))
        window.screenshot(ARTEFACTS / "vscode-cell-apply.png")
        second.locator(".cell-editor-container").click()
        answer.get_by_role("button", name="Insert").click()
        wait_for("the other cell", lambda: "return value + 1" in text(second))
        window.screenshot(ARTEFACTS / "vscode-cell-insert.png")
        assert window.page.locator(".tab").count() == 1
        window.press("Control+S")
        wanted = [source for _, source in CELLS]
        wanted[1] += " + 1"
        wanted[2] = "    return value + 1"

        def saved() -> list[str]:
            return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]

        wait_for("the saved notebook", lambda: saved() == wanted, 10)
        window.check_quiet()
