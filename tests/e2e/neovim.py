"""A real Neovim in a user's home of its own, driven over msgpack-rpc by the keys a user types."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import pytest

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NVIM = ROOT / ".cache/nvim/nvim"
INIT = Path(__file__).with_name("init.lua")


def wait_for(what: str, poll: Callable[[], T], seconds: float = 60) -> T:
    """The first true value of `poll`."""
    deadline = time.monotonic() + seconds
    while not (value := poll()):
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.02)
    return value


@dataclass(frozen=True)
class Home:
    """A user of the machine: folders of its own, and with them a daemon of its own."""

    path: Path

    @property
    def env(self) -> dict[str, str]:
        return {
            "COLORTERM": "truecolor",  # without, Neovim's own colours do not set ghost text off
            "HOME": str(self.path),
            "LANG": "C.UTF-8",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "TMUX_TMPDIR": str(self.path),
            "XDG_RUNTIME_DIR": str(self.path / "run"),
            "XDG_STATE_HOME": str(self.path / "state"),
        } | {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}

    @property
    def lsp_log(self) -> Path:
        return self.path / "state/nvim/lsp.log"

    def run(self, *command: str | Path) -> str:
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def status(self) -> dict[str, Any]:
        return json.loads(self.run(BIN / "cl-lsp", "status", "--json"))

    def processes(self) -> dict[int, str]:
        """The command lines of all that runs for this user, by pid."""
        mark = f"XDG_RUNTIME_DIR={self.env['XDG_RUNTIME_DIR']}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes()
                    found[int(folder.name)] = command.replace(b"\0", b" ").decode()
        return found

    def engines(self) -> list[int]:
        return [pid for pid, line in self.processes().items() if "cl_engine serve" in line]


@pytest.fixture
def home() -> Iterator[Home]:
    if missing := [program for program in (NVIM, "tmux") if shutil.which(program) is None]:
        pytest.fail(f"{missing[0]} is missing: `make test-editors` installs nvim, `.ci/run` tmux")
    # Not tmp_path, which can be too long for the address of a unix socket.
    with tempfile.TemporaryDirectory(prefix="cl-", dir="/tmp") as folder:
        home = Home(Path(folder))
        (home.path / "run").mkdir(mode=0o700)
        for name in (".cache/nvim", ".local/share/nvim", "state/nvim", "project/.git"):
            (home.path / name).mkdir(parents=True)  # nvims that start together all make theirs
        shutil.copy(ROOT / "examples/inventory.py", home.path / "project")
        try:
            yield home
            home.run(BIN / "cl-lsp", "stop")
            wait_for("end of all processes", lambda: not home.processes(), 15)
        finally:
            for pid in home.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


# Every request for ghost text, with the state of the buffer that it was for, and its answer.
RECORD = """
local client = vim.lsp.get_clients({ bufnr = 0, name = 'cl_lsp' })[1]
local group = { group = 'nvim.lsp.inline_completion:' .. vim.api.nvim_get_current_buf() }
if not (client and pcall(vim.api.nvim_get_autocmds, group)) then return false end
local request = client.request
asked = {}
client.request = function(self, method, params, handler, ...)
  if method ~= 'textDocument/inlineCompletion' then
    return request(self, method, params, handler, ...)
  end
  local entry = { tick = vim.b.changedtick, answered = false }
  table.insert(asked, entry)
  return request(self, method, params, function(err, result, context)
    entry.answered, entry.error = true, err
    entry.text = result and (result.items[1] or { insertText = '' }).insertText
    return handler(err, result, context)
  end, ...)
