"""LSP over stdio, read by the event loop itself.

pygls reads in a thread: three hand-overs for each message, half a millisecond of every key. And it
loses its place in the stream at the first header that is wrong.
"""

import asyncio
import logging
import os
import stat
import sys
from threading import Thread
from typing import TYPE_CHECKING

from pygls.io_ import StdoutWriter

from .frames import Frames

if TYPE_CHECKING:
    from .robust import RobustProtocol, RobustServer

log = logging.getLogger(__name__)
CHUNK = 1 << 18  # bytes that are taken at once; a message may be longer


def start(server: "RobustServer") -> None:
    """Serve until the client is gone, or says `exit`: a SystemExit, with 1 if it said no `shutdown`
    before."""
    server.protocol.set_writer(StdoutWriter(sys.stdout.buffer))
    try:
        asyncio.run(_serve(server))
    except BrokenPipeError:
        log.error("the editor is gone")
    except KeyboardInterrupt:
        pass
    finally:
        server.shutdown()


async def _serve(server: "RobustServer") -> None:
    protocol: RobustProtocol = server.protocol
    reader = asyncio.StreamReader(limit=CHUNK)
    loop = asyncio.get_running_loop()
    if _selectable():
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
        )
    else:
        transport = None
        Thread(target=_pump, args=(loop, reader), daemon=True).start()
    frames = Frames()
    try:
        while data := await reader.read(CHUNK):
            frames.feed(data)
            while (body := frames.next()) is not None:
                if not protocol.receive(body):
                    frames.reject(body)
    finally:
        if transport is not None:
            transport.close()
        await server.close()


def _pump(loop: asyncio.AbstractEventLoop, reader: asyncio.StreamReader) -> None:
    """Of a stdin that the event loop cannot wait for: a thread does."""
    try:
        while data := os.read(0, CHUNK):
            loop.call_soon_threadsafe(reader.feed_data, data)
        loop.call_soon_threadsafe(reader.feed_eof)
    except (OSError, RuntimeError) as error:  # it is gone, or the loop has ended
        log.error("stdin: %s", error)


def _selectable() -> bool:
    """Whether stdin is a pipe or a socket of its own: then only we are not kept waiting by it."""
    if sys.platform == "win32":
        return False
    ours, theirs = os.fstat(0), os.fstat(1)
    kind = stat.S_ISFIFO(ours.st_mode) or stat.S_ISSOCK(ours.st_mode)
    return kind and (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino)
