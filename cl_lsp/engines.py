"""The engines behind one language server: which one a role asks, its start, one more try."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, TypeVar

from .backend import Backend, Local, Report
from .config import Config, EngineConfig
from .errors import EngineDied, EngineGone
from .remote import Remote, check_endpoint

log = logging.getLogger(__name__)
Role = Literal["completion", "chat"]
T = TypeVar("T")


class Engines:
    """`say` shows something to the user; `progress` gives whoever waits under a title its clock."""

    def __init__(
        self,
        config: Config,
        say: Callable[[str], None],
        progress: Callable[[str], AbstractAsyncContextManager[Report]],
    ):
        self._config, self._say, self._progress = config, say, progress
        self._backends: dict[EngineConfig, Backend] = {}
        self._starting: dict[EngineConfig, asyncio.Task[None]] = {}

    def configure(self, config: Config) -> None:
        """From now on; what is under way ends as it began."""
        self._config = config
        for part in (config.engine, config.chat_engine):
            if part.endpoint is not None and (warning := check_endpoint(part)):
                self._say(warning)

    def of(self, role: Role) -> Backend:
        """Raises ClLspError if there can be none."""
        config = self._wanted(role)
        if config not in self._backends:
            self._backends[config] = Local(config) if config.endpoint is None else Remote(config)
        return self._backends[config]

    async def ready(self, role: Role) -> None:
        """Return when it can be asked. All who wait share one start, which no cancel ends."""
        config, backend = self._wanted(role), self.of(role)
        task = self._starting.get(config)
        if task is None or task.done():
            task = self._starting[config] = asyncio.create_task(self._start(backend))
        await asyncio.shield(task)

    async def _start(self, backend: Backend) -> None:
        async with self._progress(f"cl-lsp: {backend.title}") as report:
            await backend.ready(report)

    async def ask(
        self,
        role: Role,
        what: Callable[[Backend], Awaitable[T]],
        again: Callable[[], bool] = lambda: True,
    ) -> T:
        """What the engine answers; once more if it was not there, or has ended meanwhile.

        A server elsewhere is asked again only if nothing had come of the request. `again` is
        whether anybody still wants it.
        """
        backend = self.of(role)
        try:
            return await what(backend)
        except EngineGone as error:
            if not again() or not (backend.local or error.safe):
                raise
            if isinstance(error, EngineDied) and backend.local:
                self._say(f"{error}; starting it again")
            log.info("asking again: %s", error)
        await self.ready(role)
        return await what(backend)

    async def close(self) -> None:
        for task in self._starting.values():
            task.cancel()
        for backend in self._backends.values():
            await backend.close()

    def _wanted(self, role: Role) -> EngineConfig:
        return self._config.engine if role == "completion" else self._config.chat_engine
