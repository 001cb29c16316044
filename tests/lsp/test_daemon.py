"""Real processes: one daemon for all who ask, and its death."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cl_engine.__main__ import parser

from cl_lsp.backend import Local
from cl_lsp.client import EngineClient
from cl_lsp.config import EngineConfig
from cl_lsp.daemon import (
    MAX_LOG,
    Daemon,
    anywhere,
    default_socket,
    log_file,
    port_file,
    user_address,
)
from cl_lsp.errors import CannotStart, EngineDied, EngineRefused, EngineResting
from cl_lsp.exchange import CompletionRequest
from cl_lsp.wire import Address
from tests.checkpoints import make_checkpoint
from tests.conftest import cl_lsp, wait_for
from tests.lsp.client import language_server

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "inventory.py")
AT = ["--line", "21", "--column", "13"]


def daemons() -> list[int]:
    """Pids of the daemons that serve this test's socket."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"cl_engine" in words and str(default_socket()).encode() in words:
                found.append(int(folder.name))
    return found


def test_importing_the_server_leaves_the_engine_out() -> None:
    code = "import cl_lsp.server, cl_lsp.__main__, sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.split(".")[0] for name in out.stdout.split()}
    assert "cl_lsp" in modules
    assert not modules & {"torch", "cl_engine", "cl_kernels", "numpy", "fastapi", "sentencepiece"}


async def test_five_editors_at_once_start_one_daemon(home: Path, tiny: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(language_server()) for _ in range(5)]
        options = {"engine": {"model": str(tiny)}}
        await asyncio.gather(*(server.initialize(options=options) for server in servers))
        for server in servers:
            server.open("def f(x):\n    re\n")
        replies = await asyncio.gather(*(server.inline(1, 6) for server in servers))
        assert all(reply is not None for reply in replies)
        wait_for(lambda: len(daemons()) == 1)  # those that lost the race are ending
        assert not any(server.messages() for server in servers)
    assert len(daemons()) == 1  # it outlives the editors
    assert "stopped" in cl_lsp("stop").stdout
    assert daemons() == []


async def test_a_daemon_killed_in_mid_answer_is_said_once_and_replaced(
    home: Path, tiny: Path
) -> None:
    async with language_server() as client:
        await client.initialize(
            options={"engine": {"model": str(tiny)}, "completion": {"maxTokens": 400}}
        )
        client.open("def f(x):")
        await client.inline(0, 9)
        client.insert("\n    return ", 0, 9)
        pending = client.inline(1, 11)
        # The first reply came from a loaded model, so this one is under way at once.
        await asyncio.sleep(0.05)
        os.kill(daemons()[0], signal.SIGKILL)
        assert await asyncio.wait_for(pending, 30) is not None
        client.insert("x", 1, 11)
        assert await client.inline(1, 12) is not None
        assert len(client.messages()) <= 1
        assert all("starting it again" in message for message in client.messages())
        begins = [n["params"]["value"]["kind"] for n in client.notifications if "value" in str(n)]
        assert "begin" in begins and "end" in begins


@pytest.mark.parametrize("kind", ["unknown", "broken"])
async def test_a_model_that_cannot_load_is_said_once(home: Path, tmp_path: Path, kind: str) -> None:
    model = "nonesuch"
    if kind == "broken":
        model = str(make_checkpoint(tmp_path / "m"))
        (tmp_path / "m" / "config.json").write_text("{")
    async with language_server() as client:
        await client.initialize(options={"engine": {"model": model}})
        client.open("x = ")
        for _ in range(2):
            assert (await asyncio.wait_for(client.inline(0, 4), 30))["items"] == []
        expected = "no model 'nonesuch'" if kind == "unknown" else "config.json: cannot be read"
        assert len(client.messages()) == 1
        assert expected in client.messages()[0]
        assert await client.shutdown() == 0


async def test_that_the_engine_does_not_start_is_in_the_state_before_the_first_key(
    home: Path,
) -> None:
    async with language_server() as client:
        able = {"experimental": {"clLsp": {"status": True}}}
        await client.initialize(options={"engine": {"model": "nonesuch"}}, able=able)
        state = await client.told(lambda: [s for s in client.states() if s["state"] == "error"], 30)
        assert "no model 'nonesuch'" in state[0]["message"]


