"""Patience with an engine that says nothing: it may be at work for minutes, or hang."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .errors import CannotStart

T = TypeVar("T")
SILENCE_S = 10.0  # after which it is asked whether it lives


class Patience:
    """Of all who wait for one engine. `check` raises CannotStart if it is there and hangs.

    That a newer request takes the place of an older one does not begin the silence anew.
    """

    def __init__(self, check: Callable[[], Awaitable[None]]):
        self._check = check
        self._waiting: set[asyncio.Timeout] = set()
        self._since: float | None = None  # of the silence
        self._watch: asyncio.Task[None] | None = None
        self._error = CannotStart()

    async def wait(self, what: Awaitable[T]) -> T:
        """Its result. Raises CannotStart as soon as it is clear that none comes."""
        limit = asyncio.timeout(None)
        if self._since is None:
            self._since = asyncio.get_running_loop().time()
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look())
        try:
            async with limit:
                self._waiting.add(limit)
                result = await what
        except TimeoutError as error:
            if limit.expired():
                raise self._error from error
            raise
        finally:
            self._waiting.discard(limit)
        self._since = asyncio.get_running_loop().time() if self._waiting else None
        return result

    async def _look(self) -> None:
        """Until there is nothing to wait for."""
        loop = asyncio.get_running_loop()
        while self._since is not None:
            if (rest := self._since + SILENCE_S - loop.time()) > 0:
                await asyncio.sleep(rest)
                continue
            if not self._waiting:
                return
            try:
                await self._check()
                self._since = self._since and loop.time()
            except CannotStart as error:
                self._error = error
                for limit in self._waiting:
                    limit.reschedule(loop.time())
                return
