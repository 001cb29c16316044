"""Whoever answers: the user's daemon, or a server elsewhere. The one seam between the two."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .breaker import Breaker
from .client import EngineClient
from .config import EMBEDDED, EngineConfig
from .context import Windows
from .daemon import Daemon, anywhere, user_address
from .errors import CannotStart, EngineBusy, EngineDied, EngineResting
from .exchange import ChatRequest, Chunk, CompletionRequest
from .patience import Patience

RETRY_S = 30  # after a daemon that did not start

Report = Callable[[float], None]  # told the seconds that one has waited so far


@dataclass(frozen=True)
class Traits:
    """What the editor's side must know of an engine.

    `structured`: it ends a text by the rules of `stop_at`, and says which one did. `windows`: how
    much of a document it is sent.
    """

    structured: bool = True
    windows: Windows = Windows()


class Backend(Protocol):
    """One engine, as the language server sees it. All may raise EngineGone or EngineRefused."""

    title: str  # for people, while they wait for it
    model: str | None  # that is asked for
    local: bool

    @property
    def name(self) -> str | None:
        """Of the model that answers, as far as it is known."""
        ...

    async def ready(self, report: Report) -> None:
        """Return when it can be asked."""
        ...

    async def traits(self) -> Traits: ...

    async def refusals(self, *, fresh: bool = False) -> dict[str, str]:
        """Why the model lacks a capability, by its name; as known, or if `fresh` as it was some
        seconds ago at most."""
        ...

    def forget(self) -> None:
        """What is known of the models."""
        ...

    async def models(self) -> list[dict[str, Any]]:
        """A card for each model that may be asked for, the default one first; `id` is certain."""
        ...

    def complete(
        self, request: CompletionRequest, received: Callable[[], None]
    ) -> AsyncGenerator[Chunk]:
        """Chunks as they come; `received` is called when the engine begins to answer."""
        ...

    def chat(self, request: ChatRequest) -> AsyncGenerator[Chunk]: ...

    async def close(self) -> None: ...


class Local:
    """The user's daemon, started if need be; one that keeps dying is left alone for a while."""

    local = True

    def __init__(self, config: EngineConfig, client: EngineClient | None = None):
        config = anywhere(config)
        self.model = self.name = config.model
        self.title = f"loading {config.model or EMBEDDED}"
        self.client = client or EngineClient(user_address())
        self._daemon = Daemon(self.client, config)
        self._patience = Patience(self._daemon.check)
        self._breaker = Breaker()

    async def ready(self, report: Report) -> None:
        if pause := self._breaker.pause_s:
            raise EngineResting(f"{self._breaker.reason}; next try in {pause:.0f} s")
        try:
            self.name = await self._daemon.ensure(report)
        except CannotStart as error:
            self._breaker.failed(str(error), RETRY_S)
            raise

    async def traits(self) -> Traits:
        return Traits()

    async def refusals(self, *, fresh: bool = False) -> dict[str, str]:
        return await self._patience.wait(self.client.refusals(self.model, fresh=fresh))

    def forget(self) -> None:
        self.client.forget()

    async def models(self) -> list[dict[str, Any]]:
        return await self._patience.wait(self.client.models())

    def complete(
        self, request: CompletionRequest, received: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Chunk]:
        return watched(self.client.complete(request, received), self._breaker, self._patience)

    def chat(self, request: ChatRequest) -> AsyncGenerator[Chunk]:
        return watched(self.client.chat(request), self._breaker, self._patience)

    async def close(self) -> None:
        await self.client.close()


async def watched(
    chunks: AsyncGenerator[Chunk], breaker: Breaker, patience: Patience | None = None
) -> AsyncGenerator[Chunk]:
    """The same chunks; the breaker learns how it ended, unless the reader left."""
    try:
        while True:
            coming = anext(chunks, None)
            chunk = await (patience.wait(coming) if patience else coming)
            if chunk is None:
                return
            if chunk.finish_reason is not None:
                breaker.succeeded()
            yield chunk
    except EngineDied as error:
        breaker.failed(str(error))
        raise
    except EngineBusy as error:
        breaker.failed(str(error), error.retry_s)
        raise
    except CannotStart as error:
        breaker.failed(str(error), RETRY_S)
        raise
    finally:
        await chunks.aclose()
