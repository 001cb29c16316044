"""The engine without its thread: one model, its KV memory, and who runs when.

`step` is all that happens, for the daemon's loop as for tests and measurements.
"""

import logging

from .errors import EngineError
from .loader import LoadedModel, free_memory
from .models.llama import KVPool, Llama
from .pages import Pages
from .prompt import HEALING_DEPTH
from .radix import RadixTree
from .request import Request
from .runner import Runner
from .sampling import Pick
from .scheduler import Part, Report, Scheduler

log = logging.getLogger(__name__)
PAGE = 16  # tokens; what lies behind a divergence inside a page is copied or computed again
CONTEXTS = 4  # whole contexts that the KV memory may hold, if there is so much memory
HEADROOM = 1 << 30  # bytes, for activations
# Prompt tokens of a step. On a CPU 64 go as fast as 256, one by one (1,590 tokens a second against
# 1,430), and who waits for the step waits a quarter of the time.
CHUNK = {"cpu": 64, "cuda": 256}


class Core:
    """`pages` is the size of the KV cache, in pages of PAGE tokens; None: what memory allows.

    Raises EngineError if that is too little for one context.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        pages: int | None = None,
        healing_depth: int = HEALING_DEPTH,
        speculate: bool = True,
        report: Report = lambda request, end: None,
    ):
        llama = model.llama
        pool = make_pool(llama, page_count(llama) if pages is None else pages)
        self._runner = Runner(llama, pool, model.tokenizer)
        self._new_scheduler = lambda: Scheduler(
            model.tokenizer,
            RadixTree(Pages(pool.pages, PAGE), pool.copy),
            min(llama.config.context, pool.pages * PAGE),
            chunk=CHUNK.get(llama.device.type, 256),
            healing_depth=healing_depth,
            speculate=speculate,
            report=report,
        )
        self.scheduler = self._new_scheduler()

    def step(self) -> list[Request]:
        """One step of the model; whose it was. Empty: there was nothing to do."""
        parts: list[Part] = []
        try:
            parts = self.scheduler.next()
            if parts:
                self._take(parts, self._compute(parts))
        except Exception as error:  # of our own making: who asks next shall find an engine
            log.exception("the scheduler failed; it begins anew")
            failed, self.scheduler = self.scheduler, self._new_scheduler()
            failed.fail_all(EngineError(f"the engine failed: {error}"))
        return [part.sequence.request for part in parts]

    def _compute(self, parts: list[Part]) -> list[list[Pick] | EngineError]:
        try:
            return self._runner.step(parts)
        except Exception as error:
            log.exception("a step failed")
            return [EngineError(f"the engine failed: {error}")] * len(parts)

    def _take(self, parts: list[Part], results: list[list[Pick] | EngineError]) -> None:
        for part, result in zip(parts, results, strict=True):
            if isinstance(result, EngineError):
                self.scheduler.fail(part.sequence, result)
            else:
                self.scheduler.advance(part, result)

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
            self.scheduler = self._new_scheduler()


def page_count(llama: Llama, memory: int | None = None) -> int:
    """Pages of the KV cache: CONTEXTS whole contexts, or as many bytes as `memory` says.

    At most what is free, HEADROOM left, though one context is tried without. Raises EngineError if
    there is no room for one.
    """
    context, page = -(-llama.config.context // PAGE), PAGE * llama.token_bytes
    wanted = CONTEXTS * context if memory is None else memory // page
    free = free_memory(llama.device)
    if memory is not None and free is not None and memory > free:
        raise EngineError(f"KV memory of {_mib(memory)}: only {_mib(free)} are free")
    if free is not None:
        wanted = min(wanted, max(context, (free - HEADROOM) // page))
        free //= page
    if wanted < context or (free is not None and free < context):
        given = wanted if wanted < context else free or 0
        numbers = f"{_mib(context * page)} needed, {_mib(given * page)} are given"
        more = " or more KV memory" if memory is not None else ""
        raise EngineError(
            f"no memory for a KV cache of {llama.config.context} tokens ({numbers}):"
            f" give a smaller context{more}"
        )
    return wanted


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def make_pool(llama: Llama, pages: int) -> KVPool:
    try:
        return llama.new_pool(pages, PAGE)
    except (RuntimeError, MemoryError) as error:  # torch's, and numpy's on a CPU
        size = _mib(pages * PAGE * llama.token_bytes)
        raise EngineError(
            f"no memory for a KV cache of {pages * PAGE} tokens ({size} needed):"
            " give a smaller context"
        ) from error
