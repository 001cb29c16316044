"""The wire to an engine: OpenAI's HTTP API and its event stream, over a unix socket or TCP.

Closing the connection IS the cancel: whoever leaves `complete` early has stopped the work.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from .errors import EngineDied, EngineGone, EngineRefused

# Connecting is local and quick; before the first event may lie minutes of prefill on a CPU.
TIMEOUT = httpx2.Timeout(connect=5, read=600, write=10, pool=5)
USER = secrets.token_hex(8)  # one language server is one user of the engine's time


@dataclass(frozen=True)
class Address:
    """Where an engine listens: a unix socket, or a TCP host and port with the token it asks for."""

    uds: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None

    def __str__(self) -> str:
        return str(self.uds) if self.uds else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class CompletionRequest:
    """One completion. With a suffix it is an infilling request.

    `uri` and `language` are the document's, `stop_at` the rules that end the text, `follows` the
    `request_id` of the request whose typing this one continues.
    """

    prompt: str
    suffix: str | None
    model: str | None
    max_tokens: int
    uri: str
    language: str
    stop_at: tuple[str, ...]
    request_id: str
    follows: str | None = None
    time_budget_ms: int | None = None
    temperature: float = 0.0

    def body(self) -> dict[str, Any]:
        fields = {
            "prompt": self.prompt,
            "suffix": self.suffix,
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "lane": "inline",
            "stream": True,
            "stream_options": {"include_usage": True},
            "user": USER,
            "document": _opaque(self.uri),
            "language": self.language,
            "stop_at": list(self.stop_at),
            "request_id": self.request_id,
            "follows": self.follows,
            "time_budget_ms": self.time_budget_ms,
        }
        return {name: value for name, value in fields.items() if value is not None}


def _opaque(uri: str) -> str:
    """Names a document and tells nothing of it: its path is nobody's business."""
    name = uri.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, key=USER.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class ChatRequest:
    """OpenAI's messages, the last one the user's."""

    messages: list[dict[str, str]]
    model: str | None
    max_tokens: int
    temperature: float = 0.0

    def body(self) -> dict[str, Any]:
        return {
            "messages": self.messages,
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


@dataclass(frozen=True)
class Chunk:
    """A piece of text, or, as the last one, why it ended, the token counts and the timings.

    `stop_reason` names what ended it; an engine that is not ours may leave it out.
    """

    text: str = ""
    finish_reason: str | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, float] | None = None

    def then(self, more: "Chunk") -> "Chunk":
        """Both as one."""
        return Chunk(
            self.text + more.text,
            more.finish_reason or self.finish_reason,
            more.stop_reason or self.stop_reason,
            more.usage or self.usage,
            more.timings or self.timings,
        )


class EngineClient:
    """Keeps its connections open between requests."""

    def __init__(self, address: Address):
        self.address = address
        transport = httpx2.AsyncHTTPTransport(uds=str(address.uds)) if address.uds else None
        host = f"[{address.host}]" if ":" in address.host else address.host
        base = "http://engine" if address.uds else f"http://{host}:{address.port}"
        headers = {"Authorization": f"Bearer {address.token}"} if address.token else {}
        self._refusals: dict[str, str] | None = None
        self._http = httpx2.AsyncClient(
            base_url=base, transport=transport, headers=headers, timeout=TIMEOUT, trust_env=False
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def health(self) -> dict[str, Any]:
        """The daemon's own account. Raises EngineGone if nobody answers."""
        health = await self._get("/health", timeout=5)
        if not {"status", "model", "version", "wire", "pid"} <= health.keys():
            raise EngineGone(f"what answers at {self.address} is no cl-lsp engine")
        return health

    async def models(self) -> list[dict[str, Any]]:
        """Model cards. Raises EngineGone or EngineRefused."""
        return (await self._get("/v1/models", timeout=120))["data"]

    async def refusals(self) -> dict[str, str]:
        """Why the model lacks a capability, by its name; asked once for each engine.

        Raises EngineGone or EngineRefused.
        """
        if (known := self._refusals) is None:
            known = self._refusals = dict((await self.models())[0].get("refused", {}))
        return known

    async def _get(self, path: str, timeout: float) -> dict[str, Any]:
        try:
            response = await self._http.get(path, timeout=timeout)
            await _raise_for_error(response)
            return response.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise EngineGone(f"no engine answers at {self.address} ({_reason(error)})") from error

    def complete(
        self, request: CompletionRequest, received: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Chunk]:
        """Chunks as they come. Raises EngineGone, EngineDied or EngineRefused.

        `received` is called when the engine begins to answer, also if that is with an error.
        """
        return self._stream("/v1/completions", request.body(), received)

    def chat(self, request: ChatRequest) -> AsyncGenerator[Chunk]:
        """As `complete`. A model that cannot chat is an EngineRefused."""
        return self._stream("/v1/chat/completions", request.body())

    async def _stream(
        self, path: str, body: dict[str, Any], received: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Chunk]:
        ended = False
        try:
            async with self._post(path, body) as response:
                received()
                await _raise_for_error(response)
                async for event in httpx2.EventSource(response):
                    if event.data == "[DONE]":
                        ended = True
                        break
                    yield _chunk(event.json())
        except EngineRefused:
            self._refusals = None
            raise
        except httpx2.ConnectError as error:
            self._refusals = None  # the next one may have another model
            raise EngineGone(f"no engine answers at {self.address} ({_reason(error)})") from error
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            self._refusals = None
            raise EngineDied(
                f"the engine at {self.address} broke off ({_reason(error)})"
            ) from error
        if not ended:
            raise EngineDied(f"the engine at {self.address} stopped in mid-answer")

    @contextlib.asynccontextmanager
    async def _post(self, path: str, body: dict[str, Any]) -> AsyncIterator[httpx2.Response]:
        request = self._http.build_request("POST", path, json=body)
        response = await self._http.send(request, stream=True)
        try:
            yield response
        finally:
            # httpx2's pool keeps a request for ever if a cancel interrupts its closing.
            closing = asyncio.ensure_future(response.aclose())
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                await closing
                raise


async def _raise_for_error(response: httpx2.Response) -> None:
    if response.is_success:
        return
    await response.aread()
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {response.status_code}"
    raise EngineGone(message) if response.status_code == 503 else EngineRefused(message)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _chunk(event: Any) -> Chunk:
    if "error" in event:
        stopping = event["error"].get("type") == "not_ready"
        raise (EngineGone if stopping else EngineRefused)(event["error"]["message"])
    choice = event["choices"][0] if event["choices"] else {}
    stop_reason = choice.get("stop_reason")
    return Chunk(
        choice.get("text") or choice.get("delta", {}).get("content") or "",
        choice.get("finish_reason"),
        None if stop_reason is None else str(stop_reason),  # vLLM's may be a token id
        event.get("usage"),
        event.get("timings"),
    )
