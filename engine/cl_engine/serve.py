"""One daemon's life: answers `/health`, loads the model, serves, stops when told or idle."""

import asyncio
import contextlib
import gc
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

import uvicorn

from .bar import loading_bar, making_bar
from .facts import read_facts
from .guard import Access
from .http import OPEN, create_app
from .kernels import Kernels
from .loop import Engine
from .template import ChatTemplateConfig

GRACE_S = 3  # seconds that running requests get when the daemon is told to stop


class Server(uvicorn.Server):
    """uvicorn's server, which ends quietly when told to stop: the socket is cleared away."""

    def __init__(self, config: uvicorn.Config, engine: Engine):
        super().__init__(config)
        self._engine = engine
        self.again = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._engine.inbox.put(None)  # what is under way ends with an error of its own
        super().handle_exit(sig, frame)

    def reload(self) -> None:
        """End as if told to stop; the process then begins anew, with what its files say now."""
        self.again = True
        self.handle_exit(signal.SIGHUP, None)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


@dataclass(frozen=True)
class Serving:
    """What to serve and how; `where` is how people are told the address."""

    model: str
    where: str
    access: Access = OPEN
    idle_exit_s: float = 0  # end after so long without a request; 0: never
    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    kv_memory: int | None = None  # bytes
    kernels: Kernels = "auto"
    speculate: bool = True
    template: ChatTemplateConfig | None = None


def serve(what: Serving, listener: socket.socket) -> bool:
    """Serve until told to stop, or idle for too long. True: it is to begin anew (SIGHUP).

    Raises the EngineError that kept the model from loading.
    """
    identity = read_facts(what.model).identity  # what cannot be is said before anything is loaded
    if what.template is not None:
        what.template.of(identity)
    progress = loading_bar(what.model)
    engine = Engine(
        what.model,
        device=what.device,
        dtype=what.dtype,
        context=what.context,
        kv_memory=what.kv_memory,
        kernels=what.kernels,
        speculate=what.speculate,
        progress=progress,
        making=making_bar(),
    )
    config = uvicorn.Config(
        create_app(engine, what.access, what.template),
        log_config=None,
        lifespan="off",
        proxy_headers=False,
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
                gc.collect()  # what is there now stays: later collections need not look at it
                gc.freeze()
                seconds = time.monotonic() - began
                took = f"{engine.computes}, loaded in {seconds:.1f} s{what.access.where}"
                print(f"serving {what.model} on {what.where}, {took}", flush=True)
            else:
                server.should_exit = True

        engine.loaded.add_done_callback(lambda _: loop.call_soon_threadsafe(on_loaded))
        engine.start()
        watch = asyncio.ensure_future(_idle_exit(engine, server, what.idle_exit_s))
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
    return server.again


async def _idle_exit(engine: Engine, server: Server, after_s: float) -> None:
    """And where the device is lost: whoever asks next gets a daemon that works."""
    while not server.should_exit:
        await asyncio.sleep(min(5.0, after_s / 4 or 5.0))
        idle = engine.state == "ok" and engine.active == 0
        late = after_s > 0 and idle and time.monotonic() - engine.last_used > after_s
        if late or engine.lost is not None:
            server.should_exit = True
