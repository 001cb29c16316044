"""Where a daemon listens: a unix socket that only its user can open, or TCP with a token. No torch.

The lock beside the socket is the truth about who serves it: it is held for the daemon's whole life
and falls with the process, so that a socket without a lock holder is stale and may be replaced.
"""

import contextlib
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from .errors import AddressInUse, CannotServe


@contextlib.contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """A listening socket of mode 0600 at `path`, for one process at a time.

    Raises AddressInUse if another daemon holds it, CannotServe if it cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open(path.with_name(path.name + ".lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise CannotServe(f"cannot write {path.parent}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AddressInUse(f"another daemon serves {path} already") from error
        path.unlink(missing_ok=True)  # left by a daemon that died
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError as error:
            raise CannotServe(f"cannot listen on {path}: {error}") from error
        finally:
            os.umask(mask)
        try:
            yield listener
        finally:
            listener.close()
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def tcp_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A listening TCP socket. Raises AddressInUse or CannotServe."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            raise CannotServe(f"cannot listen on {host}:{port}: {error}") from error
        yield listener


def ensure_token(path: Path) -> str:
    """The token in `path`, made with mode 0600 at the first call."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        return path.read_text().strip()
    except OSError as error:
        raise CannotServe(f"cannot write the token file {path}: {error.strerror}") from error
