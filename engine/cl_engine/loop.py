"""The engine's thread: the only driver of scheduler and runner. HTTP talks to it through an inbox.

Closing a `Generation` is what cancels: it ends the iteration and, within one step, the work.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import math
import os
import queue
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from .errors import EngineError, NotReady
from .hub import canonical_name
from .loader import LoadedModel, Progress, free_memory, load_model
from .models.llama import KVCache, Llama
from .prompt import Prompt
from .request import ErrorEvent, Event, FinishEvent, Lane, Limits, Request
from .runner import Runner
from .sampling import SamplingParams
from .scheduler import Scheduler
from .slots import Slots

log = logging.getLogger(__name__)
SLOTS = 4  # sequences with a KV cache of their own
# Half of the cores: the editor needs the rest, and a product of few rows gains nothing from more.
THREADS = max(1, (os.cpu_count() or 1) // 2)

HEADROOM = 1 << 30  # bytes, for activations
STOP_S = 20  # seconds; a step of a large model on a CPU is the longest wait

State = Literal["loading", "ok", "failed"]


@dataclass(frozen=True)
class Submit:
    request: Request


@dataclass(frozen=True)
class Cancel:
    request: Request


class Generation:
    """The events of one request, for one asyncio task; the last is its end.

    Iterating raises what an ErrorEvent carries. `close` cancels what is not finished.
    """

    def __init__(
        self,
        engine: "Engine",
        prompt: Prompt,
        limits: Limits,
        sampling: SamplingParams,
        lane: Lane = "completion",
    ):
        self._engine = engine
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to read
                loop.call_soon_threadsafe(self._events.put_nowait, event)

        self._request = Request(prompt, limits, sampling, deliver, lane)
        self._open = True
        engine.active += 1
        engine.submit(self._request)

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        if isinstance(event, ErrorEvent):
            raise event.error
        if isinstance(event, FinishEvent):
            self._events.put_nowait(None)
        return event

    def close(self) -> None:
        """End the iteration and the work behind it; no harm if both have ended already."""
        if not self._open:
            return
        self._open = False
        self._engine.active -= 1
        self._engine.last_used = time.monotonic()
        self._engine.cancel(self._request)
        self._events.put_nowait(None)


class Engine:
    """Loads a model and serves requests, both in a thread of its own.

    `loaded` is the model, or what went wrong while it was loaded.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        context: int | None = None,
        progress: Progress | None = None,
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
        self.loaded: concurrent.futures.Future[LoadedModel] = concurrent.futures.Future()
        self.active = 0  # requests under way
        self.last_used = time.monotonic()
        self.inbox: queue.SimpleQueue[Submit | Cancel | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def error(self) -> BaseException | None:
        return self.loaded.exception() if self.loaded.done() else None

    @property
    def state(self) -> State:
        if not self.loaded.done():
            return "loading"
        return "failed" if self.error else "ok"

    def start(self) -> None:
        # A thread that is inside torch when the interpreter goes takes the process down with it.
        atexit.register(self.stop)
        self._thread.start()

    def stop(self) -> None:
        """Give up what is under way and end the thread; a load in progress is not waited for."""
        atexit.unregister(self.stop)
        self.inbox.put(None)
        if self.loaded.done() and self._thread.is_alive():
            self._thread.join(timeout=STOP_S)

    def forget(self) -> None:
        """After `stop`: let go of the model, so that its memory is free."""
        self.loaded = concurrent.futures.Future()

    async def model(self) -> LoadedModel:
        """The model, when it is there. Raises what went wrong while it was loaded."""
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
            slots = make_slots(model.llama)
        except EngineError as error:
            self.loaded.set_exception(error)
        except Exception as error:
            log.exception("loading %s", self.model_name)
            self.loaded.set_exception(EngineError(f"loading {self.model_name} failed: {error}"))
        else:
            self.loaded.set_result(model)
            self._serve(model, slots)

    def _serve(self, model: LoadedModel, slots: Slots) -> None:
        scheduler = Scheduler(model.tokenizer, slots, model.llama.config.context)
        runner = Runner(model.llama, model.tokenizer)
        while self._receive(scheduler):
            if (sequence := scheduler.next()) is None:
                continue
            try:
                scheduler.advance(sequence, runner.step(sequence))
            except Exception as error:  # one request must not take the others with it
                log.exception("a step failed")
                scheduler.fail(sequence, EngineError(f"the engine failed: {error}"))

        scheduler.fail_all(NotReady("the engine is stopping"))

    def _receive(self, scheduler: Scheduler) -> bool:
        """Empty the inbox; sleep in it while there is nothing to do. False when told to stop."""
        while True:
            try:
                message = self.inbox.get(block=scheduler.idle)
            except queue.Empty:
                return True
            if message is None:
                return False
            if isinstance(message, Submit):
                scheduler.add(message.request)
            else:
                scheduler.cancel(message.request)


def make_slots(llama: Llama) -> Slots:
    """Raises EngineError if there is no memory for one KV cache; fewer than SLOTS will do.

    A second one and more are only made if HEADROOM stays free: a CPU's memory is taken on first
    use, when it is too late to refuse.
    """
    caches: list[KVCache] = []
    needed = llama.cache_bytes
    while len(caches) < SLOTS:
        free = free_memory(llama.device)
        taken = 0 if llama.device.type == "cuda" else len(caches) * needed
        room = math.inf if free is None else free - taken
        if room < needed + (HEADROOM if caches else 0):
            break
        try:
            caches.append(llama.new_cache())
        except RuntimeError:  # torch's, of both devices
            break
    if not caches:
        raise EngineError(
            f"no memory for a KV cache of {llama.config.context} tokens ({needed / 2**30:.1f} GiB):"
            " give a smaller context"
        )
    return Slots(caches)
