"""The engine's thread: the only driver of scheduler and runner. HTTP talks to it through an inbox.

Closing a `Generation` is what cancels: it ends the iteration and, within one step, the work.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from .core import CHUNK, Core, Memory, page_count
from .errors import DeviceLost, EngineError, NotReady, Overloaded
from .hub import canonical_name
from .kernels import Kernels, machine_for
from .loader import LoadedModel, Progress, load_model
from .metrics import Metrics
from .prompt import Prompt
from .request import ErrorEvent, Event, FinishEvent, Lane, Limits, Origin, Request
from .sampling import SamplingParams
from .scheduler import MAX_RUNNING
from .waiting import MAX_WAITING

log = logging.getLogger(__name__)
# Half of the cores: the editor needs the rest, and a product of few rows gains nothing from more.
THREADS = max(1, (os.cpu_count() or 1) // 2)

WINDOW = 16  # answers of one call in the engine at once: the others shall have room, too
STOP_S = 20  # seconds; a step of a large model on a CPU is the longest wait

State = Literal["loading", "ok", "failed"]


@dataclass(frozen=True)
class Submit:
    request: Request


@dataclass(frozen=True)
class Cancel:
    request: Request


@dataclass(frozen=True)
class Job:
    """One of the answers that a call wants."""

    prompt: Prompt
    limits: Limits
    sampling: SamplingParams


class Generation:
    """The events of all answers that one call wants, for one asyncio task: (number, event).

    At most WINDOW of them are in the engine at once. Iterating ends behind the last one's end, and
    raises what an ErrorEvent carries. `close` cancels what is not finished.
    """

    def __init__(
        self,
        engine: "Engine",
        jobs: Sequence[Job],
        lane: Lane = "completion",
        origin: Origin | None = None,
    ):
        self._engine = engine
        self._lane: Lane = lane
        self._origin = origin or Origin()
        self._events: asyncio.Queue[tuple[int, Event] | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.answers = len(jobs)
        self._waiting = list(enumerate(jobs))[::-1]
        self._running: dict[int, Request] = {}
        self._open = True
        if engine.stopping:
            raise NotReady("the engine is stopping")
        if engine.full and lane != "inline":  # at once, not behind the step under way
            raise Overloaded(f"{MAX_WAITING} requests are waiting already; try again")
        engine.active += 1
        while self._waiting and len(self._running) < WINDOW:
            self._submit()

    def _submit(self) -> None:
        number, job = self._waiting.pop()

        def deliver(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to read
                self._loop.call_soon_threadsafe(self._events.put_nowait, (number, event))

        request = Request(job.prompt, job.limits, job.sampling, deliver, self._lane, self._origin)
        self._running[number] = request
        self._engine.under_way += 1
        self._engine.submit(request)

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> tuple[int, Event]:
        found = await self._events.get()
        if found is None:
            raise StopAsyncIteration
        number, event = found
        if isinstance(event, ErrorEvent | FinishEvent) and self._running.pop(number, None):
            self._engine.under_way -= 1
        if isinstance(event, ErrorEvent):
            raise event.error
        if isinstance(event, FinishEvent):
            if self._waiting and self._open:
                self._submit()
            elif not self._running:
                self._events.put_nowait(None)
        return found

    def close(self) -> None:
        """End the iteration and the work behind it; no harm if both have ended already."""
        if not self._open:
            return
        self._open = False
        self._engine.active -= 1
        self._engine.last_used = time.monotonic()
        self._engine.under_way -= len(self._running)
        for request in self._running.values():
            self._engine.cancel(request)
        self._running.clear()
        self._events.put_nowait(None)


class Engine:
    """Loads a model and serves requests, both in a thread of its own.

    `loaded` is the model, or what went wrong while it was loaded. `kv_memory` are the bytes that
    the KV cache may take (None: four contexts, or what is free); `kernels`: see `machine_for`;
    `speculate` is for measurements. `progress` is told of bytes loaded, `making` of graphs made.
    `metrics` counts for several engines.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        context: int | None = None,
        kv_memory: int | None = None,
        kernels: Kernels = "auto",
        speculate: bool = True,
        progress: Progress | None = None,
        making: Progress | None = None,
        metrics: Metrics | None = None,
    ):
        self.model_name = canonical_name(model)
        self._load = partial(
            load_model,
            model,
            revision=revision,
            device=device,
            dtype=dtype,
            context=context,
            progress=progress,
        )
        self._kv_memory, self._speculate = kv_memory, speculate
        self._kernels: Kernels = kernels
        self._making = making
        self.loaded: concurrent.futures.Future[LoadedModel] = concurrent.futures.Future()
        self.computes: str | None = None  # on what, as what, and how, when it is loaded
        self.memory = Memory(0, 0)  # what it takes, when it is loaded
        self.metrics = (metrics or Metrics()).of(self.model_name)
        self.lost: DeviceLost | None = None  # what ended the engine while it served
        self.active = 0  # calls whose answers are under way
        self.users = 0  # and those that are about to have some
        self.stopping = False
        self.under_way = 0  # their answers that are in the engine
        self.last_used = time.monotonic()
        self.inbox: queue.SimpleQueue[Submit | Cancel | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def error(self) -> BaseException | None:
        if self.lost is not None:
            return self.lost
        return self.loaded.exception() if self.loaded.done() else None

    @property
    def state(self) -> State:
        if not self.loaded.done():
            return "loading"
        return "ok" if self.error is None else "failed"

    @property
    def full(self) -> bool:
        """Whether one more request would be refused, but for a key, which others give way to."""
        return self.under_way >= MAX_RUNNING + MAX_WAITING

    def start(self) -> None:
        # A thread that is inside torch when the interpreter goes takes the process down with it.
        atexit.register(self.stop)
        self._thread.start()

    def stop_soon(self) -> None:
        """What is under way ends with an error of its own, and no more is taken."""
        self.stopping = True
        self.inbox.put(None)

    def stop(self) -> None:
        """Give up what is under way and end the thread; a load in progress is not waited for."""
        atexit.unregister(self.stop)
        self.stop_soon()
        if self.loaded.done() and self._thread.is_alive():
            self._thread.join(timeout=STOP_S)

    def forget(self) -> None:
        """After `stop`: let go of the model, so that its memory is free."""
        self.loaded = concurrent.futures.Future()

    async def model(self) -> LoadedModel:
        """The model, when it is there. Raises what went wrong while it was loaded."""
        if self.loaded.done():  # a wrapped future would cost each request two turns of the loop
            return self.loaded.result()
        return await asyncio.shield(asyncio.wrap_future(self.loaded))

    def submit(self, request: Request) -> None:
        """From any thread; what comes of it goes to `request.deliver`."""
        self.inbox.put(Submit(request))

    def cancel(self, request: Request) -> None:
        """From any thread; no harm if it has ended."""
        self.inbox.put(Cancel(request))

    def _run(self) -> None:
        torch.set_num_threads(THREADS)
        try:
            model = self._load()
            core = self._make_core(model)
        except EngineError as error:
            self.loaded.set_exception(error)
        except Exception as error:
            log.exception("loading %s", self.model_name)
            self.loaded.set_exception(EngineError(f"loading {self.model_name} failed: {error}"))
        else:
            self.loaded.set_result(model)
            try:
                while self._receive(core):
                    core.step(lambda: self._receive(core, wait=False))
                core.scheduler.fail_all(NotReady("the engine is stopping"))
            except DeviceLost as error:  # this process can compute no more
                log.exception("the engine ends")
                self.lost = error
                core.scheduler.fail_all(error)
                self._refuse(error)
            self.metrics.watch(None)

    def _refuse(self, error: EngineError) -> None:
        """Every request from now on, until told to stop."""
        while not self.stopping and (message := self.inbox.get()) is not None:
            if isinstance(message, Submit):
                message.request.deliver(ErrorEvent(error))

    def _make_core(self, model: LoadedModel) -> Core:
        llama = model.llama
        machine = machine_for(llama, self._kernels, CHUNK[llama.device.type], self._making)
        core = Core(
            model,
            pages=page_count(llama, self._kv_memory),
            machine=machine,
            speculate=self._speculate,
            report=self.metrics.report,
        )
        self.metrics.watch(lambda: core.scheduler)
        self.computes, self.memory = core.computes, core.memory
        return core

    def _receive(self, core: Core, wait: bool = True) -> bool:
        """Empty the inbox; `wait` in it while there is nothing to do. False when told to stop."""
        while not self.stopping:
            idle = wait and core.scheduler.idle
            if idle:
                core.check()
            try:
                message = self.inbox.get(block=idle)
            except queue.Empty:
                return True
            if message is None:
                self.stopping = True
            elif isinstance(message, Submit):
                core.scheduler.add(message.request)
            else:
                core.scheduler.cancel(message.request)
        return False
