"""The model in our kernels, a step at a time: CUDA graphs for few rows, launches for many.

On a CPU, where Triton interprets the kernels for tests, a graph is what it would record.
"""

import gc
import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from cl_kernels.prefill_attention import blocks_of

from .errors import EngineError
from .machine import Rows
from .models.fused import Few, Fused, Head
from .models.llama import KVPool, Llama, Span
from .ngram import by_row
from .sampling import Choice
from .staging import GROUP, Staging

SEQUENCES = 16  # the scheduler's most, too
# How far the kernels' logits may be from plain torch's. With bfloat16 weights 0.01 is usual.
WRONG = 0.1


class Bucket(NamedTuple):
    """What a graph is made for: so many rows and sequences, of which one has `most` rows."""

    rows: int
    sequences: int
    most: int


# In the order in which they are tried. Of few rows all cost the same, up to 8 and up to 16.
BUCKETS = (
    Bucket(1, 1, 1),
    Bucket(8, 1, 8),
    Bucket(8, 8, 1),
    Bucket(8, 8, 8),
    Bucket(16, 1, 16),
    Bucket(16, 16, 1),
    Bucket(16, 16, 16),
)


class KernelMachine:
    """`chunk` is the most prompt tokens of a step; `progress` is told of the graphs that are made.

    Raises EngineError if the kernels do not compile, or give other numbers than plain torch.
    """

    chooses = ahead = True

    def __init__(
        self,
        llama: Llama,
        pool: KVPool,
        chunk: int,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ):
        self._llama, self._pool = llama, pool
        self._cuda = llama.device.type == "cuda"
        # A step's last part may bring a draft along, when the chunk is full already.
        rows = chunk + GROUP
        pages = -(-llama.config.context // pool.size)
        vocab = llama.config.vocab
        self._staging = Staging(llama.device, vocab, rows, SEQUENCES, pages, pool.size)
        self._fused = Fused(llama, pool, rows)
        self._heads = {
            n: Head(self._fused, self._fused.stream(n), self._staging.choices(n))
            for n in (1, 8, GROUP)
        }
        self._few: dict[Bucket, Few] = {}
        self._replay: dict[Bucket, Callable[[], None]] = {}
        for done, bucket in enumerate(BUCKETS):
            progress(done, len(BUCKETS))
            self._make(bucket)
        progress(len(BUCKETS), len(BUCKETS))
        self._check()
        self._costs = self._measure() if self._cuda else None

    def _make(self, bucket: Bucket) -> None:
        step = self._staging.inputs.of(*bucket)
        few = self._few[bucket] = Few(self._fused, step, self._staging.choices(bucket.rows))
        if not self._cuda:
            self._replay[bucket] = few.launch
            return
        self._staging.send_step([])  # rows of no sequence
        self._staging.send_choices([], [], [])
        few.launch()  # what it compiles, and loads, cannot be recorded
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # What the collector frees may ask CUDA what a recording must not be asked.
        gc.collect()
        gc.disable()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                few.launch()
        finally:
            gc.enable()
        self._replay[bucket] = graph.replay

    def draft_cost(self, tokens: int) -> float:
        """By the times of the graphs: a step of two rows takes as long as one of eight."""
        if self._costs is None:
            return by_row(tokens)
        return self._costs[min(tokens, GROUP - 1)]

    @torch.inference_mode()
    def launch(self, spans: list[Span], choices: Sequence[Choice | None]) -> Callable[[], Rows]:
        rows = sum(len(span.ids) for span in spans)
        wanted: list[int] = []  # the rows that are asked for
        positions: list[int] = []
        first = 0
        for span in spans:
            first += len(span.ids)
            wanted += range(first - span.rows, first)
            positions += range(span.end - span.rows, span.end)
        if rows <= GROUP and len(spans) <= SEQUENCES:
            return self._launch_few(spans, wanted, positions, choices)
        return self._launch_many(spans, wanted, positions, choices)

    def _launch_few(
        self,
        spans: list[Span],
        wanted: list[int],
        positions: list[int],
        choices: Sequence[Choice | None],
    ) -> Callable[[], Rows]:
        rows, bucket = sum(len(s.ids) for s in spans), _bucket(spans)
        self._staging.send_step(spans)
        # Every row has a place among the choices; those that nobody asks for get the likeliest.
        where = dict(zip(wanted, zip(positions, choices, strict=True), strict=True))
        each = [where.get(row, (0, None)) for row in range(rows)]
        self._staging.send_choices(range(rows), [p for p, _ in each], [c for _, c in each])
        self._replay[bucket]()
        return self._results(self._few[bucket].head, wanted, choices)

    def _launch_many(
        self,
        spans: list[Span],
        wanted: list[int],
        positions: list[int],
        choices: Sequence[Choice | None],
    ) -> Callable[[], Rows]:
        counts, lengths = [len(s.ids) for s in spans], [s.end for s in spans]
        rows, device = sum(counts), self._llama.device
        blocks = blocks_of(lengths, counts, self._llama.cache_dtype, device)
        one_run = all(len(self._pool.runs(s.pages, 0, s.end)) == 1 for s in spans)
        self._staging.send_step(spans, blocks)
        step = self._staging.inputs.of(rows, len(spans), max(counts))
        x = self._fused.many(step, self._staging.blocks(len(blocks)), one_run)
        waits: list[Callable[[], Rows]] = []
        for at in range(0, len(wanted), GROUP):
            own = slice(at, at + GROUP)
            group, theirs = wanted[own], choices[own]
            size = next(n for n in self._heads if n >= len(group))
            self._staging.send_choices(group, positions[own], theirs)
            self._heads[size].launch_for(x, self._staging.picked[:size])
            waits.append(self._results(self._heads[size], range(len(group)), theirs))
        return lambda: [row for wait in waits for row in wait()]

    def _results(
        self, head: Head, rows: Sequence[int], choices: Sequence[Choice | None]
    ) -> Callable[[], Rows]:
        """Bring them to the host: chosen tokens, and the logits of those without a choice."""
        if not rows:
            return list
        bare = [i for i, choice in enumerate(choices) if choice is None]
        device = head.chosen.device
        chosen = head.chosen.to("cpu", non_blocking=True, copy=True)
        logits = None
        if bare:
            picked = torch.tensor([rows[i] for i in bare], device=device)
            logits = head.logits[picked].to("cpu", non_blocking=True)
        event = torch.cuda.Event() if self._cuda else None
        if event is not None:
            event.record()

        def wait() -> Rows:
            if event is not None:
                event.synchronize()
            tokens = chosen.tolist()
            found: Rows = [tokens[row] for row in rows]
            for i, own in zip(bare, [] if logits is None else logits, strict=True):
                found[i] = own
            return found

        return wait

    def _check(self) -> None:
        """Once at the start, against plain torch: GPUs, drivers and compilers differ."""
        config, size = self._llama.config, self._pool.size
        length = min(3 * GROUP, config.context, self._pool.pages * size)
        ids = [(7 * i) % config.vocab for i in range(length)]
        pages = list(range(-(-length // size)))
        few, one = GROUP // 2, 1
        spans = [
            Span(ids[: length - few - one], 0, pages, 1),
            Span(ids[length - few - one : length - one], length - few - one, pages, few),
            Span(ids[length - one :], length - one, pages, one),
        ]
        for span in spans:
            rows = self.launch([span], [None] * span.rows)()
            got = torch.stack([row for row in rows if isinstance(row, torch.Tensor)])
            want = self._llama.forward([span], self._pool).cpu()
            error = float((got - want).norm() / want.norm())
            if not error < WRONG:
                raise EngineError(
                    f"the kernels give wrong numbers on {_name(self._llama.device)}: {error:.2g} of"
                    f" the logits with {len(span.ids)} rows; --kernels torch runs without them"
                )

    def time(self, spans: list[Span], repeats: int) -> list[float]:
        """Milliseconds of the graph that computes these spans, over and over. On a GPU only."""
        self._staging.send_step(spans)
        replay = self._replay[_bucket(spans)]
        for _ in range(3):
            replay()
        events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
        events[0].record()
        for event in events[1:]:
            replay()
            event.record()
        events[-1].synchronize()
        return [a.elapsed_time(b) for a, b in zip(events, events[1:], strict=False)]

    def _measure(self) -> list[float]:
        """The cost of drafts of 0 … GROUP - 1 tokens, as a share of a step of one row."""
        length = min(1024, self._llama.config.context, self._pool.pages * self._pool.size)
        pages = list(range(-(-length // self._pool.size)))
        sizes = (1, 8, GROUP)
        times = [
            statistics.median(self.time([Span([0] * n, length - n, pages, n)], 7)) for n in sizes
        ]
        return [times[bisect_left(sizes, 1 + k)] / times[0] - 1 for k in range(GROUP)]


def _bucket(spans: list[Span]) -> Bucket:
    """The first that is large enough."""
    rows, most = sum(len(s.ids) for s in spans), max(len(s.ids) for s in spans)
    return next(
        b for b in BUCKETS if rows <= b.rows and len(spans) <= b.sequences and most <= b.most
    )


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
