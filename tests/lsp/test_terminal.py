"""The commands on the terminal, as real processes."""

import asyncio
import concurrent.futures
import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cl_lsp.daemon import (
    default_socket,
    log_file,
)
from tests.checkpoints import make_checkpoint
from tests.conftest import cl_lsp, wait_for
from tests.lsp.client import LspClient
from tests.lsp.fake_engine import FakeEngine
from tests.serving.test_openai import free_port

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "inventory.py")
AT = ["--line", "21", "--column", "13"]


def test_the_terminal(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine this folder may not be read in time, which makes another prompt.
    monkeypatch.setenv("CL_LSP_COMPLETION_SNIPPETS", "false")
    assert cl_lsp("status").stdout == "not running\n"
    assert cl_lsp("stop").stdout == "not running\n"
    done = cl_lsp("complete", EXAMPLE, *AT, "--json", "--model", str(tiny))
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert first["model"] == str(tiny)
    assert first["usage"]["prompt_tokens"] > 100
    status = json.loads(cl_lsp("status", "--json").stdout)
    assert (status["status"], status["model"]) == ("ok", str(tiny))
    assert status["capabilities"] == ["completion", "infilling"]
    # The same place again: nothing but the last token is left to compute.
    again = json.loads(cl_lsp("complete", EXAMPLE, *AT, "--json").stdout)
    details = again["usage"]["prompt_tokens_details"]
    computed = again["usage"]["prompt_tokens"] - details["cached_tokens"] - details["healed_tokens"]
    assert computed == 1
    assert again["text"] == first["text"] and "request" not in again
    monkeypatch.setenv("CL_LSP_COMPLETION_MAX_TOKENS", "2")
    few = json.loads(cl_lsp("complete", EXAMPLE, *AT, "--json").stdout)
    assert 0 < few["usage"]["completion_tokens"] <= 2
    monkeypatch.setenv("CL_LSP_COMPLETION_ENABLED", "false")
    assert "completion.enabled is false" in cl_lsp("complete", EXAMPLE, *AT).stderr
    monkeypatch.delenv("CL_LSP_COMPLETION_ENABLED")
    shown = cl_lsp("complete", EXAMPLE, *AT).stdout
    assert "   21 │             " in shown
    assert "prompt tokens were cached" in shown
    began = time.monotonic()
    assert "stopped" in cl_lsp("stop").stdout
    assert time.monotonic() - began < 8
    assert not default_socket().exists()
    assert "serving" in log_file().read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["complete", "/no/such", *AT], "cannot read /no/such"),
        (["complete", "/dev/zero", *AT], "cannot read /dev/zero: it is no regular file"),
        (["complete", EXAMPLE, "--line", "999", "--column", "1"], "line 999 is outside"),
        (["complete", EXAMPLE, "--line", "1", "--column", "999"], "column 999 is outside"),
        (["complete", EXAMPLE, *AT, "--model", "nonesuch"], "no model 'nonesuch'"),
        (["complete", EXAMPLE, *AT, "--port", "1"], "no engine answers at http://127.0.0.1:1"),
        (["complete", EXAMPLE, *AT, "--max-tokens", "0"], "from 1 to 512"),
        (["status", "--port", "99999"], "no port 99999"),
        (["status", "--host", "localhost"], "--host wants --port"),
        (["stop", "--host", "localhost"], "--host wants --port"),
        (["stop", "--host", "192.0.2.1", "--port", "9"], "is another machine"),
    ],
)
def test_what_the_terminal_cannot_do_is_one_line(home: Path, args: list[str], message: str) -> None:
    done = cl_lsp(*args)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_all_who_start_a_broken_model_at_once_are_told(home: Path, tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "m")
    (model / "model.safetensors").write_bytes(b"no")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        args = ("complete", EXAMPLE, *AT, "--model", str(model))
        done = list(pool.map(lambda _: cl_lsp(*args), range(3)))
    for each in done:
        assert each.returncode == 1 and "unreadable weights" in each.stderr, each


def test_serve_and_export_become_the_engine(home: Path, tmp_path: Path) -> None:
    bad = cl_lsp("serve", "nonesuch")
    assert bad.returncode == 2
    assert "no model 'nonesuch'" in bad.stderr
    assert cl_lsp("complete", EXAMPLE, *AT).returncode == 0  # now a daemon has the address
    bad = cl_lsp("serve", "nonesuch")
    assert bad.returncode == 2
    assert "no model 'nonesuch'" in bad.stderr
    beside = cl_lsp("serve", "owner/on-the-hub").stderr
    assert "another daemon serves" in beside and "`cl-lsp stop` ends it" in beside
    assert f"(pid {json.loads(cl_lsp('status', '--json').stdout)['pid']})" in beside
    done = cl_lsp("export", "embedded", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"config.json", "tokenizer.model"}


