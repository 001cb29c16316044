"""How servers that are not ours are recognised, asked to fill in a middle, and understood.

vLLM, SGLang, lmdeploy, TGI, llama.cpp, Ollama, `transformers serve`, and others that speak OpenAI's
API. Sources: their own code, and runs of llama.cpp's and transformers' (docs/remote.md).
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote

from .client import affinity, chunk_of
from .config import EngineConfig
from .errors import EngineBusy, EngineDied, EngineRefused
from .exchange import ChatRequest, Chunk, CompletionRequest
from .fim import TEMPLATES, Family, Template, commented, family_of
from .wire import Wire

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
SMILE = "☺"  # tokenized before a suffix, and taken off again: no piece then begins with a space


@dataclass(frozen=True)
class Server:
    """What was found at an endpoint."""

    kind: Kind
    model: str | None  # as requests name it
    family: Family | None

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
    if kind == "cl-lsp" and model not in ids:
        model = str((await wire.get(f"/v1/models/{quote(model)}"))["id"])  # it knows all spellings
    elif ids and model not in ids and kind not in ("llama.cpp", "Ollama"):
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


@dataclass(frozen=True)
class InfillIds:
    """What a server's tokenizer makes of Code Llama's control words, and of SMILE."""

    bos: list[int]
    pre: int
    suf: int
    mid: int
    end: int
    smile: list[int]


class Dialect:
    """One server's language, over a wire to it."""

    def __init__(self, wire: Wire, server: Server):
        self._wire, self._server = wire, server
        self._infill_ids: InfillIds | None = None
        self._suffix = "", list[int]()  # and its ids: it stays the same from key to key

    def complete(
        self, request: CompletionRequest, received: Callable[[], None]
    ) -> AsyncGenerator[Chunk]:
        """Chunks as they come. Raises EngineGone, EngineDied, EngineBusy or EngineRefused."""
        request = replace(request, model=self._server.model)
        if self._server.kind == "llama.cpp" and request.suffix is not None:
            return self._infill(request, received)
        if self._server.kind == "Ollama":
            return self._generate(request, received)
        return self._complete(request, received)

    def chat(self, request: ChatRequest) -> AsyncGenerator[Chunk]:
        """As `complete`."""
        body = replace(request, model=self._server.model).body()
        return self._chunks(self._wire.events("/v1/chat/completions", body), chunk_of)

    async def _complete(
        self, request: CompletionRequest, received: Callable[[], None]
    ) -> AsyncGenerator[Chunk]:
        """OpenAI's `/v1/completions`, the middle asked for in the model's own words."""
        server = self._server
        prompt, stops, end_id = await self._prompt(request)
        body: dict[str, Any] = {
            "prompt": prompt,
            "model": server.model,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            "stop": self._stops(request, stops) or None,
            "stop_token_ids": None if end_id is None else [end_id],
        }
        body = {name: value for name, value in body.items() if value is not None}
        headers = affinity(request.document)
        events = self._wire.events("/v1/completions", body, received, headers)
        cut = server.template.cut if server.template else str
        async with aclosing(self._chunks(events, chunk_of, cut)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _stops(self, request: CompletionRequest, stops: tuple[str, ...]) -> list[str]:
        """At most four, which is what TGI takes."""
        # transformers' also match across the prompt's end.
        line = "line" in request.stop_at and self._server.kind != "transformers"
        return [*stops[:3], *(["\n"] if line else [])]

    async def _prompt(
        self, request: CompletionRequest
    ) -> tuple[str | list[int], tuple[str, ...], int | None]:
        """The prompt, the texts that end its answer, and the token that does."""
        server, template = self._server, self._server.template
        if request.suffix is None or template is None:
            return commented(request.input_extra) + request.prompt, (), None
        if server.family == "codellama" and server.kind in TAKES_IDS:
            ids = self._infill_ids = self._infill_ids or await self._control_ids(template)
            if ids is not None:
                prompt = commented(request.input_extra) + request.prompt
                return await self._meta(ids, prompt, request.suffix), (), ids.end
        text = template.prompt(request.prompt, request.suffix, request.input_extra)
        if server.family == "codellama":
            text = text.replace("▁<PRE> ▁<SUF>", "▁<PRE>▁<SUF>")  # nothing stands before
            # Their tokenizers know the pieces by llama.cpp's spelling.
            ascii_words = server.kind in ("OpenAI", "Ollama")
            text = text.replace("▁<", " <").lstrip() if ascii_words else text
            return text, ("<EOT>",), None
        return text, template.end, None

    async def _control_ids(self, template: Template) -> InfillIds | None:
        """None if they are no single tokens of this tokenizer: then text must do."""
        words = [await self._tokenized(word) for word in template.words]
        if any(len(ids) != 1 for ids in words):
            return None
        bos = await self._tokenized("", special=True)
        pre, suf, mid, end = (ids[0] for ids in words)
        return InfillIds(bos[:1], pre, suf, mid, end, await self._tokenized(SMILE))

    async def _meta(self, ids: InfillIds, prefix: str, suffix: str) -> list[int]:
        """Meta's own ids: both texts apart, the suffix without a space before it."""
        if self._suffix[0] != suffix:
            tokens = await self._tokenized(SMILE + suffix)
            self._suffix = suffix, tokens[len(ids.smile) :]
        control = {ids.pre, ids.suf, ids.mid, ids.end}  # in a file they are no text of its
        before, after = (
            [i for i in tokens if i not in control]
            for tokens in (await self._tokenized(prefix), self._suffix[1])
        )
        return [*ids.bos, ids.pre, *before, ids.suf, *after, ids.mid]

    async def _tokenized(self, text: str, *, special: bool = False) -> list[int]:
        body = {"model": self._server.model, "prompt": text, "add_special_tokens": special}
        reply = await self._wire.post("/tokenize", body)
        try:
            return [int(i) for i in reply["tokens"]]
        except (TypeError, KeyError, ValueError) as error:
            raise EngineRefused(f"{self._wire.address}: /tokenize makes no sense") from error

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
        cut = TEMPLATES["codellama"].cut
        async with aclosing(self._chunks(events, infill_chunk, cut)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _generate(
        self, request: CompletionRequest, received: Callable[[], None]
    ) -> AsyncGenerator[Chunk]:
        """Ollama's own way: its OpenAI form would put a chat's template around the prompt."""
        server = self._server
        prompt, stops, _ = await self._prompt(request)
        options = {
            "num_predict": request.max_tokens,
            "temperature": request.temperature,
            "stop": self._stops(request, stops),
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
            raise EngineDied(
                f"the engine at {self._wire.address} stopped in mid-answer", safe=False
            )


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
