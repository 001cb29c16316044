"""Find the user's engine daemon or start it: exactly one, however many editors ask at once.

The daemon itself holds the lock; a starter that loses the race just finds the winner.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs

from .client import Address, EngineClient
from .config import Config
from .errors import CannotStart, EngineGone

# -P: the engine is started in the user's project, whose struct.py or torch.py is not to be run.
PYTHON = (sys.executable, "-P")
START_TIMEOUT_S = 600  # a 34B checkpoint from a cold disk takes minutes
POLL_S = 0.05
TOO_LATE = "another daemon serves"  # how cl_engine's AddressInUse begins
RESTART_S = 1.0  # between two starts of our own
ADDRESS_IN_USE = 3  # exit code of a daemon that found another one at its address
MAX_LOG = 5 << 20  # bytes
WIRE_VERSION = 1  # the oldest daemon we can talk to


def default_socket() -> Path:
    """In the user's runtime directory, which only the user can open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where the system has none
        return platformdirs.user_runtime_path("cl-lsp") / "engine.sock"


def state_folder() -> Path:
    """Where logs and the token live."""
    return platformdirs.user_state_path("cl-lsp")


def log_file() -> Path:
    return state_folder() / "engine.log"


def user_address() -> Address:
    """Where the user's daemon listens. Raises CannotStart if others could listen there instead."""
    socket = default_socket()
    for folder in (socket.parent, socket.parent.parent):
        with contextlib.suppress(FileNotFoundError):  # not there yet: the daemon makes it, 0700
            found = folder.stat()
            if found.st_uid != os.getuid() or found.st_mode & 0o022:
                raise CannotStart(f"others can write to {folder}; set XDG_RUNTIME_DIR")
    return Address(uds=socket)


class Daemon:
    """The daemon behind one unix socket, as one client sees it."""

    def __init__(self, client: EngineClient, config: Config):
        if client.address.uds is None:
            raise ValueError("only a daemon on a unix socket can be started")
        self._client, self._socket = client, client.address.uds
        self._config = config

    async def ensure(self, on_loading: Callable[[float], None] = lambda _: None) -> None:
        """Return when the model is loaded; starts the daemon if there is none.

        `on_loading` is called now and then with the seconds waited so far. Raises CannotStart with
        what the daemon itself said, or EngineGone if it does not come up.
        """
        began = time.monotonic()
        process: subprocess.Popen | None = None
        log_start, started = 0, float("-inf")
        while (waited := time.monotonic() - began) < START_TIMEOUT_S:
            health = await self._health()
            if health is not None and health["status"] == "ok":
                return
            if health is None and (process is None or process.poll() == ADDRESS_IN_USE):
                # The winner of the race may have died since; its successor is ours to start.
                if time.monotonic() - started > RESTART_S:
                    process, log_start = self._start()
                    started = time.monotonic()
            elif process is not None and process.poll() not in (None, ADDRESS_IN_USE):
                raise CannotStart(last_error(log_start) or f"the engine ended; see {log_file()}")
            on_loading(waited)
            await asyncio.sleep(POLL_S)
        raise EngineGone(f"the engine did not answer within {START_TIMEOUT_S} s; see {log_file()}")

    async def _health(self) -> dict[str, Any] | None:
        try:
            health = await self._client.health()
        except EngineGone:
            return None
        if health.get("wire", 0) < WIRE_VERSION:
            raise CannotStart(
                f"the running daemon is of version {health.get('version')}: `cl-lsp stop` it first"
            )
        return health

    def _start(self) -> tuple[subprocess.Popen, int]:
        """The new process and where its part of the log begins."""
        config = self._config
        command = [*PYTHON, "-m", "cl_engine", "serve", config.model]
        command += ["--uds", str(self._socket), "--idle-exit", str(config.idle_exit_minutes)]
        # Gigabytes are fetched when the user says so, not by the first key.
        command += ["--no-download", "--kernels", config.kernels]
        options = {
            "--chat-template": config.chat_template,
            "--context": config.context,
            "--kv-memory": config.kv_memory,
        }
        for option, value in options.items():
            command += [] if value is None else [option, str(value)]
        try:
            log_file().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _rotate(log_file())
            with open(log_file(), "ab") as log:
                start = log.tell()
                # Its own session: it outlives this editor, for the next one.
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise CannotStart(f"cannot write {log_file()}: {error.strerror}") from error
        return process, start


def _rotate(log: Path) -> None:
    """Keep one old log, so that a line for each request does not fill the disk."""
    if log.is_file() and log.stat().st_size > MAX_LOG:
        log.replace(log.with_name(log.name + ".1"))


def last_error(log_start: int) -> str | None:
    """What a daemon that ended said last, in its part of the log.

    Others who started at the same moment write there too: that they came too late is not its error.
    """
    with open(log_file(), "rb") as log:
        log.seek(log_start)
        lines = log.read().decode(errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    own = [error for error in errors if not error.startswith(TOO_LATE)]
    return next(reversed(own or errors or lines), None)