def test_a_daemon_on_tcp_is_stopped_by_its_port(home: Path) -> None:
    port = str(free_port())
    command = [sys.executable, "-m", "cl_lsp", "serve", "--port", port]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: cl_lsp("status", "--port", port).returncode == 0, 60)
            assert cl_lsp("stop").stdout == "not running\n"  # on the socket is none
            assert cl_lsp("stop", "--port", port).stdout == f"stopped (pid {process.pid})\n"
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert cl_lsp("stop", "--port", port).stdout == "not running\n"


HEALTH = {"status": "ok", "model": "m", "version": "1", "wire": 1, "pid": os.getpid()}


@contextlib.contextmanager
def answering(answers: dict[str, object], code: int = 200) -> Iterator[str]:
    """The port of a server that has these answers; `code` is that of all but the first."""

    class Liar(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in answers
            first = self.path == next(iter(answers))
            self.send_response(200 if first else code if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(self.path)).encode())

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_port)
        server.shutdown()


def test_a_port_that_names_another_process_stops_nothing(home: Path) -> None:
    with answering({"/health": HEALTH}) as port:
        done = cl_lsp("stop", "--port", port)
    assert done.returncode == 1 and "no daemon of this user" in done.stderr


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"/health": "OK"}, "is no cl-lsp engine"),
        ({"/health": HEALTH, "/v1/models": {}}, "does not say which models it has"),
        ({"/health": HEALTH, "/v1/models": {"data": ["m"]}}, "does not say which models it has"),
        ({"/health": HEALTH, "/v1/models": {"data": [{"id": "m"}]}}, "that this version knows"),
    ],
)
def test_the_status_of_another_program(home: Path, answers: dict, said: str) -> None:
    with answering(answers) as port:
        done = cl_lsp("status", "--port", port)
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.startswith(f"foreign: what answers at http://127.0.0.1:{port} ")
    assert said in done.stdout


def test_a_wrong_key_is_said_with_where_it_comes_from(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_LSP_API_KEY", "the server's variable")
    with answering({"/health": HEALTH, "/v1/models": {}}, 401) as port:
        done = cl_lsp("status", "--port", port)
    assert done.returncode == 1 and "HTTP 401" in done.stderr
    assert "CL_LSP_ENGINE_API_KEY" in done.stderr


def test_files_of_the_project_are_not_run(home: Path) -> None:
    """An engine started in a directory that has a `struct.py` takes Python's own."""
    trap = home / "h" / "project"
    trap.mkdir()
    for name in ("struct", "torch", "json"):
        (trap / f"{name}.py").write_text(f"open({str(home / 'run')!r}, 'w'); raise SystemExit")
    command = [str(Path(sys.executable).with_name("cl-lsp")), "complete", EXAMPLE, *AT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=trap)
    assert done.returncode == 0, done.stderr
    assert not (home / "run").exists()


def test_a_socket_named_from_the_users_directory(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    at = ["--uds", "place/mine.sock"]
    done = cl_lsp("complete", EXAMPLE, *AT, "--model", str(tiny), "--json", *at)
    try:
        assert done.returncode == 0, done.stderr
        assert (home / "place" / "mine.sock").is_socket()
        assert "pid" in cl_lsp("status", *at).stdout
    finally:
        assert "stopped" in cl_lsp("stop", *at).stdout


def test_who_reads_only_the_first_lines_sees_no_traceback(home: Path) -> None:
    command = [sys.executable, "-u", "-m", "cl_lsp", "settings"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("command", [["settings"], ["models"]])
def test_a_full_disk_behind_stdout_is_one_line(home: Path, command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cl_lsp", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_of_a_very_long_line_what_stands_around_the_cursor(home: Path, tiny: Path) -> None:
    file = home / "long.py"
    file.write_text("a = 1; " * 1000 + "\n" + "x = [" + "1, " * 300_000 + "]\n")
    done = cl_lsp("complete", str(file), "--line", "2", "--column", "450000", "--model", str(tiny))
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert first.endswith("…") and second.startswith("    2 │ …") and second.endswith("…")
    assert len(first) < 300 and len(second) < 1000


@pytest.mark.parametrize(("says_exit", "code"), [(True, 1), (False, 0)])
async def test_an_editor_that_leaves_without_shutdown(
    engine: FakeEngine, says_exit: bool, code: int
) -> None:
    """The protocol's code for it, and nothing left open that Python would complain of."""
    command = [sys.executable, "-X", "dev", "-m", "cl_lsp"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    client = LspClient(process)
    await client.initialize()
    client.open("def f(x):\n    re\n")
    assert (await client.inline(1, 6))["items"]
    if says_exit:
        client.notify("exit", None)
    assert process.stdin is not None and process.stderr is not None
    process.stdin.close()
    said = (await asyncio.wait_for(process.stderr.read(), 20)).decode()
    assert await process.wait() == code
    assert "Unclosed" not in said and "Traceback" not in said, said
    await client._reader
