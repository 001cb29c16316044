"""LSP over stdio, read by the event loop itself.

pygls reads in a thread: three hand-overs for each message, half a millisecond of every key.
"""

import asyncio
import contextlib
import logging
import os
import stat
import sys
from functools import partial
from threading import Event

from pygls.io_ import StdoutWriter, run_async
from pygls.lsp.server import LanguageServer

log = logging.getLogger(__name__)
CHUNK = 1 << 20  # bytes that are taken at once; a message may be longer


def start(server: LanguageServer) -> None:
    """Serve until the client says `exit`, or is gone."""
    if not _selectable():
        server.start_io()
        return
    server.protocol.set_writer(StdoutWriter(sys.stdout.buffer))
    try:
        asyncio.run(_serve(server))
    except BrokenPipeError:
        log.error("the editor is gone")
    except (KeyboardInterrupt, SystemExit):
        pass
    finally:
        server.shutdown()


async def _serve(server: LanguageServer) -> None:
    reader = asyncio.StreamReader(limit=CHUNK)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    read = partial(run_async, Event(), reader, server.protocol, log, server.report_server_error)
    try:
        while not reader.at_eof():
            with contextlib.suppress(ValueError):  # a line of a megabyte is no header: it is lost
                await read()
    except asyncio.IncompleteReadError:
        log.error("the editor is gone in mid-message")
    finally:
        transport.close()


def _selectable() -> bool:
    """Whether stdin is a pipe or a socket of its own: then only we are not kept waiting by it."""
    if sys.platform == "win32":
        return False
    ours, theirs = os.fstat(0), os.fstat(1)
    kind = stat.S_ISFIFO(ours.st_mode) or stat.S_ISSOCK(ours.st_mode)
    return kind and (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino)
