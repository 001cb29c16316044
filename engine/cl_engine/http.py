"""The wire: OpenAI's API over one engine, and `/health`. Parses, builds the prompt, streams events.

A client that hangs up cancels its request, before the first token as well as after it.
"""

import asyncio
import hmac
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from . import __version__
from .catalogue import CAPABILITIES
from .envelope import ChatEnvelope, Envelope, TextEnvelope, error_body
from .errors import EngineError, InvalidRequest, Unauthorized, UnknownModel
from .generation import default_new_tokens, prompt_room
from .hub import canonical_name
from .loader import LoadedModel
from .loop import Engine, Generation
from .metrics import CONTENT_TYPE as METRICS_TYPE
from .prompt import Order, Prompt, completion_prompt, infilling_prompt, order_of
from .request import Event, Lane, Limits, Origin
from .sampling import SamplingParams
from .structure import Rule, StopRules
from .template import ChatTemplateConfig

MAX_BODY = 8 << 20  # bytes; no context is nearly as long
MAX_NAME = 256  # characters of what clients call themselves and their requests
DEFAULT_COMPLETION = 16  # tokens, OpenAI's own default of this endpoint
WIRE_VERSION = 1  # raised when an older client could no longer talk to this daemon


class StreamOptions(BaseModel):
    include_usage: bool = False


