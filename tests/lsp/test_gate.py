"""Where nothing is suggested: because the user says so, or because it is private."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from cl_lsp import ignore
from cl_lsp.documents import Snapshot
from cl_lsp.gate import KNOWN_S, Gate
from cl_lsp.languages import Row
from cl_lsp.reasons import Reason
from cl_lsp.scopes import Scopes
from cl_lsp.settings import user_file
from cl_lsp.surroundings import Surroundings
from cl_lsp.syntax import Event, Open, events
from tests.lsp.client import LspClient, LspError
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.test_ignore import write

TEXT = "def f(x):\n    re\n\nf(1)\n"
ABLE = {
    "codeAction": {
        "codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["source"]}},
        "disabledSupport": True,
    }
}


async def reason(client: LspClient, uri: str, line: int = 1, character: int = 6) -> str:
    """Why there is nothing, as the editor's log says; "" if there is something."""
    if (await client.inline(line, character, uri))["items"]:
        return ""
    *_, message = client.logged()
    return message.split(": ")[1].split(" ")[0]


@pytest.mark.parametrize(
    ("completion", "language", "name", "why"),
    [
        ({}, "python", "a.py", ""),
        ({"enabled": False}, "python", "a.py", "off"),
        ({"languages": ["cpp"]}, "python", "a.py", "language"),
        ({"languages": ["cpp"]}, "cpp", "a.py", ""),
        ({"disabledLanguages": ["markdown"]}, "markdown", "a.md", "language"),
        ({"disabledLanguages": ["markdown"]}, "python", "a.py", ""),
        ({"disabledGlobs": ["docs/*.py"]}, "python", "docs/a.py", "glob"),
        ({"disabledGlobs": ["docs/*.py", "!docs/a.py"]}, "python", "docs/a.py", ""),
        ({"disabledGlobs": ["/a.py"]}, "python", "docs/a.py", ""),
    ],
)
async def test_switches(
    client: LspClient,
    engine: FakeEngine,
    tmp_path: Path,
    completion: dict,
    language: str,
    name: str,
    why: str,
) -> None:
    await client.initialize(folders=[tmp_path.as_uri()], options={"completion": completion})
    client.open(TEXT, uri := (tmp_path / name).as_uri(), language)
    assert await reason(client, uri) == why
    assert len(engine.requests) == (not why)
    assert client.messages() == []


async def test_comments_and_strings(client: LspClient, engine: FakeEngine) -> None:
    options = {"completion": {"inComments": False, "inStrings": False}}
    await client.initialize(options=options)
    client.open("# a comment\ns = 'text'\nx = \n", uri := "file:///work/b.py")
    assert await reason(client, uri, 0, 6) == "comment"
    assert await reason(client, uri, 1, 7) == "string"
    assert await reason(client, uri, 2, 4) == ""
    assert len(engine.requests) == 1


PRIVATE = [".env", "deploy/id_rsa", ".aws/config", "secrets.toml", "k.pem"]
IGNORED = ["build.log", "out/a.py", "mine/a.py", "data/a.py"]


@pytest.fixture
def project(tmp_path: Path) -> str:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.log\nout/\n")
    (tmp_path / ".cl-lsp-ignore").write_text("mine\n")
    (tmp_path / "cl-lsp.toml").write_text("[privacy]\nignored_globs = ['data/']\n")
    return tmp_path.as_uri()


@pytest.mark.parametrize(
    ("names", "why", "key"),
    [(PRIVATE, "private", "completePrivate"), (IGNORED, "ignored", "completeIgnored")],
)
async def test_what_is_private_goes_to_no_model_unless_asked(
    client: LspClient, engine: FakeEngine, project: str, names: list[str], why: str, key: str
) -> None:
    await client.initialize(folders=[project], more=ABLE)
    for name in names:
        client.open(TEXT, uri := f"{project}/{name}")
        assert await reason(client, uri) == why, name
        actions = await client.code_actions((0, 0), (1, 0), uri=uri)
        assert actions and all(key in action["disabled"]["reason"] for action in actions)
        at = {"start": {"line": 0, "character": 0}, "end": {"line": 1, "character": 0}}
        for command, action in (("cl-lsp.chat", "explain"), ("cl-lsp.fill", "here")):
            told = await client.command(command, {"action": action, "uri": uri, "range": at})
            assert key in told["message"] and key in client.messages()[-1]
        with pytest.raises(LspError, match=key):
            messages = [{"role": "user", "content": "What is it?"}]
            await client.request("cl-lsp/chat", {"messages": messages, "uri": uri, "range": at})
    assert engine.requests == []
    settings = {"privacy": {key: True}}
    client.notify("workspace/didChangeConfiguration", {"settings": settings})
    assert await reason(client, f"{project}/{names[0]}") == ""
    assert len(engine.requests) == 1


async def test_a_repository_may_hide_more_but_show_nothing(
    client: LspClient, engine: FakeEngine, tmp_path: Path, project: str
) -> None:
    (tmp_path / "cl-lsp.toml").write_text("[privacy]\ncomplete_private = true\n")
    await client.initialize(folders=[project])
    client.open(TEXT, uri := f"{project}/.env")
    assert await reason(client, uri) == "private"
    assert "privacy.complete_private: a workspace's file may not set this" in client.messages()[0]


