"""An editor's requests to a language server of this process, so that its tasks can be seen."""

import asyncio
import itertools
from collections.abc import Callable

from cl_lsp.backend import Local
from cl_lsp.client import EngineClient
from cl_lsp.completion import Suggestion
from cl_lsp.documents import Snapshot
from cl_lsp.server import ClLsp
from tests.lsp.client import URI
from tests.lsp.fake_engine import FakeEngine

AFTER = "\nprint(1)\n"


class Typist:
    def __init__(self, ls: ClLsp, engine: FakeEngine):
        self.ls, self.engine = ls, engine
        ls.scopes.options = {"completion": {"prefetch": False, "timeBudgetMs": 0}}
        self.said: list[str] = []
        self._versions = itertools.count(1)
        ls.say_once = lambda message, *_: self.said.append(message)  # type: ignore[method-assign]
        ls.window_log_message = lambda params: None  # type: ignore[method-assign]

    async def ask(
        self, before: str, after: str = AFTER, method: str = "inline"
    ) -> "asyncio.Task[Suggestion | None]":
        """Returns as soon as the engine has the request."""
        already = len(self.engine.streams)
        task = self.ask_soon(before, after, method)
        await until(lambda: len(self.engine.streams) > already or task.done())
        return task

    def ask_soon(
        self, before: str, after: str = AFTER, method: str = "inline"
    ) -> "asyncio.Task[Suggestion | None]":
        return asyncio.create_task(self.ls.suggesting.one(method, self.snapshot(before, after)))

    def snapshot(self, before: str, after: str = AFTER) -> Snapshot:
        return Snapshot(URI, next(self._versions), "python", before + after, len(before))

    def work(self) -> list[asyncio.Task]:
        coroutines = ((task, task.get_coro()) for task in asyncio.all_tasks())
        return [task for task, c in coroutines if "_suggest" in getattr(c, "__qualname__", "")]

    def client(self) -> EngineClient:
        backend = self.ls.engines.of("completion")
        assert isinstance(backend, Local)
        return backend.client

    def at_rest(self) -> bool:
        """No task, no open stream, and no connection of the client in use."""
        return not (self.engine.open or self.work() or self.client().connections)


async def shown(asked: "asyncio.Task[Suggestion | None]") -> str:
    found = await asked
    assert found is not None
    return found.text


async def until(condition: Callable[[], object], seconds: float = 3) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)
