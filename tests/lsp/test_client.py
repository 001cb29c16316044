"""The wire's client against a server that is told, byte by byte, what to send."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cl_lsp.client import EngineClient
from cl_lsp.errors import EngineDied
from cl_lsp.exchange import Chunk, CompletionRequest
from cl_lsp.wire import END_S, Address
from tests.lsp.typist import until

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices": [{"text": "x", "finish_reason": null}]}\n\n'
LAST = b'data: {"choices": [{"text": "", "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ENDED = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Told:
    """Answers every request with these bytes, and hangs up behind them if `hangs_up`."""

    def __init__(self, *answer: bytes, hangs_up: bool = False):
        self._answer, self._hangs_up = b"".join(answer), hangs_up
        self.connections = self.open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections, self.open = self.connections + 1, self.open + 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                writer.write(self._answer)
                if self._hangs_up:
                    break
        writer.close()
        await writer.wait_closed()
        self.open -= 1


@contextlib.asynccontextmanager
async def asking(told: Told, folder: Path) -> AsyncIterator[EngineClient]:
    uds = folder / "e.sock"
    async with await asyncio.start_unix_server(told, uds):
        client = EngineClient(Address(uds=uds))
        try:
            yield client
        finally:
            await client.close()
            await until(lambda: not told.open)


async def complete(client: EngineClient) -> list[Chunk]:
    request = CompletionRequest("a", "b", None, 8, "file:///a.py", "python", ("line",), "1")
    return [chunk async for chunk in client.complete(request)]


async def test_all_keys_share_a_connection(home: Path) -> None:
    told = Told(HEAD, chunk(EVENT), chunk(LAST), chunk(DONE), ENDED)
    async with asking(told, home) as client:
        for _ in range(3):
            assert await complete(client) == [Chunk("x"), Chunk("", "stop")]
    assert told.connections == 1


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_an_answer_is_whole_when_it_says_so(home: Path, hangs_up: bool) -> None:
    """Whether its body ends in another way than it should, or does not."""
    told = Told(HEAD, chunk(EVENT), chunk(LAST), chunk(DONE), hangs_up=hangs_up)
    began = time.monotonic()
    async with asking(told, home) as client:
        for _ in range(2):
            assert await complete(client) == [Chunk("x"), Chunk("", "stop")]
    assert told.connections == 2
    assert hangs_up or 2 * END_S <= time.monotonic() - began < 2 * END_S + 5


async def test_an_answer_that_breaks_off_is_none(home: Path) -> None:
    async with asking(Told(HEAD, chunk(EVENT), hangs_up=True), home) as client:
        with pytest.raises(EngineDied, match="broke off"):
            await complete(client)
    async with asking(Told(HEAD, chunk(EVENT), ENDED), home) as client:
        with pytest.raises(EngineDied, match="in mid-answer"):
            await complete(client)
