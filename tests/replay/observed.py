"""The real language server in this process, behind the real wire, with a note of what answered.

Messages go through memory instead of pipes; all else is what an editor gets.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from cl_lsp.answers import Answer
from cl_lsp.completion import Suggestion
from cl_lsp.documents import Snapshot
from cl_lsp.server import ClLsp
from cl_lsp.suggesting import Suggesting
from cl_lsp.trace import Record
from tests.lsp.client import LspClient


class Noting(Suggesting):
    """`note` is told what answered a request, and with which suggestion; None: it was overtaken."""

    def __init__(self, ls: ClLsp, note: Callable[[str, Suggestion | None], None]):
        super().__init__(ls)
        self.note = note

    async def one(
        self, method: str, snapshot: Snapshot, record: Record | None = None
    ) -> Suggestion | None:
        found = await super().one(method, snapshot, record)
        mine = (r.source for r in self._ls.trace._records if found and r.found is found)
        source = next(mine, "")
        self.note(source if source in ("typed", "prefetched") else "", found)
        return found

    async def _suggest(self, answer: Answer) -> Suggestion:
        found = await super()._suggest(answer)
        if found.stop_reason == "adopted":  # a newer one went on with it
            self.note("adopted", None)
        return found


class Observed(ClLsp):
    """Notes what it says, too."""

    def __init__(self, note: Callable[[str, Suggestion | None], None]):
        super().__init__()
        self.suggesting = Noting(self, note)
        self.problems: list[str] = []
        self.say_once = lambda message, *_: self.problems.append(message)  # type: ignore[method-assign]

    async def indexed(self, seconds: float = 20) -> None:
        """The workspace is read, if somebody wants to know of it. Raises TimeoutError."""
        if not self.scopes.of(self.scopes.main).completion.snippets:
            return
        async with asyncio.timeout(seconds):
            while not all(index.ready for index in self.workspace.indexes.values()):
                await asyncio.sleep(0.05)

    async def background(self, seconds: float) -> None:
        """So long, or until the server does nothing any more."""
        tasks = {t for t in asyncio.all_tasks() if "_suggest" in str(t.get_coro())}
        if tasks and seconds > 0:
            await asyncio.wait(tasks, timeout=seconds)


class _Pipe:
    """What the server writes to, and, as `stdin`, what the client writes to."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(limit=64 << 20)

    def write(self, data: bytes) -> None:
        self.reader.feed_data(data)

    def close(self) -> None:
        self.reader.feed_eof()


class _Process:
    """As much of one as `LspClient` uses."""

    def __init__(self, to_server: _Pipe, to_client: _Pipe):
        self.stdin, self.stdout = to_server, to_client.reader


async def _serve(ls: ClLsp, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            header = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(header.split(b":")[1]))
            ls.protocol.receive(body)


@contextlib.asynccontextmanager
async def connected(ls: ClLsp) -> AsyncIterator[LspClient]:
    """A client of `ls`, which serves until the end."""
    to_server, to_client = _Pipe(), _Pipe()
    ls.protocol.set_writer(to_client)  # type: ignore[arg-type]
    serving = asyncio.create_task(_serve(ls, to_server.reader))
    client = LspClient(_Process(to_server, to_client))  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await asyncio.wait_for(client.request("shutdown", None), 20)
        to_server.close()
        await asyncio.wait({serving})
        to_client.close()
        await client._reader
