"""A client that sends anything: valid messages, and every kind of mess around them."""

import asyncio
import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from lsprotocol import types

from tests.lsp.fake_engine import FakeEngine, serving

URIS = ["file:///work/a.py", "file:///work/b.ts", "file:///work/.env", "untitled:x", "", "nö"]
TEXTS = ["", "def f(x):\n    re\n", "a\r\nb\rc\n\r", "\ud800 é😀\n", "x\0y", "\ufeff{[(\"'", "\x0c"]
# What would end the session, as it should, and what starts it.
ENDS = ["shutdown", "exit", "initialize"]
METHODS = sorted(set(types.METHOD_TO_TYPES) - {*ENDS}) + ["$/x", "cl-lsp/trace", "", "no/such"]

uris = st.sampled_from(URIS) | st.text(max_size=8)
texts = st.sampled_from(TEXTS) | st.text(max_size=30)
numbers = st.sampled_from([0, 1, 2, 99, -1, 2**31, 2**53, 10**30]) | st.integers(-3, 9)
scalars = st.none() | st.booleans() | numbers | st.floats() | texts | uris
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
positions = st.fixed_dictionaries({"line": numbers, "character": numbers})
ranges = st.fixed_dictionaries({"start": positions, "end": positions})
documents = st.fixed_dictionaries({"uri": uris, "version": numbers})
changes = st.fixed_dictionaries({"text": texts}, optional={"range": ranges})
commands = ["pause", "resume", "restart", "status", "trace", "chat", "x"]
PARAMS: dict[str, st.SearchStrategy[Any]] = {
    "textDocument/didOpen": st.fixed_dictionaries({"textDocument": st.fixed_dictionaries(
        {"uri": uris, "version": numbers, "text": texts, "languageId": texts})}),
    "textDocument/didChange": st.fixed_dictionaries(
        {"textDocument": documents, "contentChanges": st.lists(changes, max_size=3)}),
    "textDocument/didClose": st.fixed_dictionaries({"textDocument": documents}),
    "textDocument/inlineCompletion": st.fixed_dictionaries({"textDocument": documents,
        "position": positions, "context": st.fixed_dictionaries({"triggerKind": numbers})}),
    "textDocument/completion": st.fixed_dictionaries(
        {"textDocument": documents, "position": positions}),
    "textDocument/codeAction": st.fixed_dictionaries({"textDocument": documents, "range": ranges,
        "context": st.fixed_dictionaries({"diagnostics": st.just([])})}),
    "workspace/executeCommand": st.fixed_dictionaries(
        {"command": st.sampled_from(commands).map("cl-lsp.{}".format)},
        optional={"arguments": st.lists(anything, max_size=3)}),
    "workspace/didChangeConfiguration": st.fixed_dictionaries({"settings": anything}),
    "workspace/didChangeWorkspaceFolders": st.fixed_dictionaries({"event": st.fixed_dictionaries(
        {"added": st.lists(st.fixed_dictionaries({"uri": uris, "name": texts}), max_size=2),
         "removed": st.lists(st.fixed_dictionaries({"uri": uris, "name": texts}), max_size=2)})}),
    "workspace/didChangeWatchedFiles": st.fixed_dictionaries({"changes": st.lists(
        st.fixed_dictionaries({"uri": uris, "type": numbers}), max_size=3)}),
    "$/cancelRequest": st.fixed_dictionaries({"id": numbers | texts}),
    "cl-lsp/trace": st.fixed_dictionaries({}, optional={"text": anything}),
}  # fmt: skip
HARMLESS = {name: params for name, params in PARAMS.items() if "Folders" not in name}


def framed(body: bytes, length: int | None = None) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body) if length is None else length, body)


def encoded(message: Any) -> bytes:
    return json.dumps(message).encode("utf-8", "surrogatepass")


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """One message that is valid, or of which a part is anything."""
    method = draw(st.sampled_from(sorted(HARMLESS)))
    message = {"jsonrpc": "2.0", "id": draw(numbers | texts), "method": method}
    message["params"] = draw(HARMLESS[method])
    match draw(st.integers(0, 5)):
        case 0:
            message["params"] = draw(anything)
        case 1:
            message["method"] = draw(st.sampled_from(METHODS) | anything)
        case 2:
            del message[draw(st.sampled_from(sorted(message)))]
        case 3:
            _spoil(draw, message)
    if message.get("method") in ENDS:
        message["method"] = "no/such"
    if draw(st.booleans()):
        message.pop("id", None)
    return framed(encoded(message))


