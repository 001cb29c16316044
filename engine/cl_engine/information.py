"""The routes that do not generate: who serves, which models, how fast; and tokens of texts."""

import asyncio
import logging
import os
import time
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from . import __version__
from .answering import text_of
from .catalogue import CAPABILITIES
from .errors import EngineError, InvalidRequest
from .metrics import CONTENT_TYPE as METRICS_TYPE
from .registry import Registry
from .requests import DetokenizeRequest, ModelRequest, TokenizeRequest

log = logging.getLogger(__name__)
WIRE_VERSION = 2  # raised when an older client could no longer talk to this daemon


def health(registry: Registry) -> dict[str, Any]:
    """The daemon's own account: of itself, of its default model, and of those in memory."""
    default = registry.held(registry.default)
    return {
        "status": registry.state(registry.default),
        "model": registry.default,
        "computes": default and default.computes,
        "version": __version__,
        "wire": WIRE_VERSION,
        "pid": os.getpid(),
        "active": registry.active,
        "models": {e.model_name: {"status": e.state, "active": e.active} for e in registry.engines},
    }


def open_routes(registry: Registry) -> APIRouter:
    """Without a token."""
    api = APIRouter()

    @api.get("/health")
    async def health_() -> dict[str, Any]:
        """Answers while the model loads; says who serves."""
        return health(registry)

    return api


def routes(registry: Registry) -> APIRouter:
    api, began = APIRouter(), time.monotonic()

    @api.get("/metrics", response_model=None)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(registry.metrics.text(), media_type=METRICS_TYPE)

    @api.get("/status")
    async def status() -> dict[str, Any]:
        """What is in memory, who asks, and how fast the last answers were."""
        models = [model_status(registry, name) for name in registry.wanted()]
        uptime_s = round(time.monotonic() - began)
        own = {"uptime_s": uptime_s, "clients": registry.metrics.clients, "models": models}
        return health(registry) | own

    @api.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The default one first, then those in memory, then the others of this disk."""
        return {"object": "list", "data": await asyncio.to_thread(cards, registry)}

    @api.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        return await asyncio.to_thread(card, registry, registry.name_of(name))

    @api.post("/models/load")
    async def load(body: ModelRequest) -> dict[str, Any]:
        """Answers when the model is in memory; `/health` tells of it meanwhile."""
        async with registry.use(body.model):
            return {"success": True}

    @api.post("/models/unload")
    async def unload(body: ModelRequest) -> dict[str, Any]:
        """Let go of an idle model; it is loaded again when someone asks it."""
        name = registry.name_of(body.model)
        if not await registry.unload(name):
            held = registry.held(name)
            state = "in use" if held and held.state == "ok" else registry.state(name)
            raise InvalidRequest(f"{name} is {state}")
        return {"success": True}

    @api.post("/tokenize")
    async def tokenize(body: TokenizeRequest) -> dict[str, Any]:
        """Token ids of a text, in llama.cpp's form and vLLM's."""
        async with registry.use(body.model) as (_, loaded):
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
        async with registry.use(body.model) as (_, loaded):
            text = text_of(loaded, body.tokens)
        return {"content": text, "prompt": text}

    return api


def cards(registry: Registry) -> list[dict[str, Any]]:
    """Of all models that may be asked for; what is broken on this disk is left out."""
    found = [card(registry, registry.default)]
    for name in registry.names():
        if name != registry.default:
            try:
                found.append(card(registry, name))
            except EngineError as error:
                log.warning("%s: %s", name, error)
    return found


def card(registry: Registry, name: str) -> dict[str, Any]:
    """What a model is and can do, loaded or not."""
    facts, template = registry.facts(name), registry.template(name)
    identity = facts.identity if template is None else template.of(facts.identity).identity
    refused = {c: why for c in CAPABILITIES if (why := identity.refusal(c))}
    need = registry.need(name)
    context = registry.context(name) or facts.config.context
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "cl-lsp",
        "status": registry.state(name),
        "context_length": context,
        "weight_bytes": need.weights,
        "kv_bytes_per_token": need.kv_cache // context,
        "capabilities": [c for c in CAPABILITIES if c not in refused],
        "refused": refused,
    }


def model_status(registry: Registry, name: str) -> dict[str, Any]:
    engine = registry.held(name)
    if engine is None:
        return {"id": name, "status": "unloaded"}
    return {
        "id": name,
        "status": engine.state,
        "active": engine.active,
        "computes": engine.computes,
        "memory": {"weights": engine.memory.weights, "kv_cache": engine.memory.kv_cache},
        "idle_s": round(time.monotonic() - engine.last_used),
        "recent": registry.metrics.recent(name),
    }
