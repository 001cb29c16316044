"""A scripted engine at the user's socket: says what it is told to, and takes notes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from cl_lsp.daemon import default_socket


@dataclass
class FakeEngine:
    text: str = "return 1"
    delay_s: float = 0.0
    error: str | None = None
    break_off: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    status: str = "ok"
    requests: list[dict] = field(default_factory=list)
    finished: int = 0
    cancelled: int = 0

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/health")
        async def health() -> dict:
            return {
                "status": self.status,
                "model": "fake",
                "version": "0",
                "wire": 1,
                "pid": 0,
                "active": 0,
            }

        @app.get("/v1/models")
        async def models() -> dict:
            return {"data": [{"id": "fake", "refused": self.refused}]}

        @app.post("/v1/chat/completions")
        @app.post("/v1/completions")
        async def completions(request: Request) -> Response:
            self.requests.append(await request.json())
            if self.error:
                return JSONResponse({"error": {"message": self.error}}, 400)
            return StreamingResponse(self._events(), media_type="text/event-stream")

        return app

    async def _events(self) -> AsyncIterator[str]:
        try:
            for character in self.text:
                await asyncio.sleep(self.delay_s / len(self.text))
                choice = {"text": character, "delta": {"content": character}}
                yield _data({"choices": [choice | {"finish_reason": None}]})
                if self.break_off:
                    self.break_off = False
                    return
            yield _data({"choices": [{"text": "", "finish_reason": "stop"}]})
            yield _data({"choices": [], "usage": {"prompt_tokens": 3}, "timings": {}})
            yield "data: [DONE]\n\n"
            self.finished += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def _data(fields: dict) -> str:
    return f"data: {json.dumps(fields)}\n\n"


@contextlib.asynccontextmanager
async def serving(engine: FakeEngine) -> AsyncIterator[Path]:
    """Serve in this event loop, at the socket where `cl-lsp` looks for the user's daemon."""
    uds = default_socket()
    uds.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = uvicorn.Config(
        engine.app(), uds=str(uds), log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield uds
    finally:
        server.should_exit = True
        await task
        uds.unlink(missing_ok=True)
