"""Find the user's engine daemon or start it: exactly one, however many editors ask at once.

The daemon itself holds the lock; a starter that loses the race just finds the winner.
"""

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import platformdirs

from . import __version__
from .client import EngineClient
from .config import EMBEDDED, EngineConfig
from .errors import CannotStart, EngineGone, EngineSilent
from .holder import holder, mute
from .wire import Address

T = TypeVar("T")
log = logging.getLogger(__name__)
# -P: the engine is started in the user's project, whose struct.py or torch.py is not to be run.
PYTHON = (sys.executable, "-P")
START_TIMEOUT_S = 600  # a 34B checkpoint from a cold disk takes minutes
POLL_S = 0.05
PATIENCE_S = 15  # with a daemon that is there and does not answer
START_S = 60  # the same over TCP, where one that is about to answer looks like it
TOO_LATE = "another daemon serves"  # how cl_engine's AddressInUse begins
RESTART_S = 1.0  # between two starts of our own
ADDRESS_IN_USE = 3  # exit code of a daemon that found another one at its address
MAX_LOG = 5 << 20  # bytes
WIRE_VERSION = 2  # the oldest daemon we can talk to
# What Windows calls a session of its own.
DETACHED = 0x208 if sys.platform == "win32" else 0  # DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP
REPLACE_S = 20  # that one of an older version gets to finish what it does

# They outlive us; that they are kept lets those that have ended leave no zombie.
_started: list[subprocess.Popen[bytes]] = []


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


def has_unix_sockets() -> bool:
    """Windows has none that Python's asyncio can use; elsewhere CL_LSP_TCP=1 does without."""
    return sys.platform != "win32" and not os.environ.get("CL_LSP_TCP")


def port_file() -> Path:
    """Where a daemon tells the port that it listens on where there are no unix sockets."""
    return state_folder() / "engine.port"


def user_address() -> Address:
    """Where the user's daemon listens. Raises CannotStart if others could listen there instead."""
    if not has_unix_sockets():
        return Address(port_file=port_file())
    socket = default_socket()
    for folder in (socket.parent, socket.parent.parent):
        with contextlib.suppress(FileNotFoundError):  # not there yet: the daemon makes it, 0700
            found = folder.stat()
            if found.st_uid != os.getuid() or found.st_mode & 0o022:
                raise CannotStart(f"others can write to {folder}; set XDG_RUNTIME_DIR")
    return Address(uds=socket)


def anywhere(config: EngineConfig) -> EngineConfig:
    """The same for a process in another directory.

    >>> anywhere(EngineConfig(model="codellama/m")).model
    'codellama/m'
    """
    model, template = config.model, config.chat_template
    if model is not None and model.startswith((".", "~")):  # all else may be a name
        model = os.path.abspath(os.path.expanduser(model))
    if template is not None:
        template = os.path.abspath(os.path.expanduser(template))
    return replace(config, model=model, chat_template=template)


