"""The routes that generate: OpenAI's completions and chats, llama.cpp's `/infill`.

A handler parses, builds prompts, and streams events. A client that hangs up cancels its request,
before the first token as well as after it.
"""

from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from .envelope import ChatEnvelope, TextEnvelope
from .errors import InvalidRequest
from .events import Form, answer
from .generation import default_new_tokens, prompt_room
from .llamacpp import InfillEnvelope
from .loader import LoadedModel
from .loop import Engine, Generation, Job
from .prompt import Prompt, completion_prompt, infilling_prompt, order_of
from .registry import Registry
from .requests import (
    DEFAULT_COMPLETION,
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    InfillRequest,
)
from .template import ChatTemplateConfig


def routes(registry: Registry) -> APIRouter:
    # `response_model=None`: what is answered is JSON already, in one of several forms.
    api = APIRouter()

    @api.post("/v1/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """The text that follows `prompt`, or that stands between it and `suffix`."""
        name = registry.name_of(body.model)
        if body.suffix is not None:
            (await registry.known(name)).identity.require("infilling")
        async with registry.use(name) as (engine, loaded):
            check_ids(loaded, body.biased)
            limits = body.limits(body.max_tokens or DEFAULT_COMPLETION)
            prompts = [prompt_of(loaded, body, one, limits.max_tokens) for one in body.prompts]
            jobs = [Job(p, limits, body.sampling(i)) for p in prompts for i in range(body.n)]
            echo = [text_of(loaded, one) for one in body.prompts] if body.echo else ()
            form = TextEnvelope(name, loaded.tokenizer, body.reported, body.n, echo)
            return await _answer(request, engine, body, jobs, form)

    @api.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """The assistant's next message."""
        name = registry.name_of(body.model, "chat")
        identity, template = (await registry.known(name)).identity, registry.template(name)
        if template is None:
            identity.require("chat")
        decided = (template or ChatTemplateConfig(capability="chat")).of(identity)
        async with registry.use(name) as (engine, loaded):
            check_ids(loaded, body.biased)
            context = loaded.llama.config.context
            wanted = body.max_completion_tokens or body.max_tokens
            limits = body.limits(wanted or default_new_tokens(context), decided.config.stop_words)
            room = prompt_room(context, limits.max_tokens, "max_tokens")
            prompt = decided.prompt(loaded.tokenizer, body.messages, room)
            jobs = [Job(prompt, limits, body.sampling(i)) for i in range(body.n)]
            form = ChatEnvelope(name, loaded.tokenizer, body.reported, body.n)
            return await _answer(request, engine, body, jobs, form)

    @api.post("/infill", response_model=None)
    async def infill(asked: InfillRequest, request: Request) -> Response:
        """What llama.cpp's server answers: the text between `input_prefix` and `input_suffix`."""
        name = registry.name_of(asked.model)
        (await registry.known(name)).identity.require("infilling")
        async with registry.use(name) as (engine, loaded):
            body = asked.completion()
            limits = body.limits(body.max_tokens or DEFAULT_COMPLETION)
            prompt = prompt_of(loaded, body, body.prompts[0], limits.max_tokens)
            form = InfillEnvelope(name, silent=asked.n_predict == 0)
            jobs = [Job(prompt, limits, body.sampling())]
            return await _answer(request, engine, body, jobs, form)

    return api


async def _answer(
    request: Request, engine: Engine, body: GenerationRequest, jobs: Sequence[Job], form: Form
) -> Response:
    generation = Generation(engine, jobs, body.lane, body.origin())
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    return await answer(request, generation, form, stream=body.stream, with_usage=with_usage)


def prompt_of(
    model: LoadedModel, body: CompletionRequest, one: str | list[int], new_tokens: int
) -> Prompt:
    """A text is cut to the context if need be, and `dropped` says how much is missing; ids are not.

    Raises InvalidRequest.
    """
    room = prompt_room(model.llama.config.context, new_tokens, "max_tokens")
    if not isinstance(one, str):
        return replace(ids_prompt(model, one, room), scored=body.scored)
    if body.suffix is None:
        prompt = completion_prompt(model.tokenizer, one, room)
        if body.scored and prompt.dropped:
            raise InvalidRequest(f"prompt: longer than {room} tokens, and all of it is to be told")
        return replace(prompt, healable=0, scored=True) if body.scored else prompt
    order = body.order or order_of(model.identity.label, healed=True)
    snippets = [(s.filename, s.text) for s in body.input_extra]
    return infilling_prompt(model.tokenizer, one, body.suffix, room, order, snippets)


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
