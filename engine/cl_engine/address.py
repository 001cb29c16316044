"""Where a daemon listens: a unix socket that only its user can open, or TCP with a token. No torch.

The lock beside the socket is the truth about who serves it: it is held for the daemon's whole life,
tells its pid and falls with the process, so that a socket without a lock holder is stale and may be
replaced.
Where there are no unix sockets a file tells port and token, which only the user can read.
"""

import contextlib
import errno
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import AddressInUse, CannotServe

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None
    import msvcrt

SHORTEST_TOKEN = 16  # characters
LOCK_AT = 1 << 30  # the byte that is locked on Windows, where the others could not be read


@contextlib.contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """A listening socket of mode 0600 at `path`, for one process at a time.

    Raises AddressInUse if another daemon holds it, CannotServe if it cannot be made.
    """
    with _locked(path):
        if path.exists() and not path.is_socket():
            raise CannotServe(f"{path} exists and is not a socket")
        path.unlink(missing_ok=True)  # left by a daemon that died
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError as error:
            raise CannotServe(f"cannot listen on {path}: {error}") from error
        finally:
            os.umask(mask)
        made = identity(path)
        try:
            yield listener
        finally:
            listener.close()
            _remove(path, made)


@contextlib.contextmanager
def port_file(path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket on a free port of loopback, and a new token; `path` tells both, mode 0600.

    For one process at a time. Raises as `unix_socket`.
    """
    with _locked(path), tcp_socket("127.0.0.1", 0) as listener:
        token = secrets.token_urlsafe(32)
        told = {"port": listener.getsockname()[1], "token": token}
        try:
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
                json.dump(told, file)
            os.replace(file.name, path)
        except OSError as error:
            raise CannotServe(f"cannot write {path}: {error.strerror}") from error
        made = identity(path)
        try:
            yield listener, token
        finally:
            _remove(path, made)


def identity(path: Path) -> tuple[int, int] | None:
    """Another one if another process made the file; None if it is not there."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _remove(path: Path, made: tuple[int, int] | None) -> None:
    """Unless it is another's by now."""
    if identity(path) == made:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """While its lock is held nobody else serves at `path`."""
    try:
        make_private(path.parent)
        lock = open(path.with_name(path.name + ".lock"), "a+")  # noqa: SIM115
    except OSError as error:
        raise CannotServe(f"cannot write {path.parent}: {error.strerror}") from error
    with lock:
        if not _lock(lock):
            lock.seek(0)
            pid = lock.read().strip()
            who = f"another daemon serves {path} already" + (f" (pid {pid})" if pid else "")
            raise AddressInUse(
                f"{who}: it loads any model that is asked for; `cl-lsp stop` ends it"
            )
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        yield
        lock.truncate(0)


def _lock(file: IO[str]) -> bool:
    """Whether no daemon had it; it falls when the file is closed."""
    for _ in range(3):  # who looks for a holder has it for a moment
        if _try_lock(file):
            return True
        time.sleep(0.01)
    return False


def _try_lock(file: IO[str]) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(file.fileno(), LOCK_AT, os.SEEK_SET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


@contextlib.contextmanager
def tcp_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A listening TCP socket. Raises AddressInUse or CannotServe."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that say TCP; without it answers come 40 ms late.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                raise AddressInUse(f"cannot listen on {host}:{port}: it is in use") from error
            raise CannotServe(f"cannot listen on {host}:{port}: {error}") from error
        yield listener


def host_and_port(listener: socket.socket) -> str:
    """As in a URL; the port is the real one, also where 0 was asked for."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ensure_token(path: Path) -> str:
    """The token in `path`, made with mode 0600 at the first call. Raises CannotServe."""
    try:
        make_private(path.parent)
        if not path.exists():
            # Whole or not at all: of two first calls, the second finds the first one's.
            with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
                file.write(secrets.token_urlsafe(32) + "\n")
                file.flush()
                with contextlib.suppress(FileExistsError):
                    os.link(file.name, path)
        token = path.read_text().strip()
    except OSError as error:
        raise CannotServe(f"cannot write the token file {path}: {error.strerror}") from error
    if len(token) < SHORTEST_TOKEN:
        raise CannotServe(f"the token in {path} is too short: delete the file for a new one")
    return token


def make_private(folder: Path) -> None:
    """Make `folder`, and what of its parents is missing, for this user only."""
    mask = os.umask(0o077)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    finally:
        os.umask(mask)
