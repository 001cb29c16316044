"""The language server's end of the process that indexes: starts it, tells it, and hears it.

Nothing here waits for it. If it dies it is started once more; dead twice, there is no index.
"""

import asyncio
import contextlib
import logging
import marshal
import sys
from collections.abc import Callable
from typing import Any

from .pipes import SIZE, frame

log = logging.getLogger(__name__)
STARTS = 2
TEXTS = ("edited", "closed")  # of an open document: its folder and path follow
# -P: it is started in the project, whose struct.py is not to be run.
COMMAND = (sys.executable, "-P", "-m", "cl_lsp.indexer")


class Indexing:
    """One process for all folders. `hear` gets what it says, `lost` is called when it has died."""

    def __init__(self, hear: Callable[..., None], lost: Callable[[], None]):
        self._hear, self._lost = hear, lost
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._starting: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self._over = False  # died too often

    def start(self) -> None:
        """Unless it was started before."""
        self._task = self._task or asyncio.create_task(self._run())

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def say(self, *message: Any) -> None:
        """Is sent as soon as the process runs."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.write(frame(message))
        elif not self._over:  # of texts the last counts: who never starts it keeps no others
            self._starting[message[:3] if message[0] in TEXTS else message[:1]] = message

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        for _ in range(STARTS):
            try:
                process = await self._started()
            except OSError as error:
                log.error("cannot start %s: %s", COMMAND, error)
                continue
            try:
                await self._listen(process)
            except asyncio.IncompleteReadError:
                log.error("the process that indexes has died")
            finally:
                self._process = None
                await _end(process)
            self._starting.clear()
            self._lost()
        self._over = True

    async def _started(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*COMMAND, stdin=pipe, stdout=pipe)
        self._process = process
        for message in self._starting.values():
            self.say(*message)
        self._starting.clear()
        return process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            size = int.from_bytes(await process.stdout.readexactly(SIZE), "little")
            self._hear(*marshal.loads(await process.stdout.readexactly(size)))
            await asyncio.sleep(0)  # a key goes before the next file


async def _end(process: asyncio.subprocess.Process) -> None:
    """It ends by itself when nobody speaks any more; in case it does not, it is killed."""
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
