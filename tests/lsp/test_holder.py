"""A daemon that lost its socket, or hangs: all say the same of it, and nobody waits for ever."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cl_lsp.backend import Local
from cl_lsp.client import EngineClient
from cl_lsp.config import EngineConfig
from cl_lsp.daemon import Daemon, default_socket, log_file, port_file
from cl_lsp.errors import CannotStart, EngineResting
from cl_lsp.exchange import CompletionRequest
from cl_lsp.holder import UNKNOWN, end, holder
from cl_lsp.wire import Address
from tests.conftest import cl_lsp, wait_for
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.test_daemon import AT, EXAMPLE, daemons, pid_and_model


@pytest.fixture
async def daemon(home: Path, tiny: Path) -> int:
    """Its pid; it has the tiny model."""
    client = EngineClient(Address(uds=default_socket()))
    pid, _ = await pid_and_model(client, EngineConfig(model=str(tiny)))
    await client.close()
    return pid


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def test_the_lock_tells_who_has_the_address(daemon: int, home: Path) -> None:
    address = Address(uds=default_socket())
    assert holder(address) == daemon
    assert address.lock is not None
    address.lock.write_text("")  # by a daemon of an older version
    assert holder(address) == UNKNOWN
    assert "stopped" in cl_lsp("stop").stdout
    assert holder(address) is None


async def test_a_daemon_that_lost_its_socket_makes_room(daemon: int, home: Path) -> None:
    default_socket().unlink()
    wait_for(lambda: not daemons(), 10)
    assert "is gone" in log_file().read_text()
    assert cl_lsp("status").stdout == "not running\n"
    assert cl_lsp("complete", EXAMPLE, *AT).returncode == 0
    assert daemons() and daemons() != [daemon]


async def test_a_lost_daemon_leaves_anothers_socket_alone(daemon: int, home: Path) -> None:
    """As of a cleaner that takes the lock too: then there are two for a moment."""
    for path in default_socket().parent.iterdir():
        path.unlink()
    with stopped(daemon):
        assert cl_lsp("complete", EXAMPLE, *AT).returncode == 0
        assert len(daemons()) == 2
    wait_for(lambda: len(daemons()) == 1)
    assert daemon not in daemons()
    assert cl_lsp("status").returncode == 0


async def test_who_cannot_reach_the_holder_gives_up_and_starts_none(
    daemon: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_lsp.daemon.PATIENCE_S", 2)
    client = EngineClient(Address(uds=default_socket()))
    with stopped(daemon):
        default_socket().unlink()
        log = log_file().read_text()
        with pytest.raises(CannotStart, match=rf"\(pid {daemon}\) does not answer .*cl-lsp stop"):
            await asyncio.wait_for(Daemon(client, EngineConfig()).ensure(), 10)
        assert log_file().read_text() == log
        status = json.loads(cl_lsp("status", "--json").stdout)
        assert (status["status"], status["pid"]) == ("mute", daemon)
        monkeypatch.setattr("cl_lsp.holder.STOP_TIMEOUT_S", 0.5)
        assert not await end(daemon, port_file())  # it had to be killed
    assert daemons() == []
    await client.close()


async def test_an_editor_is_told_of_a_daemon_that_hangs(
    daemon: int, home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose user types on, so that no request lives long enough to be late."""
    monkeypatch.setattr("cl_lsp.patience.SILENCE_S", 1)
    local = Local(EngineConfig(model=str(tiny)), EngineClient(Address(uds=default_socket())))
    request = CompletionRequest("a", "b", None, 4, "d", "python", (), "1")

    async def ask() -> None:
        async for _ in local.complete(request):
            pass

    await ask()
    with stopped(daemon):
        said = rf"\(pid {daemon}\) does not answer"
        with pytest.raises(CannotStart, match=said):
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(ask(), 0.8)
        with pytest.raises(EngineResting, match=said):
            await local.ready(lambda seconds: None)
        local.forget()
        with pytest.raises(CannotStart, match=said):
            await asyncio.wait_for(local.refusals(), 20)
    await ask()
    await local.close()


async def test_an_engine_at_work_is_waited_for(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_lsp.patience.SILENCE_S", 0.1)
    engine.headers_s = 1.0
    local = Local(EngineConfig(), EngineClient(Address(uds=default_socket())))
    request = CompletionRequest("a", "b", None, 4, "d", "python", (), "1")
    assert "".join([chunk.text async for chunk in local.complete(request)]) == "turn x"
    await local.close()


async def test_the_terminal_says_the_same_of_a_daemon_that_hangs(daemon: int, home: Path) -> None:
    said = f"the daemon (pid {daemon}) does not answer at {default_socket()}: `cl-lsp stop` ends it"
    with stopped(daemon):
        began = time.monotonic()
        done = cl_lsp("complete", EXAMPLE, *AT)
        assert done.returncode == 1 and f"error: {said}" in done.stderr
        assert time.monotonic() - began < 40
        status = cl_lsp("status")
        assert status.returncode == 1 and status.stdout == f"mute: {said}\n"
        found = {
            finding["what"]: finding for finding in json.loads(cl_lsp("doctor", "--json").stdout)
        }
        assert (found["daemon"]["state"], found["daemon"]["fix"]) == ("wrong", "cl-lsp stop")
        assert f"pid {daemon}" in found["daemon"]["said"]
        code = (
            "import sys, cl_lsp.holder as h, cl_lsp.__main__ as m; h.STOP_TIMEOUT_S = 1; m.main()"
        )
        command = [sys.executable, "-c", code, "stop"]
        stop = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert stop.stdout.startswith(f"killed (pid {daemon})")
    assert daemons() == []
