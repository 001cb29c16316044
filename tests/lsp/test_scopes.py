"""Settings that change, and that differ between the folders of one workspace."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from cl_lsp import control
from cl_lsp.documents import Snapshot
from cl_lsp.errors import Unsettled
from cl_lsp.gate import Gate
from cl_lsp.reasons import Reason
from cl_lsp.scopes import LOOK_S, Scopes
from cl_lsp.server import ClLsp
from cl_lsp.settings import FILE, user_file
from tests.lsp.client import LspClient, LspError
from tests.lsp.fake_engine import FakeEngine

TEXT = "def f(x):\n    re\n\nf(1)\n"
PULL = "workspace/configuration"
PULLS = {"workspace": {"configuration": True}}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def scopes(home: Path, tmp_path: Path, clock: Clock, said: list[str]) -> Scopes:
    user_file().parent.mkdir(parents=True)
    scopes = Scopes({}, said.append, clock=clock)
    scopes.folders = [tmp_path / "a", tmp_path / "a" / "b"]
    scopes.folders[1].mkdir(parents=True)
    return scopes


def test_a_document_has_the_innermost_folders(scopes: Scopes, tmp_path: Path) -> None:
    outer, inner = scopes.folders
    (outer / FILE).write_text("[completion]\nmax_tokens = 1\n")
    (inner / FILE).write_text("[completion]\nmax_tokens = 2\n")
    places = {
        outer / "x.py": 1,
        inner / "c" / "x.py": 2,
        tmp_path / "x.py": 48,
        tmp_path / "ab": 48,
    }
    for path, tokens in places.items():
        assert scopes.of(path.as_uri()).completion.max_tokens == tokens, path
    cell = (inner / "n.ipynb").as_uri().replace("file:", "vscode-notebook-cell:") + "#W0s"
    assert scopes.of(cell).completion.max_tokens == 2
    assert scopes.of("untitled:Untitled-1").completion.max_tokens == 48


def test_a_repositorys_settings_above_the_opened_folder(
    scopes: Scopes, tmp_path: Path, clock: Clock, said: list[str]
) -> None:
    repo, opened = scopes.folders
    scopes.folders = [opened]
    (tmp_path / FILE).write_text("[completion]\nmax_tokens = 1\n")
    (repo / FILE).write_text(
        "[completion]\nmax_tokens = 2\ncandidates = 2\ndisabled_globs = ['/b/gen/']\n"
        "[engine]\nmodel = 'x'\n"
    )
    uri = (opened / "x.py").as_uri()
    assert scopes.of(uri).completion.max_tokens == 48  # there is no repository
    (repo / ".git").write_text("gitdir: elsewhere")
    clock.now += LOOK_S
    config = scopes.of(uri)
    assert (config.completion.max_tokens, config.completion.candidates) == (2, 2)
    assert config.engine.model is None and f"{repo / FILE}: engine.model" in said[-1]
    assert scopes.of((repo / "x.py").as_uri()).completion.max_tokens == 48  # is not opened
    (opened / FILE).write_text("[completion]\nmax_tokens = 3\ndisabled_globs = ['*.gen.py']\n")
    clock.now += LOOK_S
    config = scopes.of(uri).completion
    assert (config.max_tokens, config.candidates) == (3, 2)
    assert config.disabled_globs == ("/b/gen/", "*.gen.py")
    gate, names = Gate(scopes), ["x.py", "gen/x.py", "c/gen/x.py", "c/x.gen.py"]
    found = [Snapshot((opened / name).as_uri(), 1, "python", "", 0) for name in names]
    assert [gate.closed(one) for one in found] == [None, Reason.GLOB, None, Reason.GLOB]
    (repo / FILE).unlink()
    clock.now += LOOK_S
    assert scopes.of(uri).completion.candidates == 3


def test_a_table_counts_for_all_below_its_path(
    scopes: Scopes, tmp_path: Path, said: list[str]
) -> None:
    outer, inner = scopes.folders
    (tmp_path / "link").symlink_to(outer)
    user_file().write_text(
        f"[workspace.'{outer}']\ncompletion = {{ max_tokens = 1, candidates = 1 }}\n"
        f"[workspace.'{inner}']\ncompletion = {{ max_tokens = 2, nonsense = 1 }}\n"
        f"[workspace.'{tmp_path}/link/c']\ncompletion.max_tokens = 4\n"
    )
    places = {outer: (1, 1), inner: (2, 1), inner / "c": (2, 1), outer / "c": (4, 1)}
    places |= {tmp_path / "link" / "c": (4, 3), tmp_path: (48, 3)}
    for scopes.folders in ([], [outer], [inner], [outer, inner], [inner / "c"], [tmp_path]):
        scopes.read()
        for folder, wanted in places.items():
            found = scopes.of((folder / "x.py").as_uri()).completion
            assert (found.max_tokens, found.candidates) == wanted, (folder, scopes.folders)
    [message] = set(said)
    assert message.startswith(
        f'{user_file()} [workspace."{inner}"]: completion.nonsense is unknown'
    )


def test_files_are_read_again_when_they_change(scopes: Scopes, clock: Clock) -> None:
    changes = list[int]()
    scopes._changed = lambda: changes.append(1)
    uri = (scopes.folders[0] / "x.py").as_uri()
    assert scopes.of(uri).completion.max_tokens == 48
    user_file().write_text("[completion]\nmax_tokens = 3\n")
    assert scopes.of(uri).completion.max_tokens == 48  # not looked at with every key
    clock.now += LOOK_S
    assert scopes.of(uri).completion.max_tokens == 3
    (scopes.folders[0] / FILE).write_text("[completion]\nmax_tokens = 4\n")
    scopes.look()
    assert scopes.of(uri).completion.max_tokens == 4
    user_file().unlink()
    (scopes.folders[0] / FILE).unlink()
    clock.now += LOOK_S
    assert scopes.of(uri).completion.max_tokens == 48
    assert len(changes) == 4  # the first reading is one, too


def test_a_problem_is_said_once_until_it_is_mended(scopes: Scopes, said: list[str]) -> None:
    user_file().write_text("[engine]\nmodle = 1\n[completion]\nmax_tokens = 0\n")
    scopes.read()
    [message] = said
    lines = message.split("\n")
    assert lines[0] == f"{user_file()}:" and len(lines) == 3
    assert lines[1].startswith("- engine.modle is unknown; known: model, endpoint, api_key")
    scopes.read()  # the same, for another reason
    assert len(said) == 1
    user_file().write_text("[engine]\nmodle = 1\n")
    scopes.look()
    assert len(said) == 1  # what is left was said
    user_file().write_text("")
    scopes.look()
    user_file().write_text("[engine]\nmodle = 1\n")
    scopes.look()
    assert len(said) == 2 and said[1].startswith(f"{user_file()}: engine.modle is unknown")


def test_what_the_editor_tells_later_repeats_no_problem_of_its_start(
    scopes: Scopes, said: list[str]
) -> None:
    scopes.options = {"engine": {"modle": 1}}
    scopes.read()
    for told in ({}, {"other": 1}, {}, {"completion": {"maxTokens": 5}}, {"other": 1}):
        scopes.told = {None: told}
        scopes.read()
    assert [message.partition(" is unknown")[0] for message in said] == [
        "the editor: engine.modle",
        "the editor: other",
        "the editor: other",  # it was mended meanwhile
    ]


@pytest.mark.parametrize("bad", ["[completion", "workspace = 1", "\ud800", "a = " + "[" * 9999])
def test_a_file_that_is_none_is_said(scopes: Scopes, said: list[str], bad: str) -> None:
    user_file().write_bytes(bad.encode("utf-8", "surrogatepass"))
    scopes.read()
    [message] = said
    assert message.startswith(f"{user_file()}: ")


async def test_the_editor_is_asked_for_each_folder(
    client: LspClient, engine: FakeEngine, tmp_path: Path
) -> None:
    one, two = ((tmp_path / name).as_uri() for name in ("one", "two"))
    client.settings = {None: None, one: {"completion": {"maxTokens": 1}}, two: {"chat": None}}
    await client.initialize(folders=[one, two], able=PULLS)
    for uri, tokens in ((f"{one}/a.py", 1), (f"{two}/a.py", 48)):
        client.open(TEXT, uri)
        await client.inline(1, 6, uri)
        assert engine.requests[-1]["max_tokens"] == tokens
    client.settings[two] = {"completion": {"maxTokens": 2}}
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    client.insert("t", 1, 6, f"{two}/a.py")
    client.insert("x", 1, 6, f"{two}/a.py")
    await client.inline(1, 8, f"{two}/a.py")
    assert engine.requests[-1]["max_tokens"] == 2
    assert client.messages() == []


def pulls(client: LspClient) -> list[dict]:
    return [n for n in client.notifications if n["method"] == PULL]


@pytest.mark.parametrize("whole", [True, False])
async def test_the_editor_tells_what_it_was_not_asked(
    client: LspClient, engine: FakeEngine, whole: bool
) -> None:
    await client.initialize()
    settings: Any = {"completion": {"maxTokens": 5, "nonsense": 1}}
    settings = {"cl-lsp": settings, "other": 1} if whole else settings
    client.notify("workspace/didChangeConfiguration", {"settings": settings})
    client.open(TEXT)
    await client.inline(1, 6)
    assert engine.requests[-1]["max_tokens"] == 5
    [message] = client.messages()
    assert "the editor: completion.nonsense is unknown" in message


async def test_folders_come_and_go(client: LspClient, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[completion]\nmax_tokens = 6\n[engine]\nmodel = 'x'\n")
    folder = {"uri": tmp_path.as_uri(), "name": "w"}
    uri = (tmp_path / "a.py").as_uri()
    await client.initialize()
    client.open(TEXT, uri)
    come, gone = {"added": [folder], "removed": []}, {"added": [], "removed": [folder]}
    for at, event, tokens in ((6, come, 6), (7, gone, 48)):
        client.notify("workspace/didChangeWorkspaceFolders", {"event": event})
        client.insert("x", 1, at, uri)
        await client.inline(1, at + 1, uri)
        assert engine.requests[-1]["max_tokens"] == tokens
    assert len(client.messages()) == 1


async def test_each_folder_has_its_engine(
    client: LspClient, engine: FakeEngine, tmp_path: Path
) -> None:
    """A scoped endpoint where nobody listens: only that folder is without suggestions."""
    there = tmp_path.as_uri()
    client.settings = {there: {"engine": {"endpoint": "http://127.0.0.1:9"}}}
    await client.initialize(folders=[there], able=PULLS)
    client.open(TEXT, f"{there}/a.py")
    client.open(TEXT)
    assert (await client.inline(1, 6, f"{there}/a.py"))["items"] == []
    assert (await client.inline(1, 6))["items"]
    assert any("127.0.0.1:9" in message for message in client.messages())


@pytest.mark.parametrize("answer", [None, [None, None]])
async def test_a_client_that_tells_no_settings_holds_up_nothing(
    client: LspClient, engine: FakeEngine, answer: Any
) -> None:
    client.answers[PULL] = lambda params: answer
    await client.initialize(able=PULLS)
    client.open(TEXT)
    assert (await client.inline(1, 6))["items"]
    [message] = client.messages()
    assert "the editor does not tell its settings (workspace/configuration)" in message


async def test_nothing_is_sent_until_the_editor_has_told_its_settings(
    client: LspClient, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "WAIT_S", 1.0)
    client.unanswered.add(PULL)
    uri = (tmp_path / "a.py").as_uri()
    await client.initialize(
        folders=[tmp_path.as_uri()], able=PULLS, options={"completion": {"warming": True}}
    )
    client.open(TEXT, uri)
    assert (await client.inline(1, 6, uri))["items"] == []
    assert "no suggestion at a.py:2:7: unsettled (" in client.logged()[-1]
    messages = [{"role": "user", "content": "What is it?"}]
    with pytest.raises(LspError, match="has not told its settings"):
        await client.request("cl-lsp/chat", {"messages": messages, "uri": uri})
    # Asked again, for they have changed: what was asked before is no answer to that.
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    first, second = await client.told(lambda: len(found := pulls(client)) == 2 and found)
    waiting = client.inline(1, 6, uri)
    client.send({"id": first["id"], "result": [None, None]})
    await client.command("cl-lsp.status")
    assert not waiting.done()
    client.send({"id": second["id"], "result": [None, {"completion": {"enabled": False}}]})
    assert (await waiting)["items"] == []
    assert client.logged()[-1].partition(": ")[2].startswith("off (")
    assert engine.requests == []
    # The client signals a change again, and answers as a client does.
    client.unanswered.clear()
    client.settings = {tmp_path.as_uri(): {"completion": {"maxTokens": 7}}}
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    assert (await client.inline(1, 6, uri))["items"]
    assert engine.requests[-1]["max_tokens"] == 7


async def test_an_editor_that_never_answers_is_waited_for_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, ls = list[str](), ClLsp()
    answer = asyncio.get_running_loop().create_future()
    workspace = types.WorkspaceClientCapabilities(configuration=True)
    ls.protocol.client_capabilities = types.ClientCapabilities(workspace=workspace)
    monkeypatch.setattr(control, "WAIT_S", 0.01)
    monkeypatch.setattr(control, "NEVER_S", 0.1)
    monkeypatch.setattr(ls, "say", lambda message, kind=None: said.append(message))
    monkeypatch.setattr(ls, "workspace_configuration_async", lambda params: answer)
    pulling = asyncio.create_task(control.pull(ls))
    await asyncio.sleep(0)
    with pytest.raises(Unsettled):
        await control.settle(ls)
    assert said == []
    await pulling
    await control.settle(ls)
    [message] = said
    assert "the editor has not told its settings for 0 s: until it does" in message
    answer.set_result([{"completion": {"maxTokens": 7}}])
    await asyncio.sleep(0.01)
    assert ls.scopes.of("").completion.max_tokens == 7
