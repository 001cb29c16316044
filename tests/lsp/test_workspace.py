"""Snippets on the wire and from a process of its own: what is sent, and what never is."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from lsprotocol import types

from cl_lsp.config import CompletionConfig
from cl_lsp.documents import Documents, Snapshot
from cl_lsp.workspace import Workspace
from tests.lsp.client import LspClient
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.test_ignore import write

FILES = {
    ".gitignore": "ignored.py\n",
    ".env": "make_gadget = 'never-sent'\n",
    "ignored.py": "def make_gadget(): return 'never-sent'\n",
    "lib/gadgets.py": "def make_gadget(size):\n    password = 'never-sent'\n    return size\n",
    "me.py": "from lib.gadgets import make_gadget\n\n",
}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def reading(*folders: Path) -> AsyncIterator[tuple[Workspace, Documents]]:
    documents = Documents()
    workspace = Workspace(documents)
    workspace.start(list(folders))
    try:
        await until(lambda: all(index.ready for index in workspace.indexes.values()))
        yield workspace, documents
    finally:
        await workspace.close()


def open_in(workspace: Workspace, documents: Documents, path: Path, text: str) -> str:
    uri = path.as_uri()
    documents.open(types.TextDocumentItem(uri, "python", 1, text))
    workspace.opened(uri)
    return uri


def sent(workspace: Workspace, uri: str, text: str) -> dict[str, str]:
    before, _, after = text.partition("|")
    snapshot = Snapshot(uri, 1, "python", before + after, len(before))
    return dict(workspace.snippets(snapshot, before, after))


async def test_what_an_engine_is_sent(
    client: LspClient, engine: FakeEngine, tmp_path: Path
) -> None:
    write(tmp_path, FILES)
    await client.initialize(folders=[tmp_path.as_uri()])
    uri = (tmp_path / "me.py").as_uri()
    client.open(FILES["me.py"] + "\n" * 200, uri)
    line = 1
    while not (engine.requests and "input_extra" in engine.requests[-1]):
        client.insert("x = make_gadget(1)\n" * 40, line, 0, uri)
        await client.inline(line := line + 40, 0, uri)
    [snippet] = engine.requests[-1]["input_extra"]
    assert snippet["filename"] == "lib/gadgets.py"
    assert snippet["text"] == FILES["lib/gadgets.py"].replace("never-sent", "<masked>").strip()
    first = engine.requests[-1]["input_extra"]
    for key in "abc":
        client.insert(key, line, 0, uri)
        await client.inline(line, 1, uri)
        assert engine.requests[-1]["input_extra"] == first
    everything = json.dumps(engine.requests)
    assert "never-sent" not in everything and str(tmp_path) not in everything
    assert await client.shutdown() == 0


async def test_it_can_be_switched_off(
    client: LspClient, engine: FakeEngine, tmp_path: Path
) -> None:
    write(tmp_path, FILES)
    options = {"completion": {"snippets": False}}
    await client.initialize(folders=[tmp_path.as_uri()], options=options)
    uri = (tmp_path / "me.py").as_uri()
    client.open(FILES["me.py"] + "make_gadget(", uri)
    await client.inline(2, 12, uri)
    children = Path(f"/proc/{client.process.pid}/task/{client.process.pid}/children")
    assert children.read_text() == ""  # nothing was read
    assert "input_extra" not in engine.requests[-1]


USE = "from lib.gadgets import make_gadget\n\nmake_gadget(|)\n"


async def test_changes_on_disk_and_in_the_editor(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    async with reading(tmp_path) as (workspace, documents):
        [index] = workspace.indexes.values()
        assert sorted(index) == ["lib/gadgets.py", "me.py"]
        me, gadgets = (tmp_path / "me.py").as_uri(), tmp_path / "lib" / "gadgets.py"
        assert "return size" in sent(workspace, me, USE)["lib/gadgets.py"]
        # Seen by the watcher.
        write(tmp_path, {"lib/gadgets.py": "def make_gadget(size, colour): pass\n"})
        await until(lambda: "colour" in index["lib/gadgets.py"].text)
        # The editor's text goes before the disk's.
        uri = open_in(workspace, documents, gadgets, "def make_gadget(unsaved): pass\n")
        await until(lambda: "unsaved" in index["lib/gadgets.py"].text)
        workspace.closed(me)
        assert "unsaved" in sent(workspace, me, USE)["lib/gadgets.py"]
        documents.close(uri)
        workspace.closed(uri)
        await until(lambda: "colour" in index["lib/gadgets.py"].text)
        # Told by the editor, or ignored from now on: it is gone, and so is its snippet.
        write(tmp_path, {".cl-lsp-ignore": "lib/\n"})
        workspace.files_changed([(tmp_path / ".cl-lsp-ignore").as_uri()])
        await until(lambda: "lib/gadgets.py" not in index)
        assert sent(workspace, me, USE) == {}


async def test_ignore_files_outside_of_the_folder(home: Path, tmp_path: Path) -> None:
    write(tmp_path, {".git/config": "", **{f"app/{path}": text for path, text in FILES.items()}})
    async with reading(tmp_path / "app") as (workspace, _documents):
        [index] = workspace.indexes.values()
        assert sorted(index) == ["lib/gadgets.py", "me.py"]
        write(tmp_path, {".gitignore": "gadgets.py\n"})
        await until(lambda: sorted(index) == ["me.py"])
        (tmp_path / ".gitignore").unlink()
        await until(lambda: sorted(index) == ["lib/gadgets.py", "me.py"])
        write(home / "c" / "git", {"ignore": "gadgets.py\n"})
        await until(lambda: sorted(index) == ["me.py"])


async def test_what_an_open_document_imports_is_there_before_the_rest(
    home: Path, tmp_path: Path
) -> None:
    many = {f"a{n}.py": f"def f{n}(): pass\n" * 1000 for n in range(300)}
    write(tmp_path, FILES | many)
    documents = Documents()
    workspace = Workspace(documents)
    uri = open_in(workspace, documents, tmp_path / "me.py", FILES["me.py"])
    workspace.start([tmp_path])
    try:
        [index] = workspace.indexes.values()
        await until(lambda: index.near)
        assert not index.ready
        assert "return size" in sent(workspace, uri, USE)["lib/gadgets.py"]
    finally:
        await workspace.close()


async def test_an_edited_document_is_indexed_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_lsp.workspace.QUIET_S", 0.05)
    write(tmp_path, FILES)
    async with reading(tmp_path) as (workspace, documents):
        [index] = workspace.indexes.values()
        uri = open_in(workspace, documents, tmp_path / "lib" / "gadgets.py", "x = 1\n")
        at = types.Position(0, 0)
        edit = types.TextDocumentContentChangePartial(
            types.Range(at, at), "def written_now(): pass\n"
        )
        identity = types.VersionedTextDocumentIdentifier(2, uri)
        params = types.DidChangeTextDocumentParams(identity, [edit])
        documents.change(params)
        workspace.changed(params)
        await until(lambda: index.defined("written_now"))
        # Where one was is shown beside what the other document needs.
        shown = sent(workspace, (tmp_path / "me.py").as_uri(), "unknown_name = |\n")
        assert "def written_now" in shown["lib/gadgets.py"]


async def test_each_folder_for_itself(tmp_path: Path) -> None:
    write(tmp_path / "one", FILES)
    write(tmp_path / "two", {"me.py": ""})
    one, two = tmp_path / "one", tmp_path / "two"
    async with reading(one, two) as (workspace, _):
        assert sent(workspace, (one / "me.py").as_uri(), USE)
        cell = (one / "a.ipynb").as_uri().replace("file:", "vscode-notebook-cell:") + "#W0s"
        assert sent(workspace, cell, USE)
        for uri in (
            (two / "me.py").as_uri(),
            (tmp_path / "me.py").as_uri(),
            "untitled:1",
            "file://[",
        ):
            assert sent(workspace, uri, USE) == {}
        workspace.set_folders([two])
        assert sent(workspace, (one / "me.py").as_uri(), USE) == {}
        workspace.configure(lambda uri: CompletionConfig(snippet_characters=0))
        workspace.set_folders([one])
        assert sent(workspace, (one / "me.py").as_uri(), USE) == {}


@pytest.mark.parametrize("characters", [5000, 3000, 600, 30])
async def test_the_setting_alone_says_how_much(tmp_path: Path, characters: int) -> None:
    """Whatever the window has: a short one may need as much as a long one."""
    names = [f"gadget_{n:03}" for n in range(100)]
    bodies = {name: f"def {name}(size):\n    return '{name * 20}'\n" for name in names}
    write(tmp_path, {f"{name}.py": text for name, text in bodies.items()})
    async with reading(tmp_path) as (workspace, _):
        config = CompletionConfig(snippet_characters=characters)
        workspace.configure(lambda uri: config)
        text = f"x = {' + '.join(f'{name}()' for name in names[:80])} + |\n"
        found = sent(workspace, (tmp_path / "me.py").as_uri(), text)
        taken = sum(len(name) + len(text) + 5 for name, text in found.items())
        one = len(names[0]) + 3 + len(bodies[names[0]]) + 5
        assert characters - one < taken <= characters


async def test_a_process_that_dies_is_started_once_more(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    async with reading(tmp_path) as (workspace, _):
        uri = (tmp_path / "me.py").as_uri()
        [before] = workspace.indexes.values()
        os.kill(workspace.pid or 0, signal.SIGKILL)
        await until(lambda: before not in list(workspace.indexes.values()))
        assert sent(workspace, uri, USE) == {}  # nobody watches what it knew
        await until(lambda: all(index.ready for index in workspace.indexes.values()))
        assert sent(workspace, uri, USE)
        os.kill(workspace.pid or 0, signal.SIGKILL)
        await until(lambda: workspace.pid is None and sent(workspace, uri, USE) == {})
