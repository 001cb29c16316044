"""One daemon's life: answers `/health`, loads the model, serves, stops when told or idle."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from types import FrameType

import uvicorn

from .http import create_app
from .loader import find_model
from .loop import Engine

GRACE_S = 3  # seconds that running requests get when the daemon is told to stop


class Server(uvicorn.Server):
    """uvicorn's server, which ends quietly when told to stop: the socket is cleared away."""

    def __init__(self, config: uvicorn.Config, engine: Engine):
        super().__init__(config)
        self._engine = engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._engine.inbox.put(None)  # what is under way ends with an error of its own
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def serve(
    model: str, listener: socket.socket, where: str, token: str | None, idle_exit_s: float
) -> None:
    """Serve until told to stop, or until nothing was asked for `idle_exit_s` seconds (0: for ever).

    Raises the EngineError that kept the model from loading.
    """
    find_model(model)  # an unknown name is said at once, before torch has anything to do
    engine = Engine(model)
    config = uvicorn.Config(
        create_app(engine, token),
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_S,
        # The engine's clients keep their connections while they think.
        timeout_keep_alive=3600,
    )
    server = Server(config, engine)
    began = time.monotonic()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def on_loaded() -> None:
            if engine.state == "ok":
                print(
                    f"serving {model} on {where} after {time.monotonic() - began:.1f} s", flush=True
                )
            else:
                server.should_exit = True

        engine.loaded.add_done_callback(lambda _: loop.call_soon_threadsafe(on_loaded))
        engine.start()
        watch = asyncio.ensure_future(_idle_exit(engine, server, idle_exit_s))
        try:
            await server.serve(sockets=[listener])
        finally:
            watch.cancel()

    try:
        asyncio.run(main())
    finally:
        engine.stop()
    if engine.error is not None:
        raise engine.error


async def _idle_exit(engine: Engine, server: Server, after_s: float) -> None:
    while after_s > 0 and not server.should_exit:
        await asyncio.sleep(min(5.0, after_s / 4))
        idle = engine.state == "ok" and engine.active == 0
        if idle and time.monotonic() - engine.last_used > after_s:
            server.should_exit = True
