"""The wire: OpenAI's API over one engine, llama.cpp's `/infill`, token ids, and `/health`.

A handler parses, builds prompts, and streams events. A client that hangs up cancels its request,
before the first token as well as after it.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from . import __version__
from .catalogue import CAPABILITIES
from .envelope import ChatEnvelope, Numbered, TextEnvelope
from .errors import InvalidRequest, UnknownModel
from .generation import default_new_tokens, prompt_room
from .guard import Access, Guard, answer_errors
from .hub import canonical_name
from .llamacpp import InfillEnvelope
from .loader import LoadedModel
from .loop import Engine, Generation, Job
from .metrics import CONTENT_TYPE as METRICS_TYPE
from .prompt import Prompt, completion_prompt, infilling_prompt, order_of, with_snippets
from .requests import (
    DEFAULT_COMPLETION,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    GenerationRequest,
    InfillRequest,
    TokenizeRequest,
)
from .template import ChatTemplateConfig

MAX_BODY = 8 << 20  # bytes; no context is nearly as long
WIRE_VERSION = 1  # raised when an older client could no longer talk to this daemon
OPEN = Access()


class Form(Protocol):
    """How the events of a call's answers are told."""

    async def whole(self, events: AsyncIterator[Numbered], answers: int) -> dict[str, Any]: ...

    def chunks(
        self, events: AsyncIterator[Numbered], answers: int, with_usage: bool
    ) -> AsyncGenerator[bytes]: ...


def create_app(
    engine: Engine, access: Access = OPEN, template: ChatTemplateConfig | None = None
) -> FastAPI:
    """The ASGI application.

    `template` decides what a chat's messages become; without one they are a chat, or refused.
    """
    app = FastAPI(
        title="cl-lsp engine", version=__version__, max_body_size=MAX_BODY, docs_url=None,
        redoc_url=None,
    )  # fmt: skip
    app.add_middleware(Guard, access=access)
    answer_errors(app)
    # `response_model=None`: what is answered is JSON already, in one of several forms.
    api = APIRouter(dependencies=[Depends(access.authorized)])

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Answers while the model loads and without a token; says who serves."""
        return {
            "status": engine.state,
            "model": engine.model_name,
            "computes": engine.computes,
            "version": __version__,
            "wire": WIRE_VERSION,
            "pid": os.getpid(),
            "active": engine.active,
        }

    @api.get("/metrics", response_model=None)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(engine.metrics.text(), media_type=METRICS_TYPE)

    @api.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one that is served."""
        card = model_card(engine.model_name, await engine.model(), template)
        return {"object": "list", "data": [card]}

    @api.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        check_model(engine, name)
        return model_card(engine.model_name, await engine.model(), template)

    @api.post("/v1/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """The text that follows `prompt`, or that stands between it and `suffix`."""
        check_model(engine, body.model)
        loaded = await engine.model()
        check_ids(loaded, body.biased)
        limits = body.limits(body.max_tokens or DEFAULT_COMPLETION)
        prompts = [prompt_of(loaded, body, one, limits.max_tokens) for one in body.prompts]
        jobs = [Job(p, limits, body.sampling(i)) for p in prompts for i in range(body.n)]
        echo = [text_of(loaded, one) for one in body.prompts] if body.echo else ()
        name, reported = engine.model_name, body.reported
        form = TextEnvelope(name, loaded.tokenizer, reported, body.n, echo)
        return await answer(request, body, jobs, form)

    @api.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """The assistant's next message."""
        check_model(engine, body.model)
        loaded = await engine.model()
        check_ids(loaded, body.biased)
        if template is None:
            loaded.identity.require("chat")
        decided = (template or ChatTemplateConfig(capability="chat")).of(loaded.identity)
        context = loaded.llama.config.context
        wanted = body.max_completion_tokens or body.max_tokens
        limits = body.limits(wanted or default_new_tokens(context), decided.config.stop_words)
        room = prompt_room(context, limits.max_tokens, "max_tokens")
        prompt = decided.prompt(loaded.tokenizer, body.messages, room)
        jobs = [Job(prompt, limits, body.sampling(i)) for i in range(body.n)]
        form = ChatEnvelope(engine.model_name, loaded.tokenizer, body.reported, body.n)
        return await answer(request, body, jobs, form)

    @api.post("/infill", response_model=None)
    async def infill(asked: InfillRequest, request: Request) -> Response:
        """What llama.cpp's server answers: the text between `input_prefix` and `input_suffix`."""
        loaded, body = await engine.model(), asked.completion()
        limits = body.limits(body.max_tokens or DEFAULT_COMPLETION)
        prompt = prompt_of(loaded, body, body.prompts[0], limits.max_tokens)
        form = InfillEnvelope(engine.model_name, silent=asked.n_predict == 0)
        return await answer(request, body, [Job(prompt, limits, body.sampling())], form)

    @api.post("/tokenize")
    async def tokenize(body: TokenizeRequest) -> dict[str, Any]:
        """Token ids of a text, in llama.cpp's form and vLLM's."""
        loaded = await engine.model()
        tokenizer = loaded.tokenizer
        ids: list[int] = tokenizer.encode(body.content or body.prompt or "")
        ids = [tokenizer.bos, *ids] if body.add_special else ids
        pieces = [{"id": i, "piece": tokenizer.render([i])} for i in ids]
        return {
            "tokens": pieces if body.with_pieces else ids,
            "count": len(ids),
            "max_model_len": loaded.llama.config.context,
        }

    @api.post("/detokenize")
    async def detokenize(body: DetokenizeRequest) -> dict[str, Any]:
        """The text of token ids: `content` for llama.cpp's clients, `prompt` for vLLM's."""
        text = text_of(await engine.model(), body.tokens)
        return {"content": text, "prompt": text}

    async def answer(
        request: Request, body: GenerationRequest, jobs: Sequence[Job], form: Form
    ) -> Response:
        generation = Generation(engine, jobs, body.lane, body.origin())
        connected = while_connected(request, generation)
        try:
            first = await anext(connected)  # what fails before the first event has an HTTP status
        except StopAsyncIteration:
            return Response(status_code=499)  # nobody is there to read it
        if not body.stream:
            return JSONResponse(await form.whole(chain(first, connected), len(jobs)))
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(form.chunks(chain(first, connected), len(jobs), with_usage))

    app.include_router(api)
    return app


def check_model(engine: Engine, name: str | None) -> None:
    if name is not None and canonical_name(name) != engine.model_name:
        serving = engine.model_name
        raise UnknownModel(
            f"this engine serves {serving!r}, not {name!r}; stop it before another (`cl-lsp stop`"
            " ends the user's daemon)"
        )


def model_card(
    name: str, loaded: LoadedModel, template: ChatTemplateConfig | None
) -> dict[str, Any]:
    identity = loaded.identity if template is None else template.of(loaded.identity).identity
    refused = {c: why for c in CAPABILITIES if (why := identity.refusal(c))}
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "cl-lsp",
        "context_length": loaded.llama.config.context,
        "capabilities": [c for c in CAPABILITIES if c not in refused],
        "refused": refused,
    }


