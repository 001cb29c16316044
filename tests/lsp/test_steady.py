"""The same documents, index and places get the same snippets, whatever runs beside."""

import asyncio
import random
from pathlib import Path

import pytest
from lsprotocol import types

from cl_lsp.server import ClLsp
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.test_ignore import write
from tests.lsp.typist import until

NAMES = [f"make_gadget_{n}" for n in range(12)]
FILES = {f"lib/{name}.py": f"def {name}(size):\n    return size * '{name}'\n" for name in NAMES}
MAIN = "".join(f"from lib.{name} import {name}\n" for name in NAMES) + "\n\ndef main(size):\n"
MAIN += "".join(f"    {name}(size)\n" for name in NAMES)
NOTES = "total_gadgets = 1\n" * 40


async def asked(root: Path, engine: FakeEngine, delays: random.Random) -> list[object]:
    """What is sent with two requests: one opens documents, jumps, waits, types, and edits."""
    ls = ClLsp()
    ls.scopes.folders = [root]
    ls.scopes.options = {"completion": {"prefetch": delays.random() < 0.5}}
    ls.scopes.read()
    ls.window_log_message = lambda params: None  # type: ignore[method-assign]

    async def later() -> None:
        await asyncio.sleep(delays.choice((0, 0.02, 0.1, 0.6)))

    def opened(path: Path, text: str) -> str:
        ls.documents.open(types.TextDocumentItem(path.as_uri(), "python", 1, text))
        ls.workspace.opened(path.as_uri())
        ls.warming.visit(path.as_uri(), types.Position(0, 0))
        return path.as_uri()

    async def ask(uri: str, line: int) -> object:
        engine.streams.clear()
        column = 4 if uri.endswith("main.py") else len("total_gadgets = 1")
        assert await ls.suggesting.one(
            "inline", ls.documents.snapshot(uri, types.Position(line, column))
        )
        [sent] = [r for r in engine.requests if r["lane"] == "inline"]
        return sent.get("input_extra")

    early = delays.random() < 0.5
    if early:
        ls.workspace.start([root])
        await later()
    uri, notes = opened(root / "main.py", MAIN), opened(root / "notes.py", NOTES)
    await later()
    ls.warming.visit(uri, types.Position(16, 4))
    if not early:
        ls.workspace.start([root])
    await ask(notes, 30)
    ls.warming._read.clear()
    ls.warming.visit(uri, types.Position(16, 4))
    await later()
    [index] = ls.workspace.indexes.values()
    await ask(uri, 18)
    await until(lambda: index.ready, 20)
    first = await ask(uri, 22)
    edited = types.TextDocumentContentChangePartial(
        types.Range(types.Position(0, 0), types.Position(0, 0)), "def made_since(size): pass\n"
    )
    identity = types.VersionedTextDocumentIdentifier(2, notes)
    params = types.DidChangeTextDocumentParams(identity, [edited])
    ls.documents.change(params)
    ls.workspace.changed(params)
    await until(lambda: index.defined("made_since"), 20)
    ls.warming._read.clear()
    ls.warming.visit(notes, types.Position(0, 0))
    await later()
    second = await ask(uri, 25)
    await ls.close()
    return [first, second]


async def test_ten_times_the_same(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_lsp.warming.QUIET_S", 0.03)
    monkeypatch.setattr("cl_lsp.workspace.QUIET_S", 0.03)
    write(tmp_path, FILES | {"main.py": MAIN, "notes.py": NOTES})
    times = [await asked(tmp_path, engine, random.Random(n)) for n in range(10)]
    assert times[0][0] and times[0][1] and times[0][0] != times[0][1]
    assert times == [times[0]] * 10
