"""The cells of a notebook are one document to the engine, and stay apart for the editor."""

from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from cl_lsp.documents import Documents
from cl_lsp.notebooks import Notebooks
from tests.lsp.client import LspClient
from tests.lsp.fake_engine import FakeEngine

BOOK = "file:///work/a.ipynb"
CODE, MARKUP = 2, 1


def uri(name: str) -> str:
    return f"vscode-notebook-cell:/work/a.ipynb#{name}"


def item(name: str, text: str, language: str = "python") -> dict:
    return {"uri": uri(name), "languageId": language, "version": 1, "text": text}


def cell(name: str, kind: int = CODE) -> dict:
    return {"kind": kind, "document": uri(name)}


def open_book(client: LspClient) -> None:
    cells = [cell("one"), cell("text", MARKUP), cell("two"), cell("three")]
    texts = [
        item("one", "import os\nx = 1"),
        item("text", "# A title", "markdown"),
        item("two", "y = x +\nprint(y)"),
        item("three", "z = y"),
    ]
    book = {"uri": BOOK, "notebookType": "jupyter-notebook", "version": 1, "cells": cells}
    opened = {"notebookDocument": book, "cellTextDocuments": texts}
    client.notify("notebookDocument/didOpen", opened)


def change(client: LspClient, book: str = BOOK, **cells: object) -> None:
    changed = {"notebookDocument": {"uri": book, "version": 2}, "change": {"cells": cells}}
    client.notify("notebookDocument/didChange", changed)


async def test_cells_around_the_cursors_are_sent(client: LspClient, engine: FakeEngine) -> None:
    capabilities = await client.initialize(notebooks=True)
    assert capabilities["notebookDocumentSync"] == {"notebookSelector": [{"notebook": "*"}]}
    open_book(client)
    engine.text = " 2"
    items = (await client.inline(0, 7, uri("two")))["items"]
    at = {"line": 0, "character": 7}
    assert items == [{"insertText": " 2", "range": {"start": at, "end": at}}]  # in the cell
    sent = engine.requests[-1]
    assert sent["prompt"] == "import os\nx = 1\n\ny = x +"
    assert sent["suffix"] == "\nprint(y)\n\nz = y"
    # An edit of another cell, and one of this.
    start = {"line": 1, "character": 4}
    edit = {"range": {"start": start, "end": start}, "text": "0"}
    one = {"document": {"uri": uri("one"), "version": 2}, "changes": [edit]}
    two = {"document": {"uri": uri("two"), "version": 2}, "changes": [{"text": "w"}]}
    change(client, textContent=[one, two])
    await client.inline(0, 1, uri("two"))
    assert engine.requests[-1]["prompt"] == "import os\nx = 01\n\nw"
    assert await client.shutdown() == 0


async def test_cells_come_and_go(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize(notebooks=True)
    open_book(client)
    new = {"array": {"start": 0, "deleteCount": 2, "cells": [cell("new")]}}
    new |= {"didOpen": [item("new", "n = 0")], "didClose": [{"uri": uri("one")}]}
    change(client, structure=new)
    change(client, "file:///not/open.ipynb", structure=new)
    await client.inline(0, 0, uri("three"))
    assert engine.requests[-1]["prompt"] == "n = 0\n\ny = x +\nprint(y)\n\n"
    assert (await client.inline(0, 0, uri("one")))["items"] == []
    moved = {"array": {"start": 0, "deleteCount": 3, "cells": [cell("three"), cell("new")]}}
    change(client, structure=moved)
    await client.inline(0, 5, uri("new"))
    assert engine.requests[-1]["prompt"] == "z = y\n\nn = 0"
    client.notify(
        "notebookDocument/didClose",
        {
            "notebookDocument": {"uri": BOOK},
            "cellTextDocuments": [{"uri": uri("three")}, {"uri": uri("new")}],
        },
    )
    assert (await client.inline(0, 0, uri("new")))["items"] == []
    assert all("is not open" in message for message in client.messages())


SPLICES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)), max_size=6)


@given(SPLICES, st.data())
def test_a_cell_and_what_is_around_it_are_the_notebook(splices: list, data: st.DataObject) -> None:
    documents = Documents()
    notebooks, model, made = Notebooks(documents), [], 0
    documents.around = notebooks.around
    notebooks.open("book", [])
    for start, deleted, added in splices:
        names = [f"cell{made + n}" for n in range(added)]
        made += added
        for name in names:
            documents.open(types.TextDocumentItem(name, "python", 1, f"{name} = 1"))
        cells = [types.NotebookCell(types.NotebookCellKind.Code, name) for name in names]
        gone = notebooks.splice("book", start, deleted, cells)
        assert gone == model[start : start + deleted]
        model[start : start + deleted] = names
    if model:
        name = data.draw(st.sampled_from(model))
        snapshot = documents.snapshot(name, types.Position(0, 2))
        assert snapshot.text == "\n\n".join(f"{cell} = 1" for cell in model)
        assert snapshot.line_before == "ce" and snapshot.line_after == f"{name} = 1"[2:]
    assert notebooks.close("book") == model and notebooks.around("cell0") == ("", "")