def _spoil(draw: st.DrawFn, message: Any) -> None:
    """One value somewhere in it becomes anything."""
    while isinstance(message, dict | list) and message:
        keys = sorted(message, key=str) if isinstance(message, dict) else range(len(message))
        key = draw(st.sampled_from(list(keys)))
        if not isinstance(message[key], dict | list) or not draw(st.integers(0, 2)):
            message[key] = draw(anything)
            return
        message = message[key]


def _body(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]


HUGE = {
    "nested": framed(b"[" * 200_000),
    "digits": framed(b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"x"}'),
}
wrong = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=60).map(framed),
    anything.map(lambda value: framed(encoded(value))),
    st.tuples(messages(), st.integers(0, 400)).map(
        lambda m: framed(m[0].split(b"\r\n\r\n")[1], m[1])
    ),
    st.tuples(messages(), st.integers(1, 40)).map(lambda m: m[0][: -m[1]]),  # cut short
    messages().map(lambda m: m.replace(b"\r\n\r\n", b"\r\n", 1)),
    st.integers(0, 10**18).map(lambda n: b"Content-Length: %d\r\n\r\n" % n),
    st.sampled_from(["nested", "digits"]).map(lambda name: HUGE[name]),
)
mess = st.one_of(messages(), messages(), messages(), wrong)


class Client:
    """Writes bytes, and waits for the answers to its own requests."""

    def __init__(self, log: Path):
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cl_lsp"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self.sent = 0
        self._probes = 0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {},
                 "initializationOptions": {"completion": {"prefetch": False}}})  # fmt: skip
        self.notify("initialized", {})

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()
        self.sent += 1

    def notify(self, method: str, params: Any) -> None:
        self.write(framed(encoded({"jsonrpc": "2.0", "method": method, "params": params})))

    def ask(self, method: str, params: Any) -> dict[str, Any]:
        self._probes += 1
        ident = f"probe {self._probes}"
        message = {"jsonrpc": "2.0", "id": ident, "method": method, "params": params}
        self.write(framed(encoded(message)))
        while (answer := self._answers.get(timeout=30)).get("id") != ident:
            pass
        return answer

    def probe(self) -> list[dict[str, Any]]:
        """What is suggested in a document of its own, new each time."""
        uri = f"file:///work/probe{self._probes}.py"
        item = {"uri": uri, "version": 1, "languageId": "python", "text": "def f(x):\n    re\n"}
        # Whatever is waited for behind a header that lied ends with the next header.
        self.notify("workspace/didChangeConfiguration", {"settings": {"cl-lsp": {}}})
        self.notify("workspace/executeCommand", {})
        self.ask("workspace/executeCommand", {"command": "cl-lsp.resume"})
        self.notify("textDocument/didOpen", {"textDocument": item})
        at = {"line": 1, "character": 6}
        params = {"textDocument": {"uri": uri}, "position": at, "context": {"triggerKind": 1}}
        answer = self.ask("textDocument/inlineCompletion", params)
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        return answer["result"]["items"]

    def memory(self) -> int:
        """MiB that the server has resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) // 1024

    def close(self) -> int:
        self.ask("shutdown", None)
        self.notify("exit", None)
        code = self.process.wait(timeout=10)
        self._reader.join()
        return code

    def _read(self) -> None:
        out = self.process.stdout
        assert out is not None
        while header := out.readline():
            length = int(header.partition(b": ")[2])
            while out.readline().strip():
                pass
            message = json.loads(out.read(length))
            if "method" not in message:
                self._answers.put(message)
            elif "id" in message:  # an answer to the server's request, as wrong as all else
                self.write(framed(encoded({"jsonrpc": "2.0", "id": message["id"], "result": 1})))


@contextlib.contextmanager
def engine() -> Iterator[FakeEngine]:
    """One in a thread of its own, for a test that is no coroutine."""
    fake, stop = FakeEngine(text="turn x"), threading.Event()
    ready = threading.Event()

    async def run() -> None:
        async with serving(fake):
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(20)
    try:
        yield fake
    finally:
        stop.set()
        thread.join()
