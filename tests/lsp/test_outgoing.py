"""Nothing leaves the machine, and nothing can come in: of all processes, native code included."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cl_lsp.daemon import default_socket
from tests.conftest import cl_lsp
from tests.lsp.client import language_server

SHIM = Path(__file__).with_name("outgoing.c")
EXAMPLE = Path(__file__).parents[2] / "examples" / "inventory.py"
AT = ["--line", "21", "--column", "13"]
# What somebody may have set so that less is fetched or told; by default nothing is.
QUIET = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "TRANSFORMERS_OFFLINE")
ABLE: dict[str, Any] = {
    "codeAction": {
        "codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["source"]}},
        "disabledSupport": True,
    }
}
IPV6 = Path("/proc/net/if_inet6").exists()  # or the kernel has none
# Each is refused or goes nowhere: these addresses are for documentation (RFC 5737, RFC 3849).
REACHES_OUT = """
import contextlib, socket
there = ("192.0.2.1", 9)
with socket.socket() as tcp:
    tcp.setblocking(False)
    tcp.connect_ex(there)
with socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
    udp.sendto(b"x", there)
with socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
    udp.sendmsg([b"x"], [], 0, there)
with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as tcp:
    tcp.setblocking(False)
    tcp.connect_ex(("2001:db8::1", 9))
socket.getaddrinfo("localhost", 9)
socket.gethostbyname_ex("localhost")  # asks twice
with socket.socket(socket.AF_UNIX) as unix, contextlib.suppress(OSError):
    unix.connect("/nobody/listens/here")
"""


class Outgoing:
    """What the processes that were started since have told, by `outgoing.c`."""

    def __init__(self, log: Path):
        self._log = log

    def _lines(self) -> list[list[str]]:
        return [line.split(" ", 3) for line in self._log.read_text().splitlines()]

    @property
    def watched(self) -> list[str]:
        """The command lines of the processes that are seen."""
        return [line[3].strip() for line in self._lines() if line[0] == "loaded"]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Call and address of whatever is no unix socket."""
        return [(line[0], line[3]) for line in self._lines() if line[0] != "loaded"]


@pytest.fixture
def outgoing(home: Path, monkeypatch: pytest.MonkeyPatch) -> Outgoing:
    """Every process started from now on is watched, and everything that it starts."""
    library = home / "outgoing.so"
    compiler = shutil.which("gcc")
    assert compiler is not None, "this test needs gcc"
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", library, SHIM, "-ldl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("OUTGOING_LOG", str(home / "outgoing.log"))
    for name in QUIET:
        monkeypatch.delenv(name, raising=False)
    return Outgoing(home / "outgoing.log")


def sockets(pid: int) -> tuple[list[str], list[str]]:
    """Of a process: its lines in the kernel's tables of IP sockets, and its unix listeners."""
    owned = set[str]()  # inodes
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it is closed by now
            kind, _, inode = os.readlink(file).partition(":")
            owned |= {inode.strip("[]")} if kind == "socket" else set()
    tables = Path(f"/proc/{pid}/net")
    found = list[str]()
    for name in ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6"):
        if (tables / name).exists():  # a kernel without IPv6 lacks some
            lines = (tables / name).read_text().splitlines()[1:]
            found += [f"{name} {line}" for line in lines if line.split()[9] in owned]
    unix = [line.split() for line in (tables / "unix").read_text().splitlines()[1:]]
    accepts = 0x10000  # __SO_ACCEPTCON
    return found, [line[7] for line in unix if line[6] in owned and int(line[3], 16) & accepts]


def test_what_reaches_out_is_seen(outgoing: Outgoing) -> None:
    """Also where a shell starts it: or silence would prove nothing."""
    command = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, REACHES_OUT]
    subprocess.run(command, check=True, timeout=30)
    assert outgoing.told == [
        ("connect", "AF_INET 192.0.2.1:9"),
        ("sendto", "AF_INET 192.0.2.1:9"),
        ("sendmsg", "AF_INET 192.0.2.1:9"),
        *([("connect", "AF_INET6 [2001:db8::1]:9")] if IPV6 else []),
        ("getaddrinfo", "name localhost"),
        ("getaddrinfo", "name localhost"),
        ("gethostbyname_r", "name localhost"),
    ]
    assert any(seen.startswith("sh ") for seen in outgoing.watched)


def test_who_listens_is_seen() -> None:
    families = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::ffff:127.0.0.1"}
    for family, here in list(families.items())[: 1 + IPV6]:
        before, _ = sockets(os.getpid())
        with socket.socket(family) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
            tcp.bind((here, 0))
            tcp.listen()
            udp.bind((here, 0))
            now, _ = sockets(os.getpid())
        assert len(now) == len(before) + 2, now


async def test_nothing_goes_out_and_only_the_users_socket_is_open(outgoing: Outgoing) -> None:
    """As it comes: an editor opens a file, types, asks for all there is; then the terminal."""
    text = EXAMPLE.read_text()
    async with language_server() as client:
        await client.initialize(more=ABLE)
        client.open(text)
        await client.inline(20, 12)
        for column, character in enumerate("self.", 12):
            client.insert(character, 20, column)
            assert await client.inline(20, column + 1) is not None
        only = ["cl-lsp.explain"]
        [action] = await client.code_actions((18, 0), (20, 0), only=only)
        assert "embedded cannot do chat" in action["disabled"]["reason"]
        pid = json.loads(cl_lsp("status", "--json").stdout)["pid"]
        assert sockets(pid) == ([], [str(default_socket())])
        assert sockets(client.process.pid) == ([], [])
        assert client.messages() == []
        assert await client.shutdown() == 0
    done = cl_lsp("complete", str(EXAMPLE), *AT)
    assert done.returncode == 0 and "embedded: " in done.stdout, done.stderr
    assert "computes on: " in cl_lsp("status").stdout
    assert cl_lsp("doctor").returncode == 0
    assert "stopped" in cl_lsp("stop").stdout  # what it would tell at its end is told by now
    ran = [f"{command.partition(' -m ')[2]} " for command in outgoing.watched]
    assert "cl_lsp " in ran, ran
    for command in ("cl_engine serve embedded ", "cl_lsp complete ", "cl_lsp status "):
        assert any(one.startswith(command) for one in ran), ran
    assert outgoing.told == []
