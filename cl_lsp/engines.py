"""The engines behind one language server: which one a role asks, its start, one more try."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
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
    """`config_of` has the settings of a document. `say` shows something to the user; `progress`
    gives whoever waits under a title its clock."""

    def __init__(
        self,
        config_of: Callable[[str], Config],
        say: Callable[[str], None],
        progress: Callable[[str], AbstractAsyncContextManager[Report]],
    ):
        self._config_of, self._say, self._progress = config_of, say, progress
        self._backends: dict[EngineConfig, Backend] = {}
        self._starting: dict[EngineConfig, asyncio.Task[None]] = {}

    def check(self, configs: Iterable[Config]) -> None:
        """The settings are others: warn of where code would go; what is known of models is old."""
        for backend in self._backends.values():
            backend.forget()
        for part in {part for config in configs for part in (config.engine, config.chat_engine)}:
            if part.endpoint is not None and (warning := check_endpoint(part)):
                self._say(warning)

    def of(self, role: Role, uri: str = "") -> Backend:
        """For a document, or for what is in no folder. Raises ClLspError if there can be none."""
        config = self._wanted(role, uri)
        if config not in self._backends:
            self._backends[config] = Local(config) if config.endpoint is None else Remote(config)
        return self._backends[config]

    async def ready(self, role: Role, uri: str = "") -> None:
        """Return when it can be asked. All who wait share one start, which no cancel ends."""
        config, backend = self._wanted(role, uri), self.of(role, uri)
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
        uri: str = "",
    ) -> T:
        """What the engine answers; once more if it was not there, or has ended meanwhile.

        A server elsewhere is asked again only if nothing had come of the request. `again` is
        whether anybody still wants it.
        """
        backend = self.of(role, uri)
        try:
            return await what(backend)
        except EngineGone as error:
            if not again() or not (backend.local or error.safe):
                raise
            if isinstance(error, EngineDied) and backend.local:
                self._say(f"{error}; starting it again")
            log.info("asking again: %s", error)
        await self.ready(role, uri)
        return await what(self.of(role, uri))

    async def restart(self) -> None:
        """Forget the connections, and what is known of who answers; all is found out anew."""
        await self.close()
        self._backends.clear()
        self._starting.clear()

    async def close(self) -> None:
        for task in self._starting.values():
            task.cancel()
        for backend in self._backends.values():
            await backend.close()

    def _wanted(self, role: Role, uri: str) -> EngineConfig:
        config = self._config_of(uri)
        return config.engine if role == "completion" else config.chat_engine
