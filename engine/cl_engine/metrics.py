"""What the engine has done, in numbers: a line of the log for each request, and Prometheus' text.

No text of any request, and no name of a client.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily

from .request import LANES, FinishEvent, Lane, Request
from .scheduler import Scheduler

log = logging.getLogger(__name__)
CONTENT_TYPE = CONTENT_TYPE_LATEST
# Seconds: from a step of a small model on a GPU to a first prompt on a CPU.
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
# Every reason but these, such as a user's stop strings, is one label: labels must be few.
REASONS = {"line", "block", "suffix", "eot", "eos", "step", "control", "max_tokens", "context"} | {
    *("memory", "time", "adopted", "superseded", "cancelled", "failed", "refused")
}
RECENT = 1000  # requests that `recent` looks back at
CLIENT_S = 600  # seconds after its last request that a client counts


@dataclass(frozen=True)
class Ended:
    """What is remembered of a request for a while. Times in ms, from its arrival."""

    model: str
    lane: Lane
    prompt: int
    cached: int
    first_ms: float | None  # None: no token came
    whole_ms: float


class Metrics:
    """Of all models of a process. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._schedulers: dict[str, Callable[[], Scheduler]] = {}
        self._recent: deque[Ended] = deque(maxlen=RECENT)
        self._clients: dict[str, float] = {}  # when each was last heard of
        self._registry.register(self)

        def counter(name: str, what: str, labels: list[str]) -> Counter:
            return Counter(f"cl_lsp_{name}", what, ["model", *labels], registry=self._registry)

        def histogram(name: str, what: str) -> Histogram:
            whole, labels = f"cl_lsp_{name}_seconds", ["model", "lane"]
            return Histogram(whole, what, labels, registry=self._registry, buckets=BUCKETS)

        self._requests = counter("requests", "Requests, by what ended them", ["lane", "reason"])
        self._tokens = counter("tokens", "Tokens, by what became of them", ["lane", "kind"])
        self._preempted = counter("preemptions", "Requests that gave up their pages", ["lane"])
        self._queue = histogram("queue", "From a request's arrival to its first step")
        self._prefill = histogram("prefill", "From there to the first token")
        self._decode = histogram("decode", "From there to the end")

    def of(self, model: str) -> "ModelMetrics":
        return ModelMetrics(self, model)

    def watch(self, model: str, scheduler: Callable[[], Scheduler] | None) -> None:
        """Names the scheduler whose queues and pages are shown; None: it has ended."""
        if scheduler is None:
            self._schedulers.pop(model, None)
        else:
            self._schedulers[model] = scheduler

    def report(self, model: str, request: Request, end: FinishEvent) -> None:
        """A request has ended."""
        lane, u, t = request.lane, end.usage, end.timings
        reason = end.stop if end.stop in REASONS else "stop"
        self._requests.labels(model, lane, reason).inc()
        rejected = u.drafted - u.accepted
        counts = {
            "cached": u.cached,
            "computed": u.computed,
            "healed": u.healed,
            "generated": u.generated,
            "draft_accepted": u.accepted,
            "draft_rejected": rejected,
        }
        for kind, count in counts.items():
            self._tokens.labels(model, lane, kind).inc(count)
        self._preempted.labels(model, lane).inc(u.preempted)
        self._queue.labels(model, lane).observe(t.queue_ms / 1e3)
        if u.generated:
            self._prefill.labels(model, lane).observe(t.prefill_ms / 1e3)
            self._decode.labels(model, lane).observe(t.decode_ms / 1e3)
        self._remember(model, request, end)
        log.info(
            "%s ended by %s: prompt %d (%d cached, %d computed, %d healed), generated %d"
            " (%d drafted, %d right), preempted %d; ms: queue %.1f, prefill %.1f, decode %.1f",
            *(lane, reason, u.prompt, u.cached, u.computed, u.healed, u.generated, u.drafted),
            *(u.accepted, u.preempted, t.queue_ms, t.prefill_ms, t.decode_ms),
        )

    def _remember(self, model: str, request: Request, end: FinishEvent) -> None:
        u, t = end.usage, end.timings
        first = t.queue_ms + t.prefill_ms
        self._recent.append(
            Ended(
                model,
                request.lane,
                u.prompt,
                u.cached,
                first if u.generated else None,
                first + t.decode_ms,
            )
        )
        now = time.monotonic()
        self._clients[request.origin.client] = now
        for client, last in list(self._clients.items()):
            if now - last > CLIENT_S:
                del self._clients[client]

    @property
    def clients(self) -> int:
        """Those of the last ten minutes, by the names that they give themselves."""
        now = time.monotonic()
        return sum(now - last <= CLIENT_S for last in list(self._clients.values()))

    def recent(self, model: str) -> dict[str, Any]:
        """The last requests of a model: for each lane how many, the share of prompt tokens that
        was cached, and the p50 and p95 of ms to the first token and to the end."""
        ended = [one for one in list(self._recent) if one.model == model]
        lanes = {lane: [one for one in ended if one.lane == lane] for lane in LANES}
        return {lane: _summary(those) for lane, those in lanes.items() if those}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What is so now; for the registry."""
        waiting, running, pages = (
            GaugeMetricFamily(f"cl_lsp_{name}", what, labels=labels)
            for name, what, labels in (
                ("waiting", "Requests waiting now", ["model"]),
                ("running", "Requests running now", ["model"]),
                ("kv_pages", "Pages of the KV cache", ["model", "state"]),
            )
        )
        for model, scheduler in list(self._schedulers.items()):
            lengths, counts = scheduler().lengths, scheduler().pages
            waiting.add_metric([model], lengths[0])
            running.add_metric([model], lengths[1])
            for state, count in counts.items():
                pages.add_metric([model, state], count)
        yield from (waiting, running, pages)

    def text(self) -> bytes:
        """Prometheus' exposition format."""
        return generate_latest(self._registry)


@dataclass(frozen=True)
class ModelMetrics:
    """One model's part."""

    all: Metrics
    model: str

    def watch(self, scheduler: Callable[[], Scheduler] | None) -> None:
        self.all.watch(self.model, scheduler)

    def report(self, request: Request, end: FinishEvent) -> None:
        self.all.report(self.model, request, end)


def _summary(ended: list[Ended]) -> dict[str, Any]:
    prompt, cached = sum(one.prompt for one in ended), sum(one.cached for one in ended)
    return {
        "requests": len(ended),
        "cached": round(cached / prompt, 4) if prompt else None,
        "first_ms": _percentiles([one.first_ms for one in ended if one.first_ms is not None]),
        "whole_ms": _percentiles([one.whole_ms for one in ended]),
    }


def _percentiles(values: list[float]) -> dict[str, float] | None:
    """By nearest rank."""
    if not values:
        return None
    values.sort()
    ranks = {f"p{p}": math.ceil(len(values) * p / 100) - 1 for p in (50, 95)}
    return {name: round(values[rank], 1) for name, rank in ranks.items()}
