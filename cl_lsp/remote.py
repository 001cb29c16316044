"""A server elsewhere as a backend: found out once, and left alone while it does not answer."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from .backend import Report, Traits, watched
from .breaker import Breaker
from .client import EngineClient
from .config import EngineConfig
from .context import Windows
from .dialects import Dialect, Server, recognise
from .errors import EngineBusy, EngineGone, EngineRefused, EngineResting
from .exchange import ChatRequest, Chunk, CompletionRequest
from .wire import Address, Wire

# llama.cpp's /infill takes 1,536 tokens before the cursor, counted from its end: a longer window
# would lose its beginning anew with every key, and with it all that is cached.
SMALL = Windows(prefix=3600, suffix=1200, step=900)


class Remote:
    """One endpoint. While it does not answer it is left alone, ever longer (`Breaker`)."""

    local = False

    def __init__(self, config: EngineConfig):
        assert config.endpoint is not None
        self._config = config
        self._wire = Wire(Address.of(config.endpoint, config.api_key), config.timeout_seconds)
        self._ours = EngineClient(self._wire.address, config.timeout_seconds)
        self._found: tuple[Server, Dialect] | None = None
        self._infills = True
        self._breaker = Breaker()
        self.model = config.model
        self.title = f"asking {self._wire.address}"

    @property
    def name(self) -> str | None:
        return self._found[0].model if self._found else self.model

    @property
    def address(self) -> Address:
        return self._wire.address

    async def ready(self, report: Report = lambda seconds: None) -> None:
        self._found = None
        await self.find()

    async def find(self) -> tuple[Server, Dialect]:
        """What it is, and how it is spoken to. Raises as all here."""
        if pause := self._breaker.pause_s:
            raise EngineResting(f"{self._breaker.reason}; next try in {pause:.0f} s")
        if self._found is None:
            try:
                server = await recognise(self._wire, self._config)
            except EngineGone as error:
                self._breaker.failed(str(error))
                raise
            except EngineBusy as error:
                self._breaker.failed(str(error), error.retry_s)
                raise
            self._found, self._infills = (server, Dialect(self._wire, server)), True
        return self._found

    async def traits(self) -> Traits:
        server, _ = await self.find()
        windows = SMALL if server.kind == "llama.cpp" else Windows()
        return Traits(server.kind == "cl-lsp", windows)

    async def refusals(self, *, fresh: bool = False) -> dict[str, str]:
        server, _ = await self.find()
        if server.kind == "cl-lsp":
            return await self._ours.refusals(server.model, fresh=fresh)
        knows = server.kind == "llama.cpp" and self._config.fim != "none"
        if self._infills and (server.template or knows):
            return {}
        why = "is not known to infill: set engine.fim if it does"
        return {"infilling": f"{server.model or 'its model'} {why}"}

    def forget(self) -> None:
        self._ours.forget()

    async def models(self) -> list[dict[str, Any]]:
        server, _ = await self.find()
        if server.kind == "cl-lsp":
            return await self._ours.models()
        return [{"id": server.model}] if server.model else []

    async def complete(
        self, request: CompletionRequest, received: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Chunk]:
        server, dialect = await self.find()
        if server.kind == "cl-lsp":
            chunks = self._ours.complete(replace(request, model=server.model), received)
        else:
            chunks = dialect.complete(request, received)
        async with aclosing(self._watched(chunks)) as watching:
            async for chunk in watching:
                yield chunk

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Chunk]:
        _, dialect = await self.find()
        async with aclosing(self._watched(dialect.chat(request))) as watching:
            async for chunk in watching:
                yield chunk

    async def close(self) -> None:
        await self._wire.close()
        await self._ours.close()

    async def _watched(self, chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[Chunk]:
        try:
            async with aclosing(watched(chunks, self._breaker)) as watching:
                async for chunk in watching:
                    yield chunk
        except EngineGone:
            self._found = None  # whoever answers next may be another
            raise
        except EngineRefused as error:
            if "nfill is not supported" in str(error):  # llama.cpp, of its model
                self._infills = False
            raise


def check_endpoint(config: EngineConfig) -> str | None:
    """A warning about where code goes, if there is one. Raises ClLspError if it is no URL."""
    if config.endpoint is None:
        return None
    address = Address.of(config.endpoint)
    if address.url.startswith("http:") and not address.loopback:
        return f"{config.endpoint}: your code goes there unencrypted (http)"
    return None
