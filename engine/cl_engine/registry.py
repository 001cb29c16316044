"""The models of one daemon: who is asked for what, which are in memory, which make room for others.

All of it in asyncio's thread; each engine has a thread of its own.
"""

import asyncio
import contextlib
import gc
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from .bar import loading_bar, making_bar
from .catalogue import EMBEDDED
from .core import HEADROOM
from .errors import DeviceLost, NoRoom, UnknownModel
from .facts import Facts, read_facts
from .hub import canonical_name
from .kernels import Kernels
from .listing import rows
from .loader import LoadedModel, Need, free_memory, memory_needed
from .loop import Engine
from .metrics import Metrics
from .template import ChatTemplateConfig

log = logging.getLogger(__name__)
Role = Literal["completion", "chat"]


@dataclass(frozen=True)
class Options:
    """Of every engine of a daemon; `Engine` says what they mean."""

    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    kv_memory: int | None = None  # bytes
    kernels: Kernels = "auto"
    speculate: bool = True


class Registry:
    """`model` answers whoever names none, `chat_model` (None: the same) whoever chats.

    `template` decides what chats with the latter become. `others`: whether any model of this disk
    is loaded when it is asked for. What is idle is let go of, the least recently used first, when
    another needs its memory.
    """

    def __init__(
        self,
        model: str,
        options: Options | None = None,
        *,
        chat_model: str | None = None,
        template: ChatTemplateConfig | None = None,
        others: bool = False,
        free: Callable[[torch.device], int | None] = free_memory,
    ):
        self._options = options or Options()
        self._default = canonical_name(model)
        self._chat = self._default if chat_model is None else canonical_name(chat_model)
        self._template, self._others, self._free = template, others, free
        self._facts: dict[str, Facts] = {}
        self._held: dict[str, Engine] = {}
        self._loading = asyncio.Lock()
        self._last_used = time.monotonic()
        self.metrics = Metrics()

    @property
    def default(self) -> str:
        return self._default

    @property
    def engines(self) -> list[Engine]:
        """Those in memory, or on their way there."""
        return list(self._held.values())

    @property
    def active(self) -> int:
        """Calls under way, also those that have no answer yet."""
        return sum(max(engine.active, engine.users) for engine in self._held.values())

    @property
    def last_used(self) -> float:
        """On `time.monotonic`'s clock."""
        return max([self._last_used, *(engine.last_used for engine in self._held.values())])

    @property
    def lost(self) -> DeviceLost | None:
        """What ended an engine while it served: this process can compute no more."""
        return next((engine.lost for engine in self._held.values() if engine.lost), None)

    def state(self, name: str) -> str:
        """loading, ok, failed or unloaded."""
        held = self._held.get(name)
        return held.state if held else "unloaded"

    def held(self, name: str) -> Engine | None:
        return self._held.get(name)

    def name_of(self, asked: str | None, role: Role = "completion") -> str:
        """The model that is meant. Raises UnknownModel if it is not for this daemon to serve."""
        if asked is None:
            return self._chat if role == "chat" else self._default
        path = os.path.expanduser(asked)  # Path's raise where a name is too long, or nobody's
        if asked != EMBEDDED and not os.path.isabs(path) and os.path.exists(path):
            raise UnknownModel(f"{asked!r}: give a directory by its absolute path")
        name = canonical_name(asked)
        served = list(dict.fromkeys((self._default, self._chat)))
        if name not in served and not self._others:
            mine = " and ".join(map(repr, served))
            raise UnknownModel(f"this server serves {mine}, not {asked!r}")
        return name

    def template(self, name: str) -> ChatTemplateConfig | None:
        return self._template if name == self._chat else None

    def facts(self, name: str) -> Facts:
        """Of a model on this disk. Raises UnknownModel or BrokenCheckpoint."""
        if name not in self._facts:
            self._facts[name] = read_facts(name)
        return self._facts[name]

    async def known(self, name: str) -> Facts:
        """The same, beside other work if it has to be read."""
        if name not in self._facts:
            await asyncio.to_thread(self.facts, name)
        return self._facts[name]

    def wanted(self) -> Iterator[str]:
        """Those of a role, loaded or not, and those in memory; the default one first."""
        yield from dict.fromkeys((self._default, self._chat, *self._held))

    def names(self) -> Iterator[str]:
        """All that may be asked for, the default one first."""
        found = list(self.wanted())
        if self._others:
            found += [canonical_name(row.hub_id or row.name) for row in rows() if row.path]
        yield from dict.fromkeys(found)

    def context(self, name: str) -> int | None:
        """`--context` is for the default model; another may be made for less."""
        wanted = self._options.context
        if wanted is None or name == self._default:
            return wanted
        return min(wanted, self.facts(name).config.context)

    def need(self, name: str) -> Need:
        """The memory that it takes, at least."""
        options = self._options
        return memory_needed(self.facts(name), options.device, options.dtype, self.context(name))

    @contextlib.asynccontextmanager
    async def use(
        self, asked: str | None, role: Role = "completion"
    ) -> AsyncIterator[tuple[Engine, LoadedModel]]:
        """A model, loaded if need be; it stays until the block ends, as during every answer.

        Raises UnknownModel, NoRoom, or what went wrong while it was loaded.
        """
        engine = await self.engine(self.name_of(asked, role))
        engine.users += 1
        try:
            yield engine, await engine.model()
        finally:
            engine.users -= 1
            engine.last_used = time.monotonic()

    async def engine(self, name: str) -> Engine:
        """The engine of a model, which begins to load if it was not there. Raises as `use`."""
        if (held := self._usable(name)) is not None:
            return held
        async with self._loading:  # one by one: what is free is known when the last one is there
            if (held := self._usable(name)) is not None:
                return held
            await self.known(name)
            for other in self.engines:
                await asyncio.wait([asyncio.wrap_future(other.loaded)])
            if (failed := self._held.pop(name, None)) is not None:
                await self._let_go(failed)
            if self._held:
                await self._make_room(name)
            return self._start(name)

    async def unload(self, name: str) -> bool:
        """Let go of an idle model; False if it is busy, loading or not there."""
        engine = self._held.get(name)
        if engine is None or _busy(engine) or engine.state == "loading":
            return False
        await self._unload(name)
        return True

    async def unload_idle(self, after_s: float) -> None:
        """All models that nobody has used for so long."""
        for engine in self.engines:
            if time.monotonic() - engine.last_used > after_s:
                await self.unload(engine.model_name)

    def stop(self) -> None:
        """End all threads; what is under way ends with an error of its own."""
        for engine in self.engines:
            engine.stop()

    def _usable(self, name: str) -> Engine | None:
        held = self._held.get(name)
        if held is not None and held.lost is not None:
            raise held.lost
        return None if held is None or held.state == "failed" else held

    def _start(self, name: str) -> Engine:
        options = self._options
        engine = Engine(
            name,
            device=options.device,
            dtype=options.dtype,
            context=self.context(name),
            kv_memory=options.kv_memory,
            kernels=options.kernels,
            speculate=options.speculate,
            progress=loading_bar(name),
            making=making_bar(),
            metrics=self.metrics,
        )
        self._held[name] = engine
        loop = asyncio.get_running_loop()

        def on_loaded(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(_keep)

        engine.loaded.add_done_callback(on_loaded)
        engine.start()
        return engine

    async def _make_room(self, name: str) -> None:
        """Unload until it fits. Raises NoRoom, having unloaded nothing that would not have helped.

        What is freed is known only afterwards; what could be at most is reckoned before.
        """
        need = self.need(name)
        size = need.weights + max(need.kv_cache, self._options.kv_memory or 0)
        size += HEADROOM if need.device.type == "cuda" else 0
        while (free := self._free(need.device)) is not None and free < size:
            idle = [e for e in self.engines if not _busy(e) and e.state == "ok"]
            if not idle or free + sum(e.memory.total for e in idle) < size:
                busy = ", ".join(e.model_name for e in self.engines if _busy(e))
                there = f"{_gib(free)} are free"
                held = f", and {busy} is in use" if busy else ""
                raise NoRoom(f"{name} needs {_gib(size)} of memory: {there}{held}")
            oldest = min(idle, key=lambda engine: engine.last_used)
            log.info("%s makes room for %s", oldest.model_name, name)
            await self._unload(oldest.model_name)

    async def _unload(self, name: str) -> None:
        engine = self._held.pop(name)
        self._last_used = max(self._last_used, engine.last_used)
        await self._let_go(engine)
        log.info("%s is unloaded", name)

    async def _let_go(self, engine: Engine) -> None:
        await asyncio.to_thread(engine.stop)
        engine.forget()
        gc.unfreeze()  # what was there when a model was loaded is not looked at otherwise
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _busy(engine: Engine) -> bool:
    return engine.active + engine.users > 0


def _keep() -> None:
    """What is there now stays: later collections need not look at it."""
    gc.collect()
    gc.freeze()


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
