"""Servers that are not ours, scripted after what their code and runs of them show."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

# What their tokenizers make of a text: a number for each character, and one for each control word.
CONTROL = {"▁<PRE>": 3, "▁<SUF>": 4, "▁<MID>": 5, "▁<EOT>": 6}
CARDS: dict[str, dict[str, Any]] = {
    "vLLM": {"owned_by": "vllm", "max_model_len": 4096},
    "SGLang": {"owned_by": "sglang", "max_model_len": 4096},
    "lmdeploy": {"owned_by": "lmdeploy"},
    "llama.cpp": {"owned_by": "llamacpp", "meta": {"n_ctx": 4096}},
    "TGI": {"created": 0},
    "Ollama": {"owned_by": "library"},
    "transformers": {"owned_by": "local", "created": 0, "status": {"value": "loaded"}},
    "OpenAI": {"owned_by": "someone"},
}


def tokenize(text: str, special: bool = False) -> list[int]:
    """As SentencePiece does: a space before every text that begins with no control word."""
    ids = [1] if special else []
    if text in CONTROL:
        return [*ids, CONTROL[text]]
    return [*ids, *(100 + ord(c) for c in (" " + text if text else ""))]


@dataclass(eq=False)
class Foreign:
    """`pieces` is the answer to every prompt, a piece after each `delay_s`."""

    kind: str
    model: str = "codellama/CodeLlama-7b-hf"
    pieces: list[str] = field(default_factory=lambda: ["turn", " x", "\ny"])
    delay_s: float = 0.0
    key: str | None = None
    status: int = 200
    retry_after: str | None = None
    infills: bool = True  # llama.cpp's model has words for it
    broken: bool = False  # the connection ends in mid-answer
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    closed: int = 0  # streams that their client has left

    @property
    def asked(self) -> list[tuple[str, dict[str, Any]]]:
        """What was generated for, without the tokenizer's work."""
        return [(path, body) for path, body in self.requests if path != "/tokenize"]

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/models", response_model=None)
        async def models(request: Request) -> Response:
            if refusal := self._refusal(request):
                return refusal
            card = {"id": self.model, "object": "model"} | CARDS[self.kind]
            return JSONResponse({"data": [{"owned_by": self.model} | card]})

        @app.post("/{path:path}", response_model=None)
        async def ask(path: str, request: Request) -> Response:
            body = await request.json()
            self.requests.append((f"/{path}", body))
            self.headers.append(dict(request.headers))
            if refusal := self._refusal(request):
                return refusal
            if path == "infill" and not self.infills:
                message = "Infill is not supported by this model: prefix token is missing."
                return JSONResponse({"error": {"code": 501, "message": message}}, 501)
            if path == "tokenize":
                ids = tokenize(body["prompt"], body["add_special_tokens"])
                return JSONResponse({"tokens": ids})
            if self.kind == "transformers" and (unknown := body.keys() - TRANSFORMERS):
                detail = f"Unexpected fields in the request: {unknown}"
                return JSONResponse({"detail": detail}, 422)
            return StreamingResponse(self._events(f"/{path}"), media_type="text/event-stream")

        return app

    def _refusal(self, request: Request) -> Response | None:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        if self.status != 200:
            headers = {"retry-after": self.retry_after} if self.retry_after else None
            return JSONResponse({"object": "error", "message": "busy"}, self.status, headers)
        return None

    async def _events(self, path: str) -> AsyncIterator[str]:
        try:
            yield ": ping\n\n" if path != "/api/generate" else ""
            for piece in self.pieces:
                await asyncio.sleep(self.delay_s)
                yield self._piece(path, piece)
            if not self.broken:
                yield self._end(path)
        except asyncio.CancelledError:
            self.closed += 1
            raise

    def _piece(self, path: str, piece: str) -> str:
        match path:
            case "/infill":
                return _event({"index": 0, "content": piece, "tokens": [9], "stop": False})
            case "/api/generate":
                return json.dumps({"response": piece, "done": False}) + "\n"
            case "/v1/chat/completions":
                return _event({"choices": [{"index": 0, "delta": {"content": piece}}]})
            case _:
                return _event({"choices": [{"index": 0, "text": piece}]})

    def _end(self, path: str) -> str:
        usage = {"prompt_tokens": 7, "completion_tokens": len(self.pieces)}
        match path:
            case "/infill":
                timings = {"cache_n": 5, "prompt_ms": 2.0, "predicted_ms": 3.0}
                end = {"content": "", "stop": True, "stop_type": "eos", "timings": timings}
                return _event(end | {"tokens_evaluated": 7, "tokens_predicted": 3})
            case "/api/generate":
                end = {"response": "", "done": True, "done_reason": "stop", "eval_count": 3}
                return json.dumps(end) + "\n"
        last = {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}
        if self.kind == "transformers":  # all in one, and no [DONE]
            return _event(last | {"usage": usage})
        return _event(last) + _event({"choices": [], "usage": usage}) + "data: [DONE]\n\n"


TRANSFORMERS = {
    *("prompt", "model", "messages", "max_tokens", "temperature", "stream", "stream_options"),
    "stop",
}


def _event(fields: dict[str, Any]) -> str:
    return f"data: {json.dumps(fields)}\n\n"


@contextlib.asynccontextmanager
async def foreign(kind: str, **options: Any) -> AsyncIterator[Foreign]:
    """Serve one in this event loop, on a free port of loopback."""
    fake = Foreign(kind, **options)
    config = uvicorn.Config(
        fake.app(), port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    fake.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield fake
    finally:
        server.should_exit = True
        await task
