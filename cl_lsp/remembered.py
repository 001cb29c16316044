"""An answer that is kept for some seconds, and shared by all who want it meanwhile."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """What `ask` answered, not older than `seconds`; errors are told to those who wait, and asked
    again. `whose` changes when somebody else would answer: then nothing is kept."""

    def __init__(
        self,
        ask: Callable[[], Coroutine[Any, Any, T]],
        seconds: float,
        whose: Callable[[], object] = lambda: None,
    ):
        self._ask, self._seconds, self._whose = ask, seconds, whose
        self._asked: asyncio.Task[T] | None = None
        self._from: object = None
        self._since = 0.0

    async def get(self) -> T:
        """Raises what `ask` does. The cancel of one who waits ends nothing for the others."""
        if self._asked is None or self._is_old(self._asked) or self._from != self._whose():
            self._from = self._whose()
            self._asked = asyncio.create_task(self._ask())
            self._asked.add_done_callback(self._on_done)
        return await asyncio.shield(self._asked)

    def forget(self) -> None:
        self._asked = None

    def _is_old(self, asked: asyncio.Task[T]) -> bool:
        if not asked.done():
            return False
        failed = asked.cancelled() or asked.exception() is not None
        return failed or time.monotonic() - self._since >= self._seconds

    def _on_done(self, asked: asyncio.Task[T]) -> None:
        if asked is self._asked:
            self._since = time.monotonic()
        if not asked.cancelled():
            asked.exception()  # told to those who wait, if there still are any
