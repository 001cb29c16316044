"""What the engine has done, in numbers: a line of the log for each request, and Prometheus' text.

No text of any request, and no name of a client.
"""

import logging
from collections.abc import Callable, Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily

from .request import FinishEvent, Request
from .scheduler import Scheduler

log = logging.getLogger(__name__)
CONTENT_TYPE = CONTENT_TYPE_LATEST
# Seconds: from a step of a small model on a GPU to a first prompt on a CPU.
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
# Every reason but these, such as a user's stop strings, is one label: labels must be few.
REASONS = {"line", "block", "suffix", "eot", "eos", "step", "control", "max_tokens", "context"} | {
    *("memory", "time", "adopted", "superseded", "cancelled", "failed", "refused")
}


class Metrics:
    """Thread-safe. `watch` names the scheduler whose queues and pages are shown."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._scheduler: Callable[[], Scheduler] | None = None
        self._registry.register(self)

        def counter(name: str, what: str, labels: list[str]) -> Counter:
            return Counter(f"cl_lsp_{name}", what, labels, registry=self._registry)

        def histogram(name: str, what: str) -> Histogram:
            whole = f"cl_lsp_{name}_seconds"
            return Histogram(whole, what, ["lane"], registry=self._registry, buckets=BUCKETS)

        self._requests = counter("requests", "Requests, by what ended them", ["lane", "reason"])
        self._tokens = counter("tokens", "Tokens, by what became of them", ["lane", "kind"])
        self._preempted = counter("preemptions", "Requests that gave up their pages", ["lane"])
        self._queue = histogram("queue", "From a request's arrival to its first step")
        self._prefill = histogram("prefill", "From there to the first token")
        self._decode = histogram("decode", "From there to the end")

    def watch(self, scheduler: Callable[[], Scheduler] | None) -> None:
        """None: it has ended, and is let go of."""
        self._scheduler = scheduler

    def report(self, request: Request, end: FinishEvent) -> None:
        """A request has ended."""
        lane, u, t = request.lane, end.usage, end.timings
        reason = end.stop if end.stop in REASONS else "stop"
        self._requests.labels(lane, reason).inc()
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
            self._tokens.labels(lane, kind).inc(count)
        self._preempted.labels(lane).inc(u.preempted)
        self._queue.labels(lane).observe(t.queue_ms / 1e3)
        if u.generated:
            self._prefill.labels(lane).observe(t.prefill_ms / 1e3)
            self._decode.labels(lane).observe(t.decode_ms / 1e3)
        log.info(
            "%s ended by %s: prompt %d (%d cached, %d computed, %d healed), generated %d"
            " (%d drafted, %d right), preempted %d; ms: queue %.1f, prefill %.1f, decode %.1f",
            *(lane, reason, u.prompt, u.cached, u.computed, u.healed, u.generated, u.drafted),
            *(u.accepted, u.preempted, t.queue_ms, t.prefill_ms, t.decode_ms),
        )

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What is so now; for the registry."""
        if self._scheduler is None:
            return
        scheduler = self._scheduler()
        waiting, running = scheduler.lengths
        for name, value in (("waiting", waiting), ("running", running)):
            yield GaugeMetricFamily(f"cl_lsp_{name}", f"Requests {name} now", value)
        pages = GaugeMetricFamily("cl_lsp_kv_pages", "Pages of the KV cache", labels=["state"])
        for state, count in scheduler.pages.items():
            pages.add_metric([state], count)
        yield pages

    def text(self) -> bytes:
        """Prometheus' exposition format."""
        return generate_latest(self._registry)
