"""`cl-lsp complete` beside an editor that has opened the same folder."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.lsp.client import LspClient
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.test_ignore import write
from tests.lsp.test_workspace import FILES

TEXT = FILES["me.py"] + "make_gadget("


async def complete(
    folder: Path, *more: str, file: str = "me.py"
) -> subprocess.CompletedProcess[str]:
    at = (file, "--line", "3", "--column", "13")
    command = [sys.executable, "-m", "cl_lsp", "complete", *at, *more]
    return await asyncio.to_thread(
        subprocess.run, command, cwd=folder, capture_output=True, text=True, timeout=60
    )


async def test_it_asks_what_an_editor_asks(
    client: LspClient, engine: FakeEngine, tmp_path: Path
) -> None:
    write(tmp_path, FILES | {"me.py": TEXT, "secret/lib.py": FILES["ignored.py"]})
    write(tmp_path, {"cl-lsp.toml": '[privacy]\nignored_globs = ["secret/"]\n'})
    engine.text = "size)"
    done = await complete(tmp_path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    text = FILES["lib/gadgets.py"].replace("never-sent", "<masked>").strip()
    assert told["snippets"] == [{"filename": "lib/gadgets.py", "characters": len(text)}]
    [once] = engine.requests
    assert once["input_extra"] == [{"filename": "lib/gadgets.py", "text": text}]
    assert "with snippets of lib/gadgets.py" in (await complete(tmp_path)).stdout

    uri = (tmp_path / "me.py").as_uri()
    await client.initialize(folders=[tmp_path.as_uri()])
    client.open(TEXT, uri)
    engine.streams.clear()
    engine.text = ""  # so that the next one is asked for, as the folder may be read by then
    async with asyncio.timeout(30):
        while not (engine.requests and "input_extra" in engine.requests[-1]):
            client.insert("", 2, 12, uri)
            await client.inline(2, 12, uri)
    own = ("request_id", "user", "document", "follows")
    first, last = (
        {k: v for k, v in r.items() if k not in own} for r in (once, engine.requests[-1])
    )
    assert first == last


async def test_without_snippets_nothing_is_read(engine: FakeEngine, tmp_path: Path) -> None:
    write(tmp_path, FILES | {"me.py": TEXT})
    done = await complete(tmp_path, "--json", "--no-snippets")
    assert json.loads(done.stdout)["snippets"] == []
    (tmp_path / "cl-lsp.toml").write_text("[completion]\nsnippets = false\n")
    assert json.loads((await complete(tmp_path, "--json")).stdout)["snippets"] == []
    assert all("input_extra" not in request for request in engine.requests)


async def test_the_workspace_is_the_files_repository(engine: FakeEngine, tmp_path: Path) -> None:
    repository = tmp_path / "r"
    write(repository, FILES | {"deep/down/me.py": TEXT, ".git/HEAD": "ref: refs/heads/main\n"})
    write(repository, {"cl-lsp.toml": "[completion]\nmax_tokens = 7\n"})
    for folder in (tmp_path, repository, repository / "deep"):
        file = (repository / "deep/down/me.py").relative_to(folder)
        done = await complete(folder, "--json", file=str(file))
        assert [one["filename"] for one in json.loads(done.stdout)["snippets"]] == [
            "lib/gadgets.py"
        ], done.stderr
    assert [request["max_tokens"] for request in engine.requests] == [7, 7, 7]


async def test_a_folder_that_takes_too_long_is_said(
    engine: FakeEngine, tmp_path: Path, monkeypatch: Any
) -> None:
    write(tmp_path, FILES | {"me.py": TEXT})
    code = "from cl_lsp import __main__, complete as c; c.INDEX_S = 0; exit(__main__.main())"
    at = ("complete", "me.py", "--line", "3", "--column", "13")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, *at],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "input_extra" not in engine.requests[-1]
    assert (
        done.stderr
        == f"warning: {tmp_path} has not been read after 0 s: nothing of other files is sent\n"
    )
