"""A language client at the level of the wire: JSON-RPC over the server's stdio."""

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

URI = "file:///work/a.py"


class LspError(Exception):
    """The server answered with an error; `code` is JSON-RPC's."""

    def __init__(self, error: dict):
        super().__init__(error["message"])
        self.code = error["code"]


class LspClient:
    def __init__(self, process: asyncio.subprocess.Process):
        self.process = process
        self.notifications: list[dict] = []
        self.settings: dict[str | None, Any] = {}  # of the editor, by folder
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future] = {}
        self._reader = asyncio.create_task(self._read())
        self.version = 0
        self.answers: dict[str, Callable[[dict], Any]] = {}  # by method, over our own
        self.unanswered: set[str] = set()  # methods; a test answers by itself, or never

    async def _read(self) -> None:
        out = self.process.stdout
        assert out is not None
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                header = await out.readuntil(b"\r\n\r\n")
                fields = dict(line.split(b": ") for line in header.strip().split(b"\r\n"))
                message = json.loads(await out.readexactly(int(fields[b"Content-Length"])))
                if "method" not in message:
                    self._resolve(message)
                elif "id" in message:
                    self.notifications.append(message)
                    if message["method"] not in self.unanswered:
                        self.send({"id": message["id"], "result": self._answer(message)})
                else:
                    self.notifications.append(message)

    def _answer(self, request: dict) -> Any:
        if (answer := self.answers.get(request["method"])) is not None:
            return answer(request["params"])
        match request["method"]:
            case "window/showDocument":
                return {"success": True}
            case "workspace/configuration":
                items = request["params"]["items"]
                return [self.settings.get(item.get("scopeUri")) for item in items]
        return None

    def _resolve(self, message: dict) -> None:
        future = self._replies.pop(message["id"])
        if future.cancelled():
            return
        if "error" in message:
            future.set_exception(LspError(message["error"]))
        else:
            future.set_result(message["result"])

    def send(self, message: dict) -> None:
        body = json.dumps({"jsonrpc": "2.0"} | message).encode()
        self.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def notify(self, method: str, params: Any) -> None:
        self.send({"method": method, "params": params})

    def request(self, method: str, params: Any) -> asyncio.Future:
        ident = next(self._ids)
        future = self._replies[ident] = asyncio.get_running_loop().create_future()
        future.ident = ident  # type: ignore[attr-defined]
        self.send({"id": ident, "method": method, "params": params})
        return future

    async def initialize(
        self,
        *,
        inline: bool = True,
        encodings: list[str] | None = None,
        options: Any = None,
        more: dict[str, Any] | None = None,
        root: str | None = None,
        folders: list[str] | None = None,
        notebooks: bool = False,
        able: dict[str, Any] | None = None,
    ) -> dict:
        """`more`: further capabilities below `textDocument`, `able` beside it; nothing is
        prefetched or cut short by default.

        `root` and `folders` are URIs of the workspace.
        """
        if options is None or isinstance(options, dict):
            completion = {"prefetch": False, "warming": False, "timeBudgetMs": 0}
            completion |= (options or {}).get("completion", {})
            options = (options or {}) | {"completion": completion}
        text_document: dict[str, Any] = {"inlineCompletion": {}} if inline else {}
        capabilities: dict[str, Any] = {
            "textDocument": text_document | (more or {}),
            "window": {"workDoneProgress": True, "showDocument": {"support": True}},
        }
        if notebooks:
            capabilities["notebookDocument"] = {"synchronization": {}}
        capabilities |= able or {}
        if encodings:
            capabilities["general"] = {"positionEncodings": encodings}
        params = {
            "processId": None,
            "rootUri": root,
            "workspaceFolders": folders and [{"uri": uri, "name": "w"} for uri in folders],
            "capabilities": capabilities,
            "initializationOptions": options,
        }
        result = await self.request("initialize", params)
        self.notify("initialized", {})
        return result["capabilities"]

    def open(self, text: str, uri: str = URI, language: str = "python") -> None:
        self.version = 1
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def insert(self, text: str, line: int, character: int, uri: str = URI) -> None:
        self.version += 1
        at = {"line": line, "character": character}
        self.notify(
            "textDocument/didChange",
            {
                "textDocument": {"uri": uri, "version": self.version},
                "contentChanges": [{"range": {"start": at, "end": at}, "text": text}],
            },
        )

    def inline(self, line: int, character: int, uri: str = URI) -> asyncio.Future:
        return self.request(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
                "context": {"triggerKind": 2},
            },
        )

    def completion(self, line: int, character: int, uri: str = URI) -> asyncio.Future:
        return self.request(
            "textDocument/completion",
            {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}},
        )

    def code_actions(
        self, start: tuple[int, int], end: tuple[int, int], uri: str = URI, **context: Any
    ) -> Any:
        at = [{"line": line, "character": character} for line, character in (start, end)]
        return self.request(
            "textDocument/codeAction",
            {
                "textDocument": {"uri": uri},
                "range": {"start": at[0], "end": at[1]},
                "context": {"diagnostics": []} | context,
            },
        )

    def states(self) -> list[dict]:
        """What a status line was told."""
        return [n["params"] for n in self.notifications if n["method"] == "cl-lsp/status"]

    async def told(self, condition: Callable[[], Any], seconds: float = 5) -> Any:
        """Wait until the server has said something."""
        async with asyncio.timeout(seconds):
            while not (found := condition()):
                await asyncio.sleep(0.01)
        return found

    def messages(self) -> list[str]:
        """What was shown to the user."""
        shown = [n for n in self.notifications if n["method"] == "window/showMessage"]
        return [n["params"]["message"] for n in shown]

    def logged(self) -> list[str]:
        """What the editor's log got."""
        logged = [n for n in self.notifications if n["method"] == "window/logMessage"]
        return [n["params"]["message"] for n in logged]

    def command(self, name: str, *arguments: Any) -> asyncio.Future:
        params = {"command": name, "arguments": list(arguments)}
        return self.request("workspace/executeCommand", params)

    async def shutdown(self) -> int:
        await self.request("shutdown", None)
        self.notify("exit", None)
        return await asyncio.wait_for(self.process.wait(), 10)


@contextlib.asynccontextmanager
async def language_server(*args: str) -> AsyncIterator[LspClient]:
    """`cl-lsp` over stdio; killed at the end if it has not ended by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cl_lsp",
        *args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=64 << 20,
    )
    client = LspClient(process)
    try:
        yield client
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        assert process.stdin is not None
        process.stdin.close()
        await client._reader
