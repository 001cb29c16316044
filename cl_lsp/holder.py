"""Who holds a daemon's address, whether it answers or not: the lock beside it tells the pid.

One truth for those who start a daemon, end it, or say what it does.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .errors import CannotStart, ClLspError
from .wire import Address

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

STOP_TIMEOUT_S = 10  # until one that was told to stop is killed
UNKNOWN = 0  # the pid of one that is older than the custom of telling it


def holder(address: Address) -> int | None:
    """The pid of the daemon that has a local address, UNKNOWN if it does not tell; None: there is
    none, or the system (Windows) lets nobody look."""
    if address.lock is None or fcntl is None:
        return None
    try:
        with open(address.lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                word = file.read().strip()
                return int(word) if word.isdigit() else UNKNOWN
    except OSError:
        pass  # no daemon was ever here
    return None


def mute(address: Address) -> str:
    """What people are told of a daemon that does not answer."""
    pid = holder(address)
    if pid is None:
        return f"what listens at {address} does not answer"
    who = f"the daemon (pid {pid})" if pid else f"a daemon (who holds {address.lock})"
    return f"{who} does not answer at {address}: `cl-lsp stop` ends it"


async def end(pid: int, port_file: Path) -> bool:
    """Whether it stopped when it was told to; otherwise it is killed. Raises ClLspError.

    `port_file` is taken away where a daemon could not do that.
    """
    try:
        os.kill(pid, signal.SIGTERM)
        if sys.platform == "win32":  # where that was a kill
            port_file.unlink(missing_ok=True)
            return True
        if await _gone(pid):
            return True
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    except PermissionError as error:
        raise ClLspError(f"cannot stop the daemon: {error.strerror}") from error
    if not await _gone(pid):
        raise CannotStart(f"the daemon (pid {pid}) could not be killed")
    return False


async def _gone(pid: int) -> bool:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _alive(pid):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def is_daemon(pid: int) -> bool:
    """Whether it is a process of the engine's, by its command line."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # no Linux, or no such process
        ps = shutil.which("ps")
        asked = [ps or "ps", "-ww", "-o", "args=", "-p", str(pid)]
        words = subprocess.run(asked, capture_output=True, text=True).stdout.split() if ps else []
    return "cl_engine" in words and "serve" in words


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie of our own making is gone for all purposes.
    with contextlib.suppress(FileNotFoundError):  # no Linux, or gone by now
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return not Path("/proc/self").exists()