async def test_a_daemon_outlives_the_project_that_it_was_started_in(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = home / "h/project"
    project.mkdir()
    monkeypatch.chdir(project)
    project.rmdir()
    backend = Local(EngineConfig(model=str(tiny)))
    await backend.ready(lambda seconds: None)
    [pid] = daemons()
    assert os.readlink(f"/proc/{pid}/cwd") == str(log_file().parent)
    await backend.close()


def test_a_path_is_the_same_for_a_daemon_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    given = EngineConfig(model="./models/mine", chat_template="t.json")
    assert anywhere(given) == EngineConfig(model="/models/mine", chat_template="/t.json")


async def test_a_stranger_in_the_runtime_directory_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_socket().parent.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(CannotStart, match="others can write to"):
        user_address()


async def test_where_no_log_can_be_written_it_lies_beside_the_socket(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nope")
    beside = default_socket().with_name("engine.log")
    done = cl_lsp("complete", EXAMPLE, *AT, "--model", str(tiny))
    assert done.returncode == 0 and "prompt tokens" in done.stdout
    assert f"cannot write {log_file()} (" in done.stderr
    assert f"the daemon logs to {beside}\n" in done.stderr
    assert "serving" in beside.read_text()
    assert "stopped" in cl_lsp("stop").stdout
    assert "no model 'nonesuch'" in cl_lsp("complete", EXAMPLE, *AT, "--model", "nonesuch").stderr
    async with language_server() as client:
        await client.initialize(options={"engine": {"model": str(tiny)}})
        client.open("def f(x):\n    re\n")
        assert (await client.inline(1, 6))["items"]
        assert client.messages() == []


async def test_a_log_that_takes_nothing_keeps_nobody_from_suggesting(
    home: Path, tiny: Path
) -> None:
    log_file().parent.mkdir(parents=True)
    log_file().symlink_to("/dev/full")  # as on a full disk
    assert cl_lsp("complete", EXAMPLE, *AT, "--model", str(tiny)).returncode == 0
    assert cl_lsp("complete", EXAMPLE, *AT).returncode == 0
    assert "stopped" in cl_lsp("stop").stdout


async def test_no_place_for_any_log_is_said(home: Path) -> None:
    for part in ("s", "place"):
        with contextlib.suppress(FileNotFoundError):
            (home / part).rmdir()
        (home / part).write_text("a file where a directory should be")
    client = EngineClient(Address(uds=home / "place" / "e.sock"))
    with pytest.raises(CannotStart, match=f"cannot write {log_file()} .*, nor {home}/place/"):
        await Daemon(client, EngineConfig()).ensure()
    await client.close()


async def test_a_daemon_is_told_what_the_options_say(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def popen(command: list[str], **settings: Any) -> Any:
        commands.append(command)
        raise OSError(0, "not started in this test")

    monkeypatch.setattr("cl_lsp.daemon.subprocess.Popen", popen)
    client = EngineClient(Address(uds=default_socket()))
    with pytest.raises(CannotStart, match="not started in this test"):
        config = EngineConfig(
            model="7b",
            idle_exit_minutes=0.5,
            unload_after_minutes=5,
            chat_template="/t.json",
            kernels="torch",
            context=4096,
            kv_memory=1.5,
        )
        await Daemon(client, config).ensure()
    await client.close()
    told = commands[0][commands[0].index("serve") :]
    assert told[1] == "7b"
    wanted = {
        "--idle-exit": "0.5",
        "--unload-after": "5",
        "--kernels": "torch",
        "--chat-template": "/t.json",
        "--context": "4096",
        "--kv-memory": "1.5",
    }
    for name, value in wanted.items():
        assert told[told.index(name) + 1] == value
    # The engine's own command line takes all of it.
    options = parser().parse_args(told)
    assert (options.kernels, options.idle_exit, options.context) == ("torch", 0.5, 4096)
    assert options.kv_memory == 3 << 29


async def pid_and_model(client: EngineClient, config: EngineConfig) -> tuple[int, list[str]]:
    await Daemon(client, config).ensure()
    health = await client.health()
    return health["pid"], list(health["models"])


async def test_an_older_daemon_is_replaced_when_it_is_idle(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = EngineClient(Address(uds=default_socket()))
    config = EngineConfig(model=str(tiny))
    first, _ = await pid_and_model(client, config)
    assert (await pid_and_model(client, config))[0] == first
    monkeypatch.setattr("cl_lsp.daemon.__version__", "99.0")
    monkeypatch.setattr("cl_lsp.daemon.REPLACE_S", 0.3)
    with monkeypatch.context() as busy:
        # It serves on, if we can talk to it.
        health = client.health

        async def at_work() -> dict[str, Any]:
            return await health() | {"active": 1}

        busy.setattr(client, "health", at_work)
        assert (await pid_and_model(client, config))[0] == first
        busy.setattr("cl_lsp.daemon.WIRE_VERSION", 99)
        with pytest.raises(CannotStart, match="is of version .* and busy"):
            await Daemon(client, config).ensure()
    second, models = await pid_and_model(client, config)
    assert second != first and models == [str(tiny)]
    wait_for(lambda: len(daemons()) == 1)
    await client.close()


async def test_without_unix_sockets_it_is_loopback_with_a_token(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_LSP_TCP", "1")
    async with language_server() as client:
        await client.initialize()
        client.open("def f(x):\n    re\n")
        assert (await client.inline(1, 6))["items"]
        assert client.messages() == []
    told = json.loads(port_file().read_text())
    assert port_file().stat().st_mode & 0o777 == 0o600
    url = f"http://127.0.0.1:{told['port']}/v1/models"
    async with httpx2.AsyncClient() as http:
        assert (await http.get(url)).status_code == 401
        headers = {"authorization": f"Bearer {told['token']}"}
        assert (await http.get(url, headers=headers)).status_code == 200
        headers["origin"] = "http://evil.example"
        assert (await http.get(url, headers=headers)).status_code == 403
    first = json.loads(cl_lsp("status", "--json").stdout)
    assert first["address"] == str(port_file())
    os.kill(first["pid"], signal.SIGKILL)
    wait_for(lambda: cl_lsp("status").returncode)
    assert port_file().exists()  # of one that is gone
    assert cl_lsp("complete", EXAMPLE, *AT).returncode == 0
    assert json.loads(port_file().read_text())["token"] != told["token"]
    assert "stopped" in cl_lsp("stop").stdout
    assert not port_file().exists() and not default_socket().exists()


async def test_another_editors_model_is_loaded_beside_the_first(home: Path, tiny: Path) -> None:
    client = EngineClient(Address(uds=default_socket()))
    pid, models = await pid_and_model(client, EngineConfig(model=str(tiny)))
    assert await pid_and_model(client, EngineConfig(model="embedded")) == (
        pid,
        [*models, "embedded"],
    )
    # Whoever has no wish gets what is there.
    assert await pid_and_model(client, EngineConfig()) == (pid, [*models, "embedded"])
    with pytest.raises(EngineRefused, match="no model 'nonesuch'"):
        await Daemon(client, EngineConfig(model="nonesuch")).ensure()
    await client.close()


async def test_a_daemon_that_keeps_dying_is_left_alone(home: Path, tiny: Path) -> None:
    local = Local(EngineConfig(model=str(tiny)), EngineClient(Address(uds=default_socket())))
    request = CompletionRequest("a", "b", None, 400, "d", "python", (), "1")
    for n in range(3):
        await local.ready(lambda seconds: None)
        with pytest.raises(EngineDied):
            async for _ in local.complete(request):
                for pid in daemons():
                    os.kill(pid, signal.SIGKILL)
        if n < 2:
            wait_for(lambda: not daemons())
    with pytest.raises(EngineResting, match="next try in 2 s"):
        await local.ready(lambda seconds: None)
    await local.close()


def test_a_large_log_is_put_aside(home: Path) -> None:
    log = log_file()
    log.parent.mkdir(parents=True)
    for size, kept in ((MAX_LOG, False), (MAX_LOG + 1, True)):
        log.write_bytes(b"x" * size)
        assert cl_lsp("complete", EXAMPLE, *AT).returncode == 0
        assert cl_lsp("stop").returncode == 0
        assert log.with_name("engine.log.1").exists() is kept
        assert (log.stat().st_size < MAX_LOG) is kept
    assert log.with_name("engine.log.1").stat().st_size >= MAX_LOG