class Daemon:
    """The daemon behind one unix socket, as one client sees it."""

    def __init__(self, client: EngineClient, config: EngineConfig):
        if not client.address.local:
            raise ValueError("only a daemon of this user can be started")
        self._client, self._address = client, client.address
        self._config = config

    async def ensure(self, on_loading: Callable[[float], None] = lambda _: None) -> str:
        """The model's name, when it is loaded; starts the daemon if there is none.

        One of an older version is replaced when it is idle. `on_loading` is called now and then
        with the seconds waited so far. Raises CannotStart with what the daemon itself said,
        EngineRefused if it cannot have the model, or EngineGone if it does not come up.
        """
        began = time.monotonic()

        async def wait(what: Awaitable[T]) -> T:
            """Its result, telling how long it takes."""
            task = asyncio.ensure_future(what)
            try:
                while not (await asyncio.wait({task}, timeout=POLL_S))[0]:
                    on_loading(time.monotonic() - began)
                return task.result()
            finally:
                task.cancel()

        await wait(self._up())
        health = await self._client.health()
        if older(health["version"]):
            await wait(self._replace(health))
            await wait(self._up())
        if self._config.model is not None:
            # It knows all spellings of a name; one that is there already costs nothing.
            await wait(self._client.load(self._config.model))
            return self._config.model
        await wait(self._loaded(health["model"]))
        return health["model"]

    async def _up(self) -> None:
        """Until the daemon has loaded its own model."""
        began = heard = time.monotonic()
        process: subprocess.Popen | None = None
        path, log_start, started = log_file(), 0, float("-inf")
        while (now := time.monotonic()) - began < START_TIMEOUT_S:
            health, state = await self._look()
            if health is not None and health["status"] in ("ok", "unloaded"):
                return
            if state != "mute":
                heard = now
            elif now - heard > (START_S if self._address.port_file else PATIENCE_S):
                raise CannotStart(mute(self._address))
            if state == "none" and (process is None or process.poll() == ADDRESS_IN_USE):
                # The winner of the race may have died since; its successor is ours to start.
                if now - started > RESTART_S:
                    process, path, log_start = self._start()
                    started = time.monotonic()
            elif process is not None and process.poll() not in (None, ADDRESS_IN_USE):
                raise CannotStart(last_error(path, log_start) or f"the engine ended; see {path}")
            await asyncio.sleep(POLL_S)
        raise EngineGone(f"the engine did not answer within {START_TIMEOUT_S} s; see {path}")

    async def _look(self) -> tuple[dict[str, Any] | None, str]:
        """The daemon's health, if it answers; and whether it is "up", "coming" or "mute", or "none"
        is there."""
        try:
            return await self._client.health(), "up"
        except EngineSilent:
            return None, "mute"
        except EngineGone:
            if holder(self._address) is None:
                return None, "none"
            # Its socket is there from the first; if not, somebody has taken it away.
            return None, "coming" if self._address.listener() else "mute"

    async def check(self) -> None:
        """Raises CannotStart if it is there and does not answer."""
        if (await self._look())[1] == "mute":
            raise CannotStart(mute(self._address))

    async def _loaded(self, model: str) -> None:
        health = await self._client.health()
        if health["models"].get(model, {}).get("status") != "ok":
            await self._client.load(model)

    async def _replace(self, health: dict[str, Any]) -> None:
        """End a daemon of an older version when it is idle; one that stays busy serves on, if we
        can talk to it."""
        began = time.monotonic()
        while health["active"] and time.monotonic() - began < REPLACE_S:
            await asyncio.sleep(POLL_S)
            health = await self._client.health()
        if health["active"]:
            if health["wire"] >= WIRE_VERSION:
                return
            raise CannotStart(
                f"the running daemon is of version {health['version']} and busy: `cl-lsp stop` it"
            )
        pid = int(health["pid"])
        if pid <= 1:
            raise CannotStart(f"what answers at {self._address} is no daemon")
        try:
            os.kill(pid, signal.SIGTERM)
        except OSError as error:
            raise CannotStart(f"cannot end the older daemon: {error.strerror}") from error
        while (now := (await self._look())[0]) is not None and now["pid"] == health["pid"]:
            await asyncio.sleep(POLL_S)

    def _start(self) -> tuple[subprocess.Popen, Path, int]:
        """The new process, its log and where its part of that begins."""
        config = self._config
        command = [*PYTHON, "-m", "cl_engine", "serve", config.model or EMBEDDED]
        option = "--port-file" if self._address.port_file else "--uds"
        command += [option, os.path.abspath(str(self._address))]  # it has a directory of its own
        command += ["--idle-exit", str(config.idle_exit_minutes)]
        command += ["--unload-after", str(config.unload_after_minutes)]
        # Gigabytes are fetched when the user says so, not by the first key.
        command += ["--no-download", "--kernels", config.kernels]
        options = {
            "--chat-template": config.chat_template,
            "--context": config.context,
            "--kv-memory": config.kv_memory,
        }
        for option, value in options.items():
            command += [] if value is None else [option, str(value)]
        with self._open_log() as file:
            path, start = Path(file.name), file.tell()
            try:
                # A session and a directory of its own: it outlives this editor, and its project.
                process = subprocess.Popen(
                    command,
                    cwd=path.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                    creationflags=DETACHED,
                )
            except OSError as error:
                raise CannotStart(f"cannot start the engine: {error.strerror}") from error
        _started[:] = [p for p in [*_started, process] if p.poll() is None]
        return process, path, start

    def _open_log(self) -> BinaryIO:
        """The user's log; where it cannot be written, one beside the socket, which must be."""
        beside = Path(os.path.abspath(str(self._address))).with_name(log_file().name)
        try:
            return _append(log_file())
        except OSError as error:
            why = f"cannot write {log_file()} ({error.strerror})"
        try:
            opened = _append(beside)
        except OSError as error:
            raise CannotStart(f"{why}, nor {beside} ({error.strerror})") from error
        log.warning("%s: the daemon logs to %s", why, beside)
        return opened


def older(version: str) -> bool:
    """Whether a daemon's version is before ours.

    >>> older("0.0.9"), older(__version__), older("99.0")
    (True, False, False)
    """
    return _numbers(version) < _numbers(__version__)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _append(path: Path) -> BinaryIO:
    """Open a log; one old one is kept, so that a line for each request does not fill the disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size > MAX_LOG:
        path.replace(path.with_name(path.name + ".1"))
    return open(path, "ab")


def last_error(path: Path, start: int) -> str | None:
    """What a daemon that ended said last, in its part of the log.

    Others who started at the same moment write there too: that they came too late is not its error.
    """
    with open(path, "rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    own = [error for error in errors if not error.startswith(TOO_LATE)]
    return next(reversed(own or errors or lines), None)
