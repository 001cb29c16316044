"""The engine without its thread: one model, its KV memory, and who runs when.

`step` is all that happens, for the daemon's loop as for tests and measurements.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .errors import DeviceLost, EngineError
from .loader import MIN_CONTEXT, LoadedModel, free_memory
from .machine import Machine, TorchMachine, raise_if_lost
from .models.llama import KVPool, Llama
from .pages import Pages
from .prompt import HEALING_DEPTH
from .radix import RadixTree
from .request import Request
from .runner import Results, Runner
from .scheduler import Part, Report, Scheduler

log = logging.getLogger(__name__)
PAGE = 16  # tokens; what lies behind a divergence inside a page is copied or computed again
CONTEXTS = 4  # whole contexts that the KV memory may hold, if there is so much memory
HEADROOM = 1 << 30  # bytes, for activations
# Prompt tokens of a step. On a CPU 64 go as fast as 256, one by one (1,590 tokens a second against
# 1,430), and who waits for the step waits a quarter of the time. On a GPU 1,024 take five times as
# long as a step of decoding (7B on an H100: docs/performance.md).
CHUNK = {"cpu": 64, "cuda": 1024}


@dataclass(frozen=True)
class Memory:
    """Bytes that a model holds on its device."""

    weights: int
    kv_cache: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache


@dataclass(frozen=True)
class Flight:
    """A step that has begun: its parts, and what waits for their results."""

    parts: list[Part]
    results: Callable[[], Results]


class Core:
    """`pages` is the size of the KV cache, in pages of PAGE tokens; None: what memory allows.

    `machine` makes what computes the steps, of the model and its KV cache. Raises EngineError if
    there is too little memory for one context.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        pages: int | None = None,
        machine: Callable[[Llama, KVPool], Machine] = TorchMachine,
        healing_depth: int = HEALING_DEPTH,
        speculate: bool = True,
        report: Report = lambda request, end: None,
    ):
        llama = model.llama
        if llama.device.type == "cuda":
            torch.cuda.set_device(llama.device)  # this thread's: kernels and graphs go there
        pool = make_pool(llama, page_count(llama) if pages is None else pages)
        self._machine = machine(llama, pool)
        self.memory = Memory(llama.weight_bytes, pool.pages * PAGE * llama.token_bytes)
        self.computes = f"{device_name(llama)}, {model.dtype}, {self._machine.kind}"
        self._runner = Runner(self._machine, model.tokenizer)
        self._new_scheduler = lambda: Scheduler(
            model.tokenizer,
            RadixTree(Pages(pool.pages, PAGE), pool.copy),
            min(llama.config.context, pool.pages * PAGE),
            chunk=CHUNK[llama.device.type],
            healing_depth=healing_depth,
            speculate=speculate,
            draft_cost=self._machine.draft_cost,
            report=report,
        )
        self.scheduler = self._new_scheduler()
        self._flight: Flight | None = None

    def step(self, arrivals: Callable[[], object] = lambda: None) -> list[Request]:
        """Finish a step of the model; whose it was. Empty: there was nothing to do.

        Where the machine works by itself the next one begins as soon as this one's tokens are
        known, before text is made of them: so it may compute what nobody wants any more.
        `arrivals` is called before that, and tells the scheduler what has come meanwhile.
        """
        flight: Flight | None = None
        try:
            flight, self._flight = self._flight or self._launch(), None
            if flight is not None:
                self._take(flight, arrivals)
        except DeviceLost:
            raise
        except Exception as error:  # of our own making: who asks next shall find an engine
            log.exception("the scheduler failed; it begins anew")
            failed = self.scheduler
            self._begin_anew()
            failed.fail_all(EngineError(f"the engine failed: {error}"))
        return [part.sequence.request for part in flight.parts] if flight else []

    def _launch(self) -> Flight | None:
        parts = self.scheduler.next()
        return Flight(parts, self._results(parts)) if parts else None

    def _results(self, parts: list[Part]) -> Callable[[], Results]:
        try:
            return self._runner.launch(parts)
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            alone: Results = [EngineError(f"no memory on the device for this step: {error}")]
            if len(parts) > 1:  # only who asks for too much is to fail
                alone = [result for part in parts for result in self._results([part])()]
            return lambda: alone
        except Exception as error:
            return self._failed(parts, error)

    def _failed(self, parts: list[Part], error: Exception) -> Callable[[], Results]:
        raise_if_lost(error)
        log.exception("a step failed")
        failed: Results = [EngineError(f"the engine failed: {error}")] * len(parts)
        return lambda: failed

    def _take(self, flight: Flight, arrivals: Callable[[], object]) -> None:
        try:
            results = flight.results()
        except Exception as error:
            results = self._failed(flight.parts, error)()
        good: list[Part] = []
        for part, result in zip(flight.parts, results, strict=True):
            if part.sequence.current.lease is None:
                continue  # it has ended, or gave way, since the step began
            if isinstance(result, EngineError):
                self.scheduler.fail(part.sequence.current, result)
            else:
                self.scheduler.advance(part, result)
                good.append(part)
        if self._machine.ahead:
            arrivals()
            self._flight = self._launch()
        for part in good:
            self.scheduler.show(part)

    def run(self) -> None:
        """Steps until nothing is left to do."""
        while self.step():
            pass
        self.scheduler.check_integrity()

    def check(self) -> None:
        """When idle: if a page is lost, which must not be, say so and begin with an empty cache."""
        try:
            self.scheduler.check_integrity()
        except AssertionError:
            log.exception("the KV cache's bookkeeping is wrong; it is emptied")
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.scheduler, self._flight = self._new_scheduler(), None