async def test_pause_and_resume(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    client.open(TEXT, uri := "file:///work/b.py")
    await client.command("cl-lsp.pause")
    assert await reason(client, uri) == "paused"
    await client.command("cl-lsp.resume")
    assert await reason(client, uri) == ""
    assert len(engine.requests) == 1


def test_names_tell_of_what_is_no_plain_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY=1")
    (tmp_path / "notes.py").symlink_to(tmp_path / ".env")
    gate = Gate(Scopes({}, lambda message: None, lambda: None))
    for uri in (f"git:{tmp_path}/.env?x", f"FILE://{tmp_path}/.env", "untitled:.env"):
        assert gate.secret(uri) == Reason.PRIVATE, uri
    assert gate.secret((tmp_path / "notes.py").as_uri()) == Reason.PRIVATE
    assert gate.secret((tmp_path / "other.py").as_uri()) is None


def test_a_file_alone_is_in_its_project(project: str, tmp_path: Path) -> None:
    write(tmp_path, {"src/.gitignore": "gen.py\n", "out/a.py": ""})
    (tmp_path / "src" / "link.py").symlink_to(tmp_path / "out" / "a.py")
    for folders in ([], [tmp_path], [tmp_path / "src"]):
        scopes = Scopes({}, lambda message: None, lambda: None)
        scopes.folders = folders
        gate = Gate(scopes)
        for name in ("a.log", "out/x/a.py", "mine/a.py", "src/gen.py", "src/link.py"):
            assert gate.secret(f"{project}/{name}") == Reason.IGNORED, (name, folders)
        assert gate.secret(f"{project}/deploy/.env") == Reason.PRIVATE
        assert gate.secret(f"{project}/src/a.py") is None


def test_a_tables_patterns_are_relative_to_it(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "p"
    user_file().parent.mkdir(parents=True)
    user_file().write_text(
        f"[workspace.'{project}']\nprivacy.ignored_globs = ['/data/']\n"
        f"[workspace.'{project}/other']\nengine.model = '7b'\n"
    )
    for folders in ([], [tmp_path], [project], [project / "data"]):
        scopes = Scopes({}, lambda message: None)
        scopes.folders = folders
        gate = Gate(scopes)
        assert gate.secret((project / "data" / "a.py").as_uri()) == Reason.IGNORED, folders
        uri = (project / "src" / "data" / "a.py").as_uri()
        assert gate.secret(uri) is None
        names = ("data/b.py", "src/b.py", "other/b.py")  # the last one is for another engine
        assert [gate.hides(project / name, uri) for name in names] == [True, False, True]


async def test_a_notebooks_path_decides_for_its_cells(
    client: LspClient, engine: FakeEngine, project: str
) -> None:
    await client.initialize(folders=[project], notebooks=True)
    for name, why in (("out/a.ipynb", "ignored"), (".aws/a.ipynb", "private"), ("a.ipynb", "")):
        cell = f"strange-cells:{name}#1"
        book = {"uri": f"{project}/{name}", "notebookType": "x", "version": 1}
        book |= {"cells": [{"kind": 2, "document": cell}]}
        text = {"uri": cell, "languageId": "python", "version": 1, "text": TEXT}
        params = {"notebookDocument": book, "cellTextDocuments": [text]}
        client.notify("notebookDocument/didOpen", params)
        assert await reason(client, cell) == why
    assert len(engine.requests) == 1


def test_ignore_files_are_compiled_anew_only_if_they_have_changed(
    project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = list[Path]()
    lines_of = Path.read_text

    def counted(path: Path, *args: str, **more: str) -> str:
        compiled.append(path)
        return lines_of(path, *args, **more)

    monkeypatch.setattr(ignore.Path, "read_text", counted)
    now = [0.0]
    scopes = Scopes({}, lambda message: None, lambda: None)
    scopes.folders = [tmp_path]
    gate = Gate(scopes, lambda: now[0])

    def ignored() -> list[str]:
        now[0] += KNOWN_S
        names = ("a.log", "a.tmp", "mine/a.py")
        return [name for name in names if gate.secret(f"{project}/{name}") is not None]

    assert ignored() == ["a.log", "mine/a.py"]
    compiled.clear()
    assert ignored() == ["a.log", "mine/a.py"] and compiled == []
    (tmp_path / ".gitignore").write_text("*.tmp\n")
    assert ignored() == ["a.tmp", "mine/a.py"] and compiled == [tmp_path / ".gitignore"]
    (tmp_path / ".cl-lsp-ignore").unlink()
    assert ignored() == ["a.tmp"]


def test_the_command_line_keeps_to_it(home: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY=\n")
    command = [sys.executable, "-m", "cl_lsp", "complete", ".env", "--line", "1", "--column", "5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: .env: {Reason.PRIVATE.sentence}\n"


def test_the_command_line_keeps_to_the_files_table(home: Path, tmp_path: Path) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text(
        "[engine]\nendpoint = 'http://127.0.0.1:7'\n"
        f"[workspace.'{tmp_path}/secret']\nengine.endpoint = 'http://127.0.0.1:9'\n"
    )
    write(tmp_path, {"secret/a.py": "x = 1\n"})
    place = [str(tmp_path / "secret" / "a.py"), "--line", "1", "--column", "5"]
    command = [sys.executable, "-m", "cl_lsp", "complete", *place]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True)
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr and "127.0.0.1:7" not in done.stderr


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_gate_and_filters_read_a_text_once(home: Path, end: str) -> None:
    scopes = Scopes({"CL_LSP_COMPLETION_IN_COMMENTS": "false"}, lambda message: None)
    text, read = "".join(f"value = f({n}){end}" for n in range(4000)), 0
    snapshot = Snapshot("untitled:a", 1, "python", text, len(text))

    def counted(row: Row, text: str, at: int, stack: list[Open]) -> Iterator[Event]:
        nonlocal read
        read += len(text) - at
        return events(row, text, at, stack)

    with patch("cl_lsp.syntax.events", counted):
        assert Gate(scopes).closed(snapshot) is None
        first = read
        assert Surroundings.of(snapshot).state.kind == "code"
    assert first > 40_000 and read - first < 1000
