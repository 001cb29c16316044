"""A scripted engine at the user's socket: says what it is told to, and takes notes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from cl_lsp import __version__
from cl_lsp.daemon import WIRE_VERSION, default_socket


@dataclass(eq=False)
class Stream:
    """One request from its arrival to its end. `beside`: those that were open as it arrived."""

    body: dict
    text: str
    beside: list["Stream"]
    said: int = 0
    end: str | None = None  # the stop_reason, or "cancelled", "refused", "broken"
    followed: asyncio.Event = field(default_factory=asyncio.Event)
    follower: str = ""  # the stop_reason that it gives the stream it follows


@dataclass
class FakeEngine:
    """`text` is the answer to every prompt or, if `whole` is set, what follows the prompt in it."""

    text: str = "return 1"
    whole: str = ""
    choices: list[str] = field(default_factory=list)  # the answers to a request for several
    delay_s: float = 0.0  # a whole answer takes so long
    headers_s: float = 0.0  # and so long its beginning
    models_s: float = 0.0
    names: tuple[str, ...] = ("fake",)  # of its models
    models_asked: int = 0  # so often, what they are
    error: str | None = None
    error_status: int = 400
    break_off: bool = False
    stop_reason: str | None = "line"
    forgets: bool = False  # knows no request that another could follow
    version: str = __version__
    refused: dict[str, str] = field(default_factory=dict)
    status: str = "ok"
    loads: list[str] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)

    @property
    def requests(self) -> list[dict]:
        return [stream.body for stream in self.streams]

    @property
    def ends(self) -> list[str | None]:
        return [stream.end for stream in self.streams]

    @property
    def open(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.end is None]

    @property
    def finished(self) -> int:
        return self.ends.count(self.stop_reason)

    @property
    def cancelled(self) -> int:
        return self.ends.count("cancelled")

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/health")
        async def health() -> dict:
            return {
                "status": self.status,
                "model": "fake",
                "version": self.version,
                "wire": WIRE_VERSION,
                "pid": 0,
                "active": len(self.open),
                "models": {"fake": {"status": self.status, "active": len(self.open)}},
            }

        @app.post("/models/load")
        async def load(request: Request) -> dict:
            self.loads.append((await request.json())["model"])
            return {"success": True}

        @app.get("/v1/models")
        async def models() -> dict:
            self.models_asked += 1
            await asyncio.sleep(self.models_s)
            return {"data": [{"id": name, "refused": self.refused} for name in self.names]}

        @app.post("/v1/chat/completions")
        @app.post("/v1/completions")
        async def completions(request: Request) -> Response:
            stream = self._receive(await request.json())
            if self.error:
                stream.end = "refused"
                kind = "not_ready" if self.error_status == 503 else "other"
                error = {"message": self.error, "type": kind}
                return JSONResponse({"error": error}, self.error_status)
            if await _hangs_up(request, stream, self.headers_s):
                stream.end = "cancelled"
                return Response(status_code=499)
            several = self.choices and stream.body.get("n", 1) > 1
            return Answering(stream, (self._several if several else self._events)(stream))

        return app

    def _receive(self, body: dict) -> Stream:
        stream = Stream(body, self.text, self.open)
        self.streams.append(stream)
        if self.whole:
            assert self.whole.startswith(body["prompt"]), body["prompt"]
            stream.text = self.whole[len(body["prompt"]) :]
        follows = None if self.forgets else body.get("follows")
        for older in stream.beside if follows else []:
            if older.body.get("request_id") == follows:
                _follow(stream, older)
        return stream

    async def _several(self, stream: Stream) -> AsyncIterator[str]:
        await asyncio.sleep(self.delay_s)
        for index, text in enumerate(self.choices):
            choice = {"index": index, "text": text, "stop_reason": self.stop_reason}
            yield _data({"choices": [choice | {"finish_reason": "stop"}]})
        yield "data: [DONE]\n\n"
        stream.end = self.stop_reason

    async def _events(self, stream: Stream) -> AsyncIterator[str]:
        if stream.said:
            yield _text(stream.text[: stream.said])
        while stream.said < len(stream.text) and not stream.followed.is_set():
            with contextlib.suppress(TimeoutError):
                pause = self.delay_s / len(stream.text)
                await asyncio.wait_for(stream.followed.wait(), pause or 0.001)
                break
            yield _text(stream.text[stream.said])
            stream.said += 1
            if self.break_off:
                self.break_off, stream.end = False, "broken"
                return
        reason = stream.follower or self.stop_reason
        end = {"text": "", "finish_reason": "stop", "stop_reason": reason}
        yield _data({"choices": [end]})
        yield _data({"choices": [], "usage": {"prompt_tokens": 3}, "timings": {}})
        yield "data: [DONE]\n\n"
        stream.end = reason or "stop"


def _follow(newer: Stream, older: Stream) -> None:
    """What a real engine decides: go on if what was typed is what comes, or start anew."""
    typed = newer.body["prompt"].removeprefix(older.body["prompt"])
    adopts = older.text.startswith(typed)
    if adopts:
        newer.text, newer.said = older.text[len(typed) :], max(0, older.said - len(typed))
    older.follower = "adopted" if adopts else "superseded"
    older.followed.set()


async def _hangs_up(request: Request, stream: Stream, within_s: float) -> bool:
    """Whether the client does so before the answer's headers are sent."""
    gone = asyncio.ensure_future(request.receive())
    followed = asyncio.create_task(stream.followed.wait())
    await asyncio.wait({gone, followed}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    followed.cancel()
    return gone.done() or not gone.cancel()


class Answering(StreamingResponse):
    """Takes a note when the client hangs up."""

    def __init__(self, stream: Stream, events: AsyncIterator[str]):
        super().__init__(events, media_type="text/event-stream")
        self._stream = stream

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:
            self._stream.end = self._stream.end or "cancelled"


def _text(text: str) -> str:
    choice = {"text": text, "delta": {"content": text}, "finish_reason": None}
    return _data({"choices": [choice]})


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
