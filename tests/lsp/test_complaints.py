"""What people complain of elsewhere, and that each complaint's entry names tests that there are."""

import ast
import asyncio
import re
import time
from pathlib import Path

import pytest

from tests.lsp.client import LspClient, LspError
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.test_following import typist
from tests.lsp.typist import Typist, shown, until

__all__ = ["typist"]  # a fixture
ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/complaints.md").read_text()
ROWS = re.findall(r"^\| (\d+) \|(.*)\|$", TABLE, re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.(?:py|lua|ts|js))(?:::(\w+))?`")
THREAD = re.compile(r"\[([\w.-]+/[\w.-]+)#(\d+)\]\(https://github\.com/\1/(?:issues|pull)/\2\)")


def test_every_group_has_a_test_or_a_reason() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 16))
    for number, row in ROWS:
        complaint, _, held = row.strip().split(" | ")
        assert THREAD.search(complaint), number
        assert NAMED.search(held) or held.startswith("No test: "), number


@pytest.mark.parametrize(
    ("path", "name"), sorted({n for _, row in ROWS for n in NAMED.findall(row)})
)
def test_a_named_test_exists(path: str, name: str) -> None:
    text = (ROOT / "tests" / path).read_text()
    if name:
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        tests = {node.name for node in ast.parse(text).body if isinstance(node, functions)}
        assert name in tests


async def test_changes_wait_for_no_engine(client: LspClient, engine: FakeEngine) -> None:
    """What the editor sends is dealt with while an engine says nothing for seconds."""
    engine.headers_s = 30
    await client.initialize()
    client.open("def f(x):\n    re\n")
    pending = client.inline(1, 6)
    while not engine.requests:
        await asyncio.sleep(0.01)
    for column in range(6, 206):
        client.insert("x", 1, column)
    began = time.perf_counter()
    await client.code_actions((0, 0), (0, 0))  # answered in order, behind all of them
    assert time.perf_counter() - began < 5
    assert not pending.done()
    assert len(engine.requests) == 1
    pending.cancel()


async def test_a_key_that_is_deleted_asks_nobody(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    client.open("def f(x):\n    re\n")
    assert (await client.inline(1, 6))["items"]
    client.insert("t", 1, 6)
    await client.inline(1, 7)
    asked = len(engine.requests)
    at = {"start": {"line": 1, "character": 6}, "end": {"line": 1, "character": 7}}
    client.version += 1
    client.notify(
        "textDocument/didChange",
        {
            "textDocument": {"uri": "file:///work/a.py", "version": client.version},
            "contentChanges": [{"range": at, "text": ""}],
        },
    )
    assert (await client.inline(1, 6))["items"][0]["insertText"] == "turn x"
    assert len(engine.requests) == asked


async def test_what_a_key_cancels_is_gone_on_with(client: LspClient, engine: FakeEngine) -> None:
    """VS Code cancels at each key, before it asks again; the work done so far is not lost."""
    engine.whole, engine.delay_s = "total_of(items)", 0.5
    await client.initialize()
    client.open("total\n")
    first = client.inline(0, 5)
    while not engine.open:
        await asyncio.sleep(0.005)
    client.insert("_", 0, 5)
    client.notify("$/cancelRequest", {"id": first.ident})  # type: ignore[attr-defined]
    with pytest.raises(LspError):
        await first
    [item] = (await client.inline(0, 6))["items"]
    assert item["insertText"] == "of(items)"
    assert engine.ends == ["adopted", "line"]


async def test_what_is_cancelled_for_good_ends_soon(typist: Typist, engine: FakeEngine) -> None:
    engine.delay_s = 30
    task = await typist.ask("total")
    task.cancel()
    await until(lambda: engine.ends == ["cancelled"], 2)
    assert typist.at_rest()


async def test_a_jump_ends_what_lingers_at_once(typist: Typist, engine: FakeEngine) -> None:
    engine.delay_s = 30
    task = await typist.ask("total")
    task.cancel()
    await asyncio.wait({task})
    engine.delay_s, engine.whole = 0, ""
    assert await shown(await typist.ask("elsewhere"))
    await until(lambda: engine.ends == ["cancelled", "line"], 2)


@pytest.mark.parametrize("taken", ["turn", "turn "])
async def test_a_part_can_be_taken_and_the_rest_stays(
    client: LspClient, engine: FakeEngine, taken: str
) -> None:
    """An editor inserts a word or a line of what is shown."""
    await client.initialize()
    client.open("def f(x):\n    re\n")
    await client.inline(1, 6)
    client.insert(taken, 1, 6)
    [item] = (await client.inline(1, 6 + len(taken)))["items"]
    assert item["insertText"] == "turn x"[len(taken) :]
    assert len(engine.requests) == 1