def prompt_of(
    model: LoadedModel, body: CompletionRequest, one: str | list[int], new_tokens: int
) -> Prompt:
    """A text is cut to the context if need be, and `dropped` says how much is missing; ids are not.

    Raises InvalidRequest or Unsupported.
    """
    room = prompt_room(model.llama.config.context, new_tokens, "max_tokens")
    if not isinstance(one, str):
        return ids_prompt(model, one, room)
    if body.suffix is None:
        return completion_prompt(model.tokenizer, one, room)
    model.identity.require("infilling")
    order = body.order or order_of(model.identity.label, healed=True)
    prefix = with_snippets(one, [(s.filename, s.text) for s in body.input_extra])
    return infilling_prompt(model.tokenizer, prefix, body.suffix, room, order)


def ids_prompt(model: LoadedModel, ids: list[int], room: int) -> Prompt:
    """Token ids as they are, BOS or not: who sends them knows why."""
    check_ids(model, ids)
    if len(ids) > room:
        raise InvalidRequest(f"prompt: {len(ids)} token ids; there is room for {room}")
    return Prompt(ids, healable=0)


def text_of(model: LoadedModel, one: str | list[int]) -> str:
    if isinstance(one, str):
        return one
    check_ids(model, one)
    return model.tokenizer.render(one)


def check_ids(model: LoadedModel, ids: list[int]) -> None:
    if max(ids, default=0) >= model.tokenizer.size:
        raise InvalidRequest(f"{max(ids)} is no token id: there are {model.tokenizer.size}")


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


async def while_connected(request: Request, generation: Generation) -> AsyncGenerator[Numbered]:
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


async def chain(first: Numbered, rest: AsyncGenerator[Numbered]) -> AsyncIterator[Numbered]:
    try:
        yield first
        async for event in rest:
            yield event
    finally:
        await rest.aclose()