def device_name(llama: Llama) -> str:
    if llama.device.type == "cpu":
        return "CPU"
    return f"{torch.cuda.get_device_name(llama.device)} ({llama.device})"


def page_count(llama: Llama, memory: int | None = None) -> int:
    """Pages of the KV cache: CONTEXTS whole contexts, or as many bytes as `memory` says.

    At most what is free, HEADROOM left, though one context is tried without. Raises EngineError if
    there is no room for one.
    """
    context, page = -(-llama.config.context // PAGE), PAGE * llama.token_bytes
    wanted = CONTEXTS * context if memory is None else memory // page
    free = free_memory(llama.device)
    if memory is not None and free is not None and memory > free:
        raise EngineError(f"KV memory of {_size(memory)}: only {_size(free)} are free")
    if free is not None:
        wanted = min(wanted, max(context, (free - HEADROOM) // page))
        free //= page
    if wanted < context or (free is not None and free < context):
        given = wanted if wanted < context else free or 0
        raise EngineError(_too_little(llama, given * page, memory is not None))
    return wanted


def _too_little(llama: Llama, given: int, asked: bool) -> str:
    """What is missing, and what would fit."""
    config, page = llama.config, PAGE * llama.token_bytes
    needed = -(-config.context // PAGE) * page
    fits = given // page * PAGE
    smaller = (
        f"a context of {fits} tokens would fit (--context {fits})" if fits >= MIN_CONTEXT else ""
    )
    more = "give more KV memory" if asked else "give a smaller model" if not smaller else ""
    return (
        f"no memory for a KV cache of {config.context} tokens ({_size(needed)} needed,"
        f" {_size(given)} are given): {', or '.join(filter(None, (smaller, more)))}"
    )


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def make_pool(llama: Llama, pages: int) -> KVPool:
    try:
        return llama.new_pool(pages, PAGE)
    except (RuntimeError, MemoryError) as error:  # torch's, and numpy's on a CPU
        size = _size(pages * PAGE * llama.token_bytes)
        raise EngineError(
            f"no memory for a KV cache of {pages * PAGE} tokens ({size} needed):"
            " give a smaller context"
        ) from error