end
return true
"""
STATE = """
local space = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
return {
  tick = vim.b.changedtick,
  cursor = vim.api.nvim_win_get_cursor(0),
  marks = vim.api.nvim_buf_get_extmarks(0, space, 0, -1, { details = true }),
  asked = asked,
}
"""


class Editor:
    """A running Neovim, watched over its socket; `press` are keys as a terminal sends them."""

    def __init__(self, address: Path, press: Callable[[str], object] | None = None):
        self.press = press or (lambda keys: self.call("nvim_input", keys))
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        # It is there a moment before nvim listens to it.
        wait_for("nvim's socket", lambda: self._socket.connect_ex(str(address)) == 0)
        self._packer, self._answers = msgpack.Packer(), msgpack.Unpacker()

    def wait_for_server(self) -> None:
        wait_for("attached server", lambda: self.lua(RECORD))

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, *arguments: object) -> Any:
        """A request of Neovim's msgpack-rpc."""
        self._socket.sendall(self._packer.pack([0, 0, method, arguments]))
        while True:
            for _, _, error, result in self._answers:
                assert error is None, error
                return result
            self._answers.feed(self._socket.recv(1 << 16))

    def lua(self, code: str) -> Any:
        return self.call("nvim_exec_lua", code, [])

    @property
    def line(self) -> str:
        return self.call("nvim_get_current_line")

    @property
    def lines(self) -> list[str]:
        return self.call("nvim_buf_get_lines", 0, 0, -1, True)

    @property
    def messages(self) -> str:
        return self.lua("return vim.fn.execute('messages')").strip()

    def ghost(self) -> str:
        """The ghost text on the screen, which must be at the cursor; empty if there is none."""
        state = self.lua(STATE)
        if not state["marks"]:
            return ""
        (mark,) = state["marks"]
        _, row, column, details = mark
        assert [row + 1, column] == state["cursor"], "ghost text away from the cursor"
        lines = [details["virt_text"], *details.get("virt_lines", [])]
        return "\n".join("".join(text for text, _ in line) for line in lines)

    def settled(self) -> bool:
        """Whether the last request was for the buffer as it is now, and has been answered."""
        state = self.lua(STATE)
        last = state["asked"][-1] if state["asked"] else {}
        return bool(last) and last["tick"] == state["tick"] and last["answered"]

    def newest_answer(self) -> str:
        last = self.lua(STATE)["asked"][-1]
        assert not last.get("error")
        return last["text"]

    def open_line(self) -> None:
        """A new line in the body of the example's last function, in insert mode."""
        self.press("/def total\ro")
        wait_for("insert mode", lambda: self.call("nvim_get_mode")["mode"] == "i")

    def type(self, text: str) -> None:
        """Type quickly, at the end of the line."""
        expected = self.line + text
        for key in text:
            self.press(key)
            time.sleep(0.01)
        wait_for(f"{text!r} in the line", lambda: self.line == expected)

    def type_until_ghost(self, keys: Iterable[str]) -> str:
        """Type one key after the other until a suggestion is shown; returns it."""
        for key in keys:
            self.type(key)
            wait_for(f"answer after {key!r}", self.settled)
            if ghost := self.ghost():
                return ghost
        pytest.fail(f"no ghost text anywhere in {self.line!r}")

    def accept(self) -> None:
        """Tab, and the line is what it was and the ghost text that was shown."""
        before, ghost = self.lines, self.ghost()
        row, _ = self.call("nvim_win_get_cursor", 0)
        assert ghost
        text = "\n".join([*before[: row - 1], before[row - 1] + ghost, *before[row:]])
        self.press("\t")
        wait_for("accepted text", lambda: self.lines != before)
        assert self.lines == text.split("\n")

    def check_quiet(self, home: Home) -> None:
        """Nothing has been said to the user, neither by Neovim nor by the server."""
        assert self.lua("return vim.v.errmsg") == ""
        assert not re.search(r"cl-lsp|error|E\d+:", self.messages, re.IGNORECASE), self.messages
        log = home.lsp_log.read_text().splitlines() if home.lsp_log.exists() else []
        assert [line for line in log if not line.startswith("[START]")] == []

    def quit(self) -> None:
        self._socket.sendall(self._packer.pack([2, "nvim_command", ["qall!"]]))


@contextlib.contextmanager
def editor_at(address: Path, press: Callable[[str], object] | None = None) -> Iterator[Editor]:
    """Ready for keys: the language server is attached."""
    with contextlib.closing(Editor(address, press)) as editor:
        editor.wait_for_server()
        yield editor


@contextlib.contextmanager
def running(home: Home, address: Path, *command: str | Path) -> Iterator[subprocess.Popen]:
    """A Neovim without a screen, in the user's project."""
    process = subprocess.Popen(
        [*command, "--listen", address],
        env=home.env,
        cwd=home.path / "project",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def neovims(home: Home, count: int) -> Iterator[list[Editor]]:
    """So many Neovims without a screen, started at once on the same file."""
    with contextlib.ExitStack() as stack:
        addresses = [home.path / f"nvim{i}.sock" for i in range(count)]
        command = [NVIM, "--headless", "-n", "-u", INIT, "inventory.py"]
        processes = [stack.enter_context(running(home, at, *command)) for at in addresses]
        editors = [stack.enter_context(editor_at(address)) for address in addresses]
        yield editors
        for editor, process in zip(editors, processes, strict=True):
            editor.quit()
            assert process.wait(timeout=15) == 0
