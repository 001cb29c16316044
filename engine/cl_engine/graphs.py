"""The model in our kernels, a step at a time, by CUDA graphs: they bring the inputs to the device,
compute, and bring the chosen tokens back.

On a CPU, where Triton interprets the kernels for tests, a graph is what it would record.
"""

import gc
import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from cl_kernels.prefill_attention import blocks_of, most_blocks

from .errors import EngineError
from .machine import Rows
from .models.fused import Few, Fused, Head, Inputs
from .models.llama import KVPool, Llama, Span
from .ngram import by_row
from .sampling import Choice
from .staging import GROUP, Staging, pinned

SEQUENCES = 16  # of a step: the scheduler's most
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


# Rows of the graphs for more, up to a chunk: the next one is taken, its rest computed in vain.
MANY = (32, 64, 128, 256, 384, 512, 768)


class KernelMachine:
    """`chunk` is the most prompt tokens of a step; `progress` is told of the graphs that are made.

    Raises EngineError if the kernels do not compile, or give other numbers than plain torch.
    """

    kind = "our kernels"
    chooses = ahead = True

    def __init__(
        self,
        llama: Llama,
        pool: KVPool,
        chunk: int,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ):
        self._llama, self._pool, device = llama, pool, llama.device
        self._cuda = device.type == "cuda"
        config, dtype = llama.config, llama.cache_dtype
        pages = -(-config.context // pool.size)
        most = chunk + GROUP  # a step's last part may bring a draft along
        self._staging = staging = Staging(device, config.vocab, most, SEQUENCES, pages, pool.size)
        self._fused = fused = Fused(llama, pool, most)
        self._few = {
            b: Few(fused, staging.inputs.of(*b), staging.choices_of(b.rows)) for b in BUCKETS
        }
        self._heads = {
            n: Head(fused, fused.stream(n), staging.choices_of(n)) for n in (1, 8, GROUP)
        }
        self._many = {
            rows: staging.inputs.of(
                rows, SEQUENCES, rows, most_blocks(rows, SEQUENCES, dtype, device)
            )
            for rows in (*(n for n in MANY if n < chunk), chunk, most)
        }
        self._chosen = pinned(GROUP, torch.int64, device)
        self._logits = pinned(GROUP * config.vocab, torch.float32, device).view(GROUP, -1)
        self._over = torch.cuda.Event() if self._cuda else None
        self._replay = self._record(progress) if self._cuda else self._launches()
        self._check()
        self._costs = self._measure() if self._cuda else None

    def _launches(self) -> dict[object, Callable[[], None]]:
        """What each graph records, by a bucket, a number of rows, or a head."""
        staging, chosen = self._staging, self._chosen

        def few(own: Few) -> None:
            staging.step.copy()
            own.launch()
            chosen[: len(own.head.chosen)].copy_(own.head.chosen, non_blocking=True)

        def many(step: Inputs) -> None:
            staging.step.copy()
            self._fused.many(step)

        def head(own: Head) -> None:
            staging.step.copy()
            own.launch_for(staging.picked[: len(own.chosen)])
            chosen[: len(own.chosen)].copy_(own.chosen, non_blocking=True)

        found: dict[object, Callable[[], None]] = {}
        found |= {bucket: partial(few, own) for bucket, own in self._few.items()}
        found |= {rows: partial(many, step) for rows, step in self._many.items()}
        return found | {own: partial(head, own) for own in self._heads.values()}

    def _record(self, progress: Callable[[int, int], None]) -> dict[object, Callable[[], None]]:
        launches = self._launches()
        graphs: dict[object, Callable[[], None]] = {}
        # What the collector frees may ask CUDA what a recording must not be asked.
        gc.collect()
        gc.disable()
        try:
            for name, launch in launches.items():
                progress(len(graphs), len(launches))
                graphs[name] = self._recorded(launch)
        finally:
            gc.enable()
        progress(len(launches), len(launches))
        return graphs

    def _recorded(self, launch: Callable[[], None]) -> Callable[[], None]:
        self._staging.write_step([], self._staging.rows, [])
        self._staging.write_choices([], [], [])
        launch()  # what it compiles, and loads, cannot be recorded
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            launch()
        return graph.replay

    def draft_cost(self, tokens: int) -> float:
        """By the times of the graphs: a step of two rows takes as long as one of eight."""
        if self._costs is None:
            return by_row(tokens)
        return self._costs[min(tokens, GROUP - 1)]

    def launch(self, spans: list[Span], choices: Sequence[Choice | None]) -> Callable[[], Rows]:
        if self._over is not None:
            self._over.synchronize()  # or what the last step still reads would be written
        rows = sum(len(span.ids) for span in spans)
        wanted: list[int] = []  # the rows that are asked for
        positions: list[int] = []
        first = 0
        for span in spans:
            first += len(span.ids)
            wanted += range(first - span.rows, first)
            positions += range(span.end - span.rows, span.end)
        launch = self._launch_few if rows <= GROUP else self._launch_many
        try:
            return launch(spans, rows, wanted, positions, choices)
        except Exception:
            if self._over is not None:
                self._over.record()  # what was launched before may still read its inputs
            raise

    def _launch_few(
        self,
        spans: list[Span],
        rows: int,
        wanted: list[int],
        positions: list[int],
        choices: Sequence[Choice | None],
    ) -> Callable[[], Rows]:
        bucket = _bucket(spans)
        self._staging.write_step(spans, bucket.rows, [])
        if len(wanted) < rows:  # those that nobody asks for get the likeliest token
            where = dict(zip(wanted, zip(positions, choices, strict=True), strict=True))
            each = [where.get(row, (0, None)) for row in range(rows)]
            positions, own = [p for p, _ in each], [c for _, c in each]
        else:
            own = choices
        if self._staging.write_choices(range(rows), positions, own):
            self._staging.masks.copy()
        self._replay[bucket]()
        return self._results(self._few[bucket].head, wanted, choices)

    def _launch_many(
        self,
        spans: list[Span],
        rows: int,
        wanted: list[int],
        positions: list[int],
        choices: Sequence[Choice | None],
    ) -> Callable[[], Rows]:
        counts, lengths = [len(s.ids) for s in spans], [s.end for s in spans]
        blocks = blocks_of(lengths, counts, self._llama.cache_dtype, self._llama.device)
        size = next(n for n in self._many if n >= rows)
        self._staging.write_step(spans, size, blocks)
        self._replay[size]()
        if not wanted:
            return self._results(self._heads[1], [], [])
        done: Rows = []
        wait: Callable[[], Rows] = list
        for at in range(0, len(wanted), GROUP):
            done += wait()  # the choices that were copied from are written again
            group = slice(at, at + GROUP)
            head = next(h for n, h in self._heads.items() if n >= len(wanted[group]))
            if self._staging.write_choices(wanted[group], positions[group], choices[group]):
                self._staging.masks.copy()
            self._replay[head]()
            wait = self._results(head, range(len(wanted[group])), choices[group])
        return lambda: done + wait()

    def _results(
        self, head: Head, rows: Sequence[int], choices: Sequence[Choice | None]
    ) -> Callable[[], Rows]:
        """Wait for the chosen tokens, and bring the logits of those without a choice."""
        bare = [i for i, choice in enumerate(choices) if choice is None]
        for place, i in enumerate(bare):
            self._logits[place].copy_(head.logits[rows[i]], non_blocking=True)
        if self._over is not None:
            self._over.record()

        def wait() -> Rows:
            if self._over is not None:
                self._over.synchronize()
            tokens = self._chosen.tolist()
            found: Rows = [tokens[row] for row in rows]
            for place, i in enumerate(bare):
                found[i] = self._logits[place].clone()
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
        bucket = _bucket(spans)
        self._staging.write_step(spans, bucket.rows, [])
        replay = self._replay[bucket]
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
    if len(spans) == 1 and len(spans[0].ids) == 1:
        return BUCKETS[0]
    rows, most = sum(len(s.ids) for s in spans), max(len(s.ids) for s in spans)
    return next(
        b for b in BUCKETS if rows <= b.rows and len(spans) <= b.sequences and most <= b.most
    )


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
