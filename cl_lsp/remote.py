"""A server elsewhere: which one it is, how it is asked to fill in a middle, how it answers.

vLLM, SGLang, lmdeploy, TGI, llama.cpp, Ollama, `transformers serve`, and others that speak OpenAI's
API; one of ours is asked as the daemon is. Sources: the servers' own code, and runs of llama.cpp's
and transformers' (docs/remote.md).
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

from .backend import Report, Traits, watched
from .breaker import Breaker
from .client import EngineClient, affinity, chunk_of
from .config import EngineConfig
from .context import Windows
from .errors import EngineBusy, EngineDied, EngineGone, EngineRefused, EngineResting
from .exchange import ChatRequest, Chunk, CompletionRequest
from .fim import TEMPLATES, Family, Template, commented, family_of
from .wire import Address, Wire

Kind = Literal[
    "cl-lsp", "llama.cpp", "vLLM", "SGLang", "lmdeploy", "TGI", "Ollama", "transformers", "OpenAI"
]
OWNERS: dict[str, Kind] = {
    "cl-lsp": "cl-lsp",
    "llamacpp": "llama.cpp",
    "vllm": "vLLM",
    "sglang": "SGLang",
    "lmdeploy": "lmdeploy",
    "library": "Ollama",
}
TAKES_IDS: tuple[Kind, ...] = ("vLLM", "SGLang")  # as prompts, and have a /tokenize
# llama.cpp's /infill takes 1,536 tokens before the cursor, counted from its end: a longer window
# would lose its beginning anew with every key, and with it all that is cached.
SMALL = Windows(prefix=3600, suffix=1200, step=900)
SMILE = "☺"  # tokenized before a suffix, and taken off again: no piece then begins with a space
KEPT_IDS = 8  # texts whose ids are kept: the suffix stays the same from key to key


@dataclass(frozen=True)
class Server:
    """What was found at an endpoint."""

    kind: Kind
    model: str | None  # as requests name it
    family: Family | None
    infills: bool = True

    @property
    def template(self) -> Template | None:
        return TEMPLATES[self.family] if self.family else None


async def recognise(wire: Wire, config: EngineConfig) -> Server:
    """Ask the endpoint who it is. Raises EngineGone, EngineBusy or EngineRefused."""
    try:
        listed = await wire.get("/v1/models", timeout=config.timeout_seconds)
    except EngineBusy:
        raise
    except EngineRefused as error:
        raise EngineRefused(f"{wire.address}/v1/models: {error}") from error
    try:
        cards = [dict(card) for card in listed["data"] or []]
        ids = [str(card["id"]) for card in cards]
    except (TypeError, KeyError, ValueError) as error:
        raise EngineRefused(f"{wire.address} does not speak OpenAI's API (/v1/models)") from error
    kind = kind_of(cards)
    model = config.model or next(iter(ids), None)
    if model is None:
        raise EngineRefused(f"{wire.address} lists no model: set engine.model")
    if ids and model not in ids and kind not in ("cl-lsp", "llama.cpp", "Ollama"):
        raise EngineRefused(
            f"{wire.address} serves {', '.join(ids)}, not {model}: set engine.model"
        )
    given = config.fim
    family = family_of(model) if given == "auto" else None if given == "none" else given
    return Server(kind, None if kind == "TGI" else model, family)


def kind_of(cards: list[dict[str, Any]]) -> Kind:
    """By the first model card. Paths alone tell nothing: some servers answer all of them."""
    card = cards[0] if cards else {}
    owner = str(card.get("owned_by", ""))
    if owner in OWNERS:
        return OWNERS[owner]
    if isinstance(card.get("status"), dict) and card.get("created") == 0:
        return "transformers"
    return "TGI" if owner and owner == card.get("id") else "OpenAI"


class Remote:
    """One endpoint. While it does not answer it is left alone, ever longer (`Breaker`)."""

    local = False

    def __init__(self, config: EngineConfig):
        assert config.endpoint is not None
        self._config = config
        self._wire = Wire(Address.of(config.endpoint, config.api_key), config.timeout_seconds)
        self._ours = EngineClient(self._wire.address, config.timeout_seconds)
        self._server: Server | None = None
        self._breaker = Breaker()
        self._ids: dict[str, list[int]] = {}
        self.model = config.model
        self.title = f"asking {self._wire.address}"

    @property
    def address(self) -> Address:
        return self._wire.address

    async def ready(self, report: Report = lambda seconds: None) -> None:
        self._server = None
        await self._found()

    async def _found(self) -> Server:
        self._rest()
        if self._server is None:
            try:
                self._server = await recognise(self._wire, self._config)
            except (EngineGone, EngineBusy) as error:
                self._breaker.failed(str(error), getattr(error, "retry_s", None))
                raise
            self._ids.clear()
        return self._server

    def _rest(self) -> None:
        if pause := self._breaker.pause_s:
            raise EngineResting(f"{self._breaker.reason}; next try in {pause:.0f} s")

    async def server(self) -> Server:
        """What it is. Raises as all here."""
        return await self._found()

    async def traits(self) -> Traits:
        kind = (await self._found()).kind
        return Traits(kind == "cl-lsp", SMALL if kind == "llama.cpp" else Windows())

    async def refusals(self, *, fresh: bool = False) -> dict[str, str]:
        server = await self._found()
        if server.kind == "cl-lsp":
            return await self._ours.refusals(server.model, fresh=fresh)
        if server.infills and (server.template or server.kind == "llama.cpp"):
            return {}
        why = "is not known to infill: set engine.fim if it does"
        return {"infilling": f"{server.model or 'its model'} {why}"}

    async def complete(
        self, request: CompletionRequest, received: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Chunk]:
        server = await self._found()
        asked = replace(request, model=server.model)
        if server.kind == "cl-lsp":
            chunks = self._ours.complete(asked, received)
        elif server.kind == "llama.cpp" and request.suffix is not None:
            chunks = self._infill(asked, received)
        elif server.kind == "Ollama":
            chunks = self._generate(server, asked, received)
        else:
            chunks = self._complete(server, asked, received)
        async with aclosing(self._watched(chunks)) as watching:
            async for chunk in watching:
                yield chunk

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Chunk]:
        server = await self._found()
        body = replace(request, model=server.model).body()
        events = self._wire.events("/v1/chat/completions", body)
        async with aclosing(self._watched(self._chunks(events, chunk_of))) as chunks:
            async for chunk in chunks:
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
            self._server = None  # whoever answers next may be another
            raise

    async def _complete(
        self, server: Server, request: CompletionRequest, received: Callable[[], None]
    ) -> AsyncGenerator[Chunk]:
        """OpenAI's `/v1/completions`, the middle asked for in the model's own words."""
        prompt, stops, end_id = await self._prompt(server, request)
        body: dict[str, Any] = {
            "prompt": prompt,
            "model": server.model,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            "stop": self._stops(server, request, stops) or None,
            "stop_token_ids": None if end_id is None else [end_id],
        }
        body = {name: value for name, value in body.items() if value is not None}
        headers = affinity(request.document)
        events = self._wire.events("/v1/completions", body, received, headers)
        cut = server.template.cut if server.template else str
        async with aclosing(self._chunks(events, chunk_of, cut)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _stops(
        self, server: Server, request: CompletionRequest, stops: tuple[str, ...]
    ) -> list[str]:
        """At most four, which is what TGI takes."""
        # transformers' also match across the prompt's end.
        line = "line" in request.stop_at and server.kind != "transformers"
        return [*stops[:3], *(["\n"] if line else [])]

    async def _prompt(
        self, server: Server, request: CompletionRequest
    ) -> tuple[str | list[int], tuple[str, ...], int | None]:
        """The prompt, the texts that end its answer, and the token that does."""
        template = server.template
        if request.suffix is None or template is None:
            return commented(request.input_extra) + request.prompt, (), None
        if server.family == "codellama" and server.kind in TAKES_IDS:
            control = [await self._tokenized(server, w) for w in template.words]
            if all(len(ids) == 1 for ids in control):
                pre, suf, mid, end = (ids[0] for ids in control)
                prompt = commented(request.input_extra) + request.prompt
                return await self._codellama(server, prompt, request.suffix, pre, suf, mid, end)
        text = template.prompt(request.prompt, request.suffix, request.input_extra)
        if server.family == "codellama":
            text = text.replace("▁<PRE> ▁<SUF>", "▁<PRE>▁<SUF>")  # nothing stands before
            # Their tokenizers know the pieces by llama.cpp's spelling.
            text = text.replace("▁<", " <").lstrip() if server.kind == "OpenAI" else text
            return text, ("<EOT>",), None
        return text, template.end, None

    async def _codellama(
        self, server: Server, prefix: str, suffix: str, pre: int, suf: int, mid: int, end: int
    ) -> tuple[list[int], tuple[str, ...], int]:
        """Meta's own ids: both texts apart, the suffix without a space before it."""
        bos = await self._tokenized(server, "", special=True)
        smile = await self._tokenized(server, SMILE)
        before = await self._tokenized(server, prefix, keep=False)
        after = (await self._tokenized(server, SMILE + suffix))[len(smile) :]
        control = {pre, suf, mid, end}  # where they stand in a file they are no text of its
        before, after = ([i for i in ids if i not in control] for ids in (before, after))
        return [*bos[:1], pre, *before, suf, *after, mid], (), end

    async def _tokenized(
        self, server: Server, text: str, *, special: bool = False, keep: bool = True
    ) -> list[int]:
        if text in self._ids and not special:
            return self._ids[text]
        body = {"model": server.model, "prompt": text, "add_special_tokens": special}
        reply = await self._wire.post("/tokenize", body)
        try:
            ids = [int(i) for i in reply["tokens"]]
        except (TypeError, KeyError, ValueError) as error:
            raise EngineRefused(f"{self.address}: /tokenize makes no sense") from error
        if keep and not special:
            self._ids[text] = ids
            if len(self._ids) > KEPT_IDS + len(TEMPLATES["codellama"].words):
                self._ids.pop(next(t for t in self._ids if "▁" not in t and t != SMILE))
        return ids

    async def _infill(
        self, request: CompletionRequest, received: Callable[[], None]
    ) -> AsyncGenerator[Chunk]:
        """llama.cpp's own way; it knows the model's words."""
        body = {
            "input_prefix": request.prompt,
            "input_suffix": request.suffix,
            "input_extra": [{"filename": n, "text": t} for n, t in request.input_extra],
            "prompt": "",
            "model": request.model,
            "n_predict": request.max_tokens,
            "temperature": request.temperature,
            "stop": ["<EOT>", *(["\n"] if "line" in request.stop_at else [])],
            "cache_prompt": True,
            "stream": True,
        }
        events = self._wire.events("/infill", body, received, affinity(request.document))
        try:
            cut = TEMPLATES["codellama"].cut
            async with aclosing(self._chunks(events, infill_chunk, cut)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except EngineRefused as error:
            if "nfill is not supported" in str(error) and self._server:
                self._server = replace(self._server, infills=False)
            raise

    async def _generate(
        self, server: Server, request: CompletionRequest, received: Callable[[], None]
    ) -> AsyncGenerator[Chunk]:
        """Ollama's own way: its OpenAI form would put a chat's template around the prompt."""
        prompt, stops, _ = await self._prompt(replace(server, kind="OpenAI"), request)
        options = {
            "num_predict": request.max_tokens,
            "temperature": request.temperature,
            "stop": self._stops(server, request, stops),
        }
        body = {"model": server.model, "prompt": prompt, "raw": True, "stream": True}
        lines = self._wire.lines("/api/generate", body | {"options": options}, received)
        cut = server.template.cut if server.template else str
        async with aclosing(self._chunks(lines, ollama_chunk, cut)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _chunks(
        self,
        events: AsyncGenerator[Any],
        read: Callable[[Any], Chunk],
        cut: Callable[[str], str] = str,
    ) -> AsyncGenerator[Chunk]:
        """Until the text's end, be it the server's or a control word that was left in it."""
        text, ended = "", False
        try:
            async for event in events:
                chunk = read(event)
                text += chunk.text
                kept = cut(text)
                if kept != text:
                    over = len(text) - len(kept)
                    yield replace(chunk, text=chunk.text[:-over], finish_reason="stop")
                    return
                ended = ended or chunk.finish_reason is not None
                yield chunk
        finally:
            await events.aclose()
        if not ended:
            raise EngineDied(f"the engine at {self.address} stopped in mid-answer", safe=False)


def infill_chunk(event: Any) -> Chunk:
    """Of llama.cpp's `/infill`."""
    if not isinstance(event, dict) or "content" not in event:
        return chunk_of(event)
    if not event.get("stop"):
        return Chunk(event["content"])
    timings, cached = event.get("timings") or {}, event.get("timings", {}).get("cache_n", 0)
    return Chunk(
        event["content"],
        "length" if event.get("stop_type") == "limit" else "stop",
        usage={
            "prompt_tokens": event.get("tokens_evaluated", 0),
            "completion_tokens": event.get("tokens_predicted", 0),
            "prompt_tokens_details": {"cached_tokens": cached},
        },
        timings={
            "prefill_ms": timings.get("prompt_ms", 0.0),
            "decode_ms": timings.get("predicted_ms", 0.0),
        },
    )


def ollama_chunk(event: Any) -> Chunk:
    """Of Ollama's `/api/generate`."""
    if not isinstance(event, dict) or "response" not in event:
        return chunk_of(event)
    if not event.get("done"):
        return Chunk(event["response"])
    return Chunk(
        event["response"],
        "length" if event.get("done_reason") == "length" else "stop",
        usage={
            "prompt_tokens": event.get("prompt_eval_count", 0),
            "completion_tokens": event.get("eval_count", 0),
        },
        timings={
            "prefill_ms": event.get("prompt_eval_duration", 0) / 1e6,
            "decode_ms": event.get("eval_duration", 0) / 1e6,
        },
    )


def check_endpoint(config: EngineConfig) -> str | None:
    """A warning about where code goes, if there is one. Raises ClLspError if it is no URL."""
    if config.endpoint is None:
        return None
    address = Address.of(config.endpoint)
    if address.url.startswith("http:") and not address.loopback:
        return f"{config.endpoint}: your code and its key go there unencrypted (http)"
    return None
