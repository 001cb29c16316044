"""The wire to an engine of ours, which knows all that the editor's side can say."""

import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from .errors import EngineDied, EngineGone, EngineRefused, NotOurs, in_words
from .exchange import USER, ChatRequest, Chunk, CompletionRequest
from .remembered import Remembered
from .wire import TIMEOUT_S, Address, Wire

HEALTH = {"status", "model", "version", "wire", "pid"}
CARDS_S = 5.0  # what models there are is not asked again: menus want it at each step of a cursor


def opaque(uri: str) -> str:
    """Names a document and tells nothing of it: its path is nobody's business."""
    name = uri.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, key=USER.encode(), digest_size=8).hexdigest()


def affinity(document: str) -> dict[str, str]:
    """What lets a router in front of several engines keep a document on one: its KV cache is there.

    The names are vLLM's and Ray Serve's router's, and SGLang's.
    """
    return {"X-Session-Id": document, "X-SMG-Routing-Key": document}


class EngineClient:
    """One engine of ours, on this machine or elsewhere."""

    def __init__(self, address: Address, timeout_s: float = TIMEOUT_S):
        self.address = address
        self._wire = Wire(address, timeout_s)
        self._refusals: dict[str | None, dict[str, str]] = {}
        self._cards = Remembered(self._ask_cards, CARDS_S, address.listener)

    async def close(self) -> None:
        await self._wire.close()

    @property
    def connections(self) -> int:
        """How many are in use."""
        return self._wire.connections

    async def health(self) -> dict[str, Any]:
        """The daemon's own account. Raises EngineGone if nobody answers, EngineSilent if it is
        late, NotOurs if it is another program."""
        health = await self._wire.get("/health")
        if not isinstance(health, dict) or not health.keys() >= HEALTH:
            raise NotOurs(f"what answers at {self.address} is no cl-lsp engine")
        return health

    async def status(self) -> dict[str, Any]:
        """More of it: memory, clients, how fast the last answers were. Raises as `models`."""
        return await self._wire.get("/status")

    async def models(self) -> list[dict[str, Any]]:
        """Model cards, the default one first, as they were in the last CARDS_S. Raises EngineGone
        or EngineRefused."""
        return await self._cards.get()

    async def _ask_cards(self) -> list[dict[str, Any]]:
        answer = await self._wire.get("/v1/models", timeout=120)
        cards = answer.get("data") if isinstance(answer, dict) else None
        if not cards or not all(isinstance(card, dict) and "id" in card for card in cards):
            raise NotOurs(f"what answers at {self.address} does not say which models it has")
        return cards

    async def load(self, model: str) -> None:
        """Return when it is in memory. Raises as `models`."""
        await self._wire.post("/models/load", {"model": model}, timeout=TIMEOUT_S)
        self._cards.forget()

    def forget(self) -> None:
        """What is known of the engine's models: the next one may have others."""
        self._refusals.clear()
        self._cards.forget()

    async def refusals(self, model: str | None = None, *, fresh: bool = False) -> dict[str, str]:
        """Why a model lacks a capability, by its name; asked once for each engine, or if `fresh`
        known as `models` are.

        Raises EngineGone or EngineRefused.
        """
        if fresh or model not in self._refusals:
            cards = await self.models()
            card = next((c for c in cards if c["id"] == model), cards[0])
            self._refusals[model] = dict(card.get("refused", {}))
        return self._refusals[model]

    def complete(
        self, request: CompletionRequest, received: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Chunk]:
        """Chunks as they come. Raises EngineGone, EngineDied, EngineBusy or EngineRefused.

        `received` is called when the engine begins to answer, also if that is with an error.
        """
        headers = None if self.address.local else affinity(request.document)
        return self._stream("/v1/completions", request.body(), received, headers)

    def chat(self, request: ChatRequest) -> AsyncGenerator[Chunk]:
        """As `complete`. A model that cannot chat is an EngineRefused."""
        return self._stream("/v1/chat/completions", request.body())

    async def _stream(
        self,
        path: str,
        body: dict[str, Any],
        received: Callable[[], None] = lambda: None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Chunk]:
        ended = False
        try:
            async with aclosing(self._wire.events(path, body, received, headers)) as events:
                async for event in events:
                    chunk = chunk_of(event)
                    ended = ended or chunk.finish_reason is not None
                    yield chunk
        except (EngineGone, EngineRefused):
            self.forget()
            raise
        if not ended:
            self.forget()
            raise EngineDied(f"the engine at {self.address} stopped in mid-answer", safe=False)


def chunk_of(event: Any) -> Chunk:
    """A chunk in OpenAI's form, of completions or chats. Raises EngineGone or EngineRefused."""
    try:
        if "error" in event:
            error = event["error"]
            if isinstance(error, str):
                raise EngineRefused(error)
            stopping = error.get("type") == "not_ready"
            raise (EngineGone if stopping else EngineRefused)(error["message"])
        choice = event["choices"][0] if event["choices"] else {}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise EngineDied(
            f"the engine's answer makes no sense: {in_words(error)}", safe=False
        ) from error
    stop_reason = choice.get("stop_reason")
    return Chunk(
        choice.get("text") or choice.get("delta", {}).get("content") or "",
        choice.get("finish_reason") or None,  # TGI's is "" before the end
        None if stop_reason is None else str(stop_reason),  # vLLM's may be a token id
        event.get("usage"),
        event.get("timings"),
        choice.get("index") or 0,
    )
