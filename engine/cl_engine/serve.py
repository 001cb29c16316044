"""One daemon's life: answers `/health`, loads the model, serves, stops when told or idle."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import uvicorn

from .address import identity
from .errors import EngineError
from .facts import read_facts
from .guard import Access
from .http import OPEN, create_app
from .registry import Options, Registry
from .template import ChatTemplateConfig

WATCH_S = 1.0  # between two looks at whether there is still something to do
GRACE_S = 3  # seconds that running requests get when the daemon is told to stop


class Server(uvicorn.Server):
    """uvicorn's server, which ends quietly when told to stop: the socket is cleared away."""

    def __init__(self, config: uvicorn.Config, registry: Registry):
        super().__init__(config)
        self._registry = registry
        self.again = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        for engine in self._registry.engines:
            engine.stop_soon()
        super().handle_exit(sig, frame)

    def reload(self) -> None:
        """End as if told to stop; the process then begins anew, with what its files say now."""
        self.again = True
        self.handle_exit(signal.SIGTERM, None)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        if sys.platform == "win32":  # whose loops take no signals
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGBREAK):
                signal.signal(number, self.handle_exit)
        else:
            loop.add_signal_handler(signal.SIGHUP, self.reload)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


@dataclass(frozen=True)
class Serving:
    """What to serve and how; `where` is how people are told the address.

    `chat_model` (None: the model) is for chats, `template` decides what they become; with `others`
    any model of this disk is loaded when it is asked for. `file` is where the daemon is found, its
    socket or port file: without it nobody finds this one. Times in seconds without a request, 0 for
    never: `unload_after_s` frees the memory, `idle_exit_s` ends the process.
    """

    model: str
    where: str
    access: Access = OPEN
    options: Options = field(default_factory=Options)
    chat_model: str | None = None
    template: ChatTemplateConfig | None = None
    others: bool = False
    file: Path | None = None
    unload_after_s: float = 0
    idle_exit_s: float = 0


def serve(what: Serving, listener: socket.socket) -> bool:
    """Serve until told to stop, or idle for too long. True: it is to begin anew (SIGHUP).

    Raises the EngineError that kept the model from loading.
    """
    identity = read_facts(what.chat_model or what.model).identity  # before anything is loaded
    if what.template is not None:
        what.template.of(identity)
    elif what.chat_model is not None:
        identity.require("chat")
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        return runner.run(_serve(what, listener))


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's: an answer's first token is 0.3 ms sooner. asyncio's own where there is none."""
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.new_event_loop


async def _serve(what: Serving, listener: socket.socket) -> bool:
    registry = Registry(
        what.model,
        what.options,
        chat_model=what.chat_model,
        template=what.template,
        others=what.others,
    )
    config = uvicorn.Config(
        create_app(registry, what.access),
        log_config=None,
        lifespan="off",
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        # The engine's clients keep their connections while they think.
        timeout_keep_alive=3600,
    )
    server = Server(config, registry)
    first = asyncio.ensure_future(_load_first(what, registry, server))
    watch = asyncio.ensure_future(_watch(what, registry, server))
    try:
        await server.serve(sockets=[listener])
    finally:
        watch.cancel()
        error = first.exception() if first.done() and not first.cancelled() else registry.lost
        first.cancel()
        registry.stop()
        print("restarting" if server.again else "stopped", flush=True)
    if isinstance(error := error or registry.lost, EngineError):
        raise error
    return server.again


async def _load_first(what: Serving, registry: Registry, server: Server) -> None:
    """The default model; without it there is nothing to serve."""
    began = time.monotonic()
    try:
        engine = await registry.engine(registry.default)
        await engine.model()
    except BaseException:
        server.should_exit = True
        raise
    took = f"{engine.computes}, loaded in {time.monotonic() - began:.1f} s{what.access.where}"
    print(f"serving {what.model} on {what.where}, {took}", flush=True)


async def _watch(what: Serving, registry: Registry, server: Server) -> None:
    """Nobody asks: memory is freed, then the process ends. It also ends where the device is lost,
    or the file that it is found by: whoever asks next gets a daemon that works."""
    waits = [s for s in (what.unload_after_s, what.idle_exit_s) if s > 0]
    made = what.file and identity(what.file)
    while not server.should_exit:
        await asyncio.sleep(min([WATCH_S, *(s / 4 for s in waits)]))
        if what.unload_after_s > 0:
            await registry.unload_idle(what.unload_after_s)
        idle = not registry.active and registry.state(registry.default) != "loading"
        late = what.idle_exit_s > 0 and time.monotonic() - registry.last_used > what.idle_exit_s
        lost = what.file is not None and identity(what.file) != made
        if lost and not registry.active:
            print(f"{what.file} is gone: another daemon can make it", flush=True)
        if (late and idle) or (lost and not registry.active) or registry.lost is not None:
            server.should_exit = True