class GenerationRequest(BaseModel):
    """What both kinds of request have; of the fields from `top_k` on only `user` is OpenAI's."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, ge=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    n: Literal[1] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    top_k: int = Field(default=0, ge=0, description="0 keeps all")
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    min_tokens: int = Field(default=0, ge=0)
    lane: Lane = "completion"
    user: str = Field(default="", max_length=MAX_NAME)
    document: str = Field(default="", max_length=MAX_NAME)
    request_id: str = Field(default="", max_length=MAX_NAME)
    follows: str = Field(default="", max_length=MAX_NAME)
    time_budget_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    def limits(self, max_tokens: int, more_stops: tuple[str, ...] = ()) -> Limits:
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Limits(
            max_tokens,
            self.min_tokens,
            (*more_stops, *stop),
            structure=self.structure(),
            budget_ms=self.time_budget_ms,
        )

    def structure(self) -> StopRules | None:
        """Where the text ends by itself; only what completes a text has such rules."""
        return None

    def origin(self) -> Origin:
        return Origin(self.user, self.document, self.request_id, self.follows)

    def sampling(self) -> SamplingParams:
        return SamplingParams(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
        )


class CompletionRequest(GenerationRequest):
    """`/v1/completions` as OpenAI defines it. With a `suffix` it is an infilling request."""

    prompt: str
    suffix: str | None = None
    best_of: Literal[1] = 1
    echo: Literal[False] = False
    order: Order | None = Field(default=None, description="of an infilling prompt")
    stop_at: list[Rule] = []
    language: str = Field(default="", max_length=MAX_NAME)

    def structure(self) -> StopRules | None:
        if not self.stop_at:
            return None
        return StopRules(frozenset(self.stop_at), self.prompt, self.suffix or "", self.language)


class ChatRequest(GenerationRequest):
    """`/v1/chat/completions` as OpenAI defines it, text only."""

    messages: list[dict[str, Any]]
    lane: Lane = "chat"
    max_completion_tokens: int | None = Field(default=None, ge=1)


def create_app(
    engine: Engine,
    token: str | None = None,
    template: ChatTemplateConfig | None = None,
    token_file: Path | None = None,
) -> FastAPI:
    """The ASGI application; with `token`, all but `/health` asks for it as a bearer token.

    `template` decides what a chat's messages become; without one they are a chat, or refused.
    """
    where = f" (it is in {token_file})" if token_file else ""
    app = FastAPI(version=__version__, max_body_size=MAX_BODY, openapi_url=None)

    async def authorized(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise Unauthorized(f"this server wants its token: Authorization: Bearer …{where}")

    @app.exception_handler(EngineError)
    async def on_engine_error(_request: Request, error: EngineError) -> JSONResponse:
        return JSONResponse(error_body(error), status_code=error.status)

    @app.exception_handler(HTTPException)
    async def on_http_error(_request: Request, error: HTTPException) -> JSONResponse:
        wrong = InvalidRequest(error.detail)
        return JSONResponse(error_body(wrong), status_code=error.status_code)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "body"
        wrong = InvalidRequest(f"{where}: {first['msg']}")
        return JSONResponse(error_body(wrong), status_code=wrong.status)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Answers while the model loads and without a token; says who serves."""
        return {
            "status": engine.state,
            "model": engine.model_name,
            "version": __version__,
            "wire": WIRE_VERSION,
            "pid": os.getpid(),
            "active": engine.active,
        }

    @app.get("/metrics", dependencies=[Depends(authorized)])
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(engine.metrics.text(), media_type=METRICS_TYPE)

    @app.get("/v1/models", dependencies=[Depends(authorized)])
    async def models() -> dict[str, Any]:
        loaded = await engine.model()
        identity = loaded.identity if template is None else template.of(loaded.identity).identity
        refused = {c: why for c in CAPABILITIES if (why := identity.refusal(c))}
        card = {
            "id": engine.model_name,
            "object": "model",
            "owned_by": "cl-lsp",
            "context_length": loaded.llama.config.context,
            "capabilities": [c for c in CAPABILITIES if c not in refused],
            "refused": refused,
        }
        return {"object": "list", "data": [card]}

    @app.post("/v1/completions", dependencies=[Depends(authorized)], response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        check_model(engine, body.model)
        limits = body.limits(body.max_tokens or DEFAULT_COMPLETION)
        prompt = completion_of(await engine.model(), body, limits)
        return await answer(request, body, prompt, limits, TextEnvelope(engine.model_name))

    @app.post("/v1/chat/completions", dependencies=[Depends(authorized)], response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        check_model(engine, body.model)
        loaded = await engine.model()
        if template is None:
            loaded.identity.require("chat")
        decided = (template or ChatTemplateConfig(capability="chat")).of(loaded.identity)
        context = loaded.llama.config.context
        wanted = body.max_completion_tokens or body.max_tokens
        limits = body.limits(wanted or default_new_tokens(context), decided.config.stop_words)
        room = prompt_room(context, limits.max_tokens, "max_tokens")
        prompt = decided.prompt(loaded.tokenizer, body.messages, room)
        return await answer(request, body, prompt, limits, ChatEnvelope(engine.model_name))

    async def answer(
        request: Request,
        body: GenerationRequest,
        prompt: Prompt,
        limits: Limits,
        envelope: Envelope,
    ) -> Response:
        generation = Generation(engine, prompt, limits, body.sampling(), body.lane, body.origin())
        connected = while_connected(request, generation)
        try:
            first = await anext(connected)  # what fails before the first event has an HTTP status
        except StopAsyncIteration:
            return Response(status_code=499)  # nobody is there to read it
        if not body.stream:
            return JSONResponse(await envelope.whole(chain(first, connected)))
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        chunks = envelope.chunks(chain(first, connected), with_usage)
        return EventStream(chunks)

    return app


def check_model(engine: Engine, name: str | None) -> None:
    if name is not None and canonical_name(name) != engine.model_name:
        serving = engine.model_name
        raise UnknownModel(
            f"this engine serves {serving!r}, not {name!r}; stop it before another (`cl-lsp stop`"
            " ends the user's daemon)"
        )


def completion_of(model: LoadedModel, body: CompletionRequest, limits: Limits) -> Prompt:
    """The prompt, cut to the context if need be; `dropped` then says how much is missing."""
    room = prompt_room(model.llama.config.context, limits.max_tokens, "max_tokens")
    if body.suffix is None:
        return completion_prompt(model.tokenizer, body.prompt, room)
    model.identity.require("infilling")
    order = body.order or order_of(model.identity.label, healed=True)
    return infilling_prompt(model.tokenizer, body.prompt, body.suffix, room, order)


class EventStream(Response):
    """Server-sent events. Starlette's own streams start two tasks to see a client hang up, which
    `while_connected` has seen already; they would cost a tenth of the wire's time to a first token.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncGenerator[bytes]):
        super().__init__()
        del self.headers["content-length"]
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        body = {"type": "http.response.body", "more_body": True}
        async with aclosing(self._chunks):
            await send(head)
            async for chunk in self._chunks:
                await send(body | {"body": chunk})
        await send({"type": "http.response.body"})


async def while_connected(request: Request, generation: Generation) -> AsyncGenerator[Event]:
    """The events of `generation`, which ends when the client hangs up or nobody reads on."""
    watch = asyncio.create_task(_end_at_hang_up(request, generation))
    try:
        async for event in generation:
            yield event
    finally:
        watch.cancel()
        generation.close()


async def _end_at_hang_up(request: Request, generation: Generation) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    generation.close()


async def chain(first: Event, rest: AsyncGenerator[Event]) -> AsyncIterator[Event]:
    try:
        yield first
        async for event in rest:
            yield event
    finally:
        await rest.aclose()
