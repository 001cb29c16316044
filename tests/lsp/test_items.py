"""Items for menus and ghost text: ranges, filters, and several to choose from."""

import asyncio

import pytest
from lsprotocol import types

from cl_lsp.candidates import distinct
from cl_lsp.completion import Suggestion
from cl_lsp.documents import Documents, Snapshot
from cl_lsp.items import menu_item
from tests.lsp.client import URI, LspClient
from tests.lsp.fake_engine import FakeEngine

TEXT = "def f(x):\n    re\n\nf(1)\n"


def menu(before: str, found: str, *, markdown: bool = False) -> types.CompletionItem | None:
    snapshot = Snapshot(URI, 1, "python", before + "\n", len(before))
    formats = [types.MarkupKind.Markdown] if markdown else None
    able = types.ClientCompletionItemOptions(documentation_format=formats)
    return menu_item(Documents(), snapshot, 0, Suggestion(found), able)


def test_an_item_sorts_behind_names_and_matches_the_word() -> None:
    item = menu("x = re", "ad(path)")
    assert item is not None and isinstance(item.text_edit, types.TextEdit)
    assert (item.label, item.filter_text, item.text_edit.new_text) == ("read(path)",) * 3
    assert item.text_edit.range.start.character == 4
    assert item.sort_text is not None and item.sort_text > "zebra" and not item.preselect
    assert item.insert_text_mode == types.InsertTextMode.AsIs


def test_a_mere_end_of_a_word_is_left_to_others() -> None:
    assert menu("x = re", "ad") is None
    assert menu("x = ", "ad") is not None


def test_several_lines_are_shown_in_a_fence() -> None:
    item = menu("def f():", "\n    '''```'''\n    return 1", markdown=True)
    assert item is not None and isinstance(item.documentation, types.MarkupContent)
    assert item.documentation.value.startswith("````python\n")
    assert item.documentation.value.endswith("\n````")
    assert item.label == "'''```'''"
    assert menu("def f():", "\n    return 1").documentation == "\n    return 1"  # type: ignore


def test_a_long_label_is_cut() -> None:
    item = menu("", "x" * 50 + " + " + "y" * 50)
    assert item is not None and len(item.label) == 60 and item.label.endswith("…")


def test_candidates_differ_and_the_frequent_one_is_first() -> None:
    found = [Suggestion(text) for text in ("b", "a", "", "c", "c", "b", "c")]
    assert [one.text for one in distinct(Suggestion("a"), found)] == ["c", "b"]


def ask(client: LspClient, line: int, character: int, **context: object) -> asyncio.Future:
    at = {"line": line, "character": character}
    document = {"uri": URI}
    context = {"triggerKind": 2} | context
    return client.request(
        "textDocument/inlineCompletion",
        {"textDocument": document, "position": at, "context": context},
    )


async def test_what_a_menu_has_selected_is_gone_on_with(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize()
    client.open(TEXT)
    engine.text = "(x)"
    start, end = {"line": 1, "character": 4}, {"line": 1, "character": 6}
    info = {"range": {"start": start, "end": end}, "text": "repr"}
    [item] = (await ask(client, 1, 6, selectedCompletionInfo=info))["items"]
    assert engine.requests[0]["prompt"] == "def f(x):\n    repr"
    assert item["insertText"] == "repr(x)" and item["filterText"] == "repr"
    assert item["range"] == {"start": start, "end": end}
    # One that is not at the cursor is ignored.
    elsewhere = {"range": {"start": start, "end": start}, "text": "repr"}
    await ask(client, 1, 6, selectedCompletionInfo=elsewhere)
    assert engine.requests[-1]["prompt"] == "def f(x):\n    re"


async def test_who_asks_by_hand_may_choose(client: LspClient, engine: FakeEngine) -> None:
    engine.choices = ["turn y", "turn x", "", "turn y", "turn z"]
    await client.initialize()
    client.open(TEXT)
    items = (await ask(client, 1, 6, triggerKind=1))["items"]
    assert [item["insertText"] for item in items] == ["turn x", "turn y", "turn z"]
    first, others = engine.requests
    assert "n" not in first and first["temperature"] == 0
    assert others["n"] == 4 and others["temperature"] > 0 and "seed" in others
    assert len((await ask(client, 1, 6))["items"]) == 1


async def test_a_newer_key_ends_the_choice(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    client.open(TEXT)
    await client.inline(1, 6)  # known from now on
    engine.choices, engine.delay_s = ["turn y"] * 4, 5
    choice = ask(client, 1, 6, triggerKind=1)
    while len(engine.open) < 1:
        await asyncio.sleep(0.01)
    client.inline(1, 6)
    assert await asyncio.wait_for(choice, 1) is None
    while engine.open:
        await asyncio.sleep(0.01)
    assert engine.cancelled == 1


SELECTED = {
    "range": {"start": {"line": 1, "character": 4}, "end": {"line": 1, "character": 6}},
    "text": "repr",
}


@pytest.mark.parametrize("context", [{}, {"selectedCompletionInfo": SELECTED}, {"triggerKind": 1}])
@pytest.mark.parametrize("becomes", ["changed", "closed", "overtaken"])
async def test_ghost_text_is_not_shown_in_another_text_than_it_is_for(
    client: LspClient, engine: FakeEngine, context: dict, becomes: str
) -> None:
    engine.choices, engine.delay_s = ["turn y"] * 4, 0.3
    await client.initialize()
    client.open(TEXT)
    asked = ask(client, 1, 6, **context)
    several = "triggerKind" in context
    await client.told(lambda: len(engine.requests) == 1 + several)
    if becomes == "closed":
        client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    else:
        client.insert("import os\n", 0, 0)
    newer = ask(client, 2, 6) if becomes == "overtaken" else None
    assert await asked is None
    [record, *_] = (await client.request("cl-lsp/trace", {}))["requests"]
    assert record["reason"] == becomes
    if newer is not None:
        assert (await newer)["items"][0]["range"]["start"] == {"line": 2, "character": 6}


@pytest.mark.parametrize(("typed", "column", "shown"), [("t", 6, 1), ("q", 6, 0), ("t", 5, 0)])
async def test_a_menu_s_item_may_be_typed_into_while_it_is_made(
    client: LspClient, engine: FakeEngine, typed: str, column: int, shown: int
) -> None:
    engine.headers_s = 0.3
    await client.initialize(inline=False)
    client.open(TEXT)
    asked = client.completion(1, 6)
    await client.told(lambda: engine.requests)
    client.insert(typed, 1, column)
    found = await asked
    assert len(found["items"] if found else []) == shown
    if shown:
        edit = found["items"][0]["textEdit"]
        start, end = edit["range"]["start"], edit["range"]["end"]
        assert (start["character"], end["character"], edit["newText"]) == (4, 6, "return x")
    else:
        [record] = (await client.request("cl-lsp/trace", {}))["requests"]
        assert record["reason"] == "changed"
