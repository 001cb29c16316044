"""The wire: OpenAI's API over one engine, and `/health`. Parses, builds the prompt, streams events.

A client that hangs up cancels its request, before the first token as well as after it.
"""

import asyncio
import hmac
import json
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from typing import Any, Literal

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from . import __version__
from .errors import EngineError, InvalidRequest, Unauthorized, UnknownModel
from .loader import LoadedModel, canonical_name
from .loop import Engine, Generation
from .prompt import DEFAULT_ORDER, Order, Prompt, completion_prompt, infilling_prompt
from .request import Event, FinishEvent, TextEvent
from .sampling import SamplingParams

MAX_BODY = 8 << 20  # bytes; no context is nearly as long
MIN_PROMPT = 16  # tokens of the context that max_tokens must leave
WIRE_VERSION = 1  # raised when an older client could no longer talk to this daemon


class StreamOptions(BaseModel):
    include_usage: bool = False


class CompletionRequest(BaseModel):
    """`/v1/completions` as OpenAI defines it. With a `suffix` it is an infilling request."""

    model: str | None = None
    prompt: str
    suffix: str | None = None
    max_tokens: int = Field(default=16, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0, description="0 keeps all; not in OpenAI's API")
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    n: Literal[1] = 1
    best_of: Literal[1] = 1
    echo: Literal[False] = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    order: Order = Field(default=DEFAULT_ORDER, description="of an infilling prompt; not OpenAI's")

    def stops(self) -> tuple[str, ...]:
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop)


def error_body(error: EngineError) -> dict[str, Any]:
    body = {"message": str(error), "type": error.kind, "param": None, "code": None}
    return {"error": body}


def create_app(engine: Engine, token: str | None = None) -> FastAPI:
    """The ASGI application; with `token`, all but `/health` asks for it as a bearer token."""
    app = FastAPI(version=__version__, max_body_size=MAX_BODY, openapi_url=None)

    def authorized(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise Unauthorized("this server wants its token: Authorization: Bearer …")

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

    @app.get("/v1/models", dependencies=[Depends(authorized)])
    async def models() -> dict[str, Any]:
        loaded = await engine.model()
        capabilities = ["completion", *(["infilling"] if loaded.tokenizer.infill else [])]
        card = {
            "id": engine.model_name,
            "object": "model",
            "owned_by": "cl-lsp",
            "context_length": loaded.llama.config.context,
            "capabilities": capabilities,
        }
        return {"object": "list", "data": [card]}

    @app.post("/v1/completions", dependencies=[Depends(authorized)], response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        check_model(engine, body.model)
        prompt = build_prompt(await engine.model(), body)
        sampling = SamplingParams(body.temperature, body.top_k, body.top_p, body.seed)
        generation = engine.generate(prompt, body.max_tokens, sampling, body.stops())
        connected = while_connected(request, generation)
        try:
            first = await anext(connected)  # what fails before the first event has an HTTP status
        except StopAsyncIteration:
            return Response(status_code=499)  # nobody is there to read it
        envelope = Envelope(engine.model_name)
        if not body.stream:
            return JSONResponse(await envelope.whole(chain(first, connected)))
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        chunks = envelope.chunks(chain(first, connected), with_usage)
        return StreamingResponse(chunks, media_type="text/event-stream")

    return app


def check_model(engine: Engine, name: str | None) -> None:
    if name is not None and canonical_name(name) != engine.model_name:
        serving = engine.model_name
        raise UnknownModel(f"this engine serves {serving!r}, not {name!r}; `cl-lsp stop` ends it")


def build_prompt(model: LoadedModel, body: CompletionRequest) -> Prompt:
    """The prompt, cut to the context if need be; `dropped` then says how much is missing."""
    limit = model.llama.config.context - body.max_tokens
    if limit < MIN_PROMPT:
        raise InvalidRequest(
            f"max_tokens: {body.max_tokens} leaves no room for a prompt in a context of "
            f"{model.llama.config.context}"
        )
    if body.suffix is None:
        return completion_prompt(model.tokenizer, body.prompt, limit)
    return infilling_prompt(model.tokenizer, body.prompt, body.suffix, limit, body.order)


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


class Envelope:
    """Events in the JSON of OpenAI's text completions, plus `stop_reason` and `timings`."""

    def __init__(self, model: str):
        self._common = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }

    def _choice(self, text: str, end: FinishEvent | None) -> dict[str, Any]:
        return {
            "index": 0,
            "text": text,
            "logprobs": None,
            "finish_reason": end.reason if end else None,
            "stop_reason": end.stop if end else None,
        }

    async def whole(self, events: AsyncIterator[Event]) -> dict[str, Any]:
        text = ""
        async for event in events:
            if isinstance(event, TextEvent):
                text += event.text
            elif isinstance(event, FinishEvent):
                return self._common | {"choices": [self._choice(text, event)]} | _counts(event)
        return self._common | {"choices": [self._choice(text, None)]}  # the client has gone

    async def chunks(self, events: AsyncIterator[Event], with_usage: bool) -> AsyncIterator[bytes]:
        """Server-sent events; an error after the first one ends the stream as an `error` object."""
        try:
            async for event in events:
                if isinstance(event, TextEvent):
                    yield self._sse({"choices": [self._choice(event.text, None)]})
                elif isinstance(event, FinishEvent):
                    yield self._sse({"choices": [self._choice("", event)]})
                    if with_usage:
                        yield self._sse({"choices": []} | _counts(event))
        except EngineError as error:
            yield _data(error_body(error))
        yield b"data: [DONE]\n\n"

    def _sse(self, fields: dict[str, Any]) -> bytes:
        return _data(self._common | fields)


def _data(fields: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def _counts(end: FinishEvent) -> dict[str, Any]:
    usage = end.usage
    return {
        "usage": {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.generated,
            "total_tokens": usage.prompt + usage.generated,
            "prompt_tokens_details": {
                "cached_tokens": usage.cached,
                "healed_tokens": usage.healed,
                "dropped_characters": usage.dropped,
            },
        },
        "timings": {name: round(ms, 2) for name, ms in asdict(end.timings).items()},
    }
