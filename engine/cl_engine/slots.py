"""KV caches that outlive their request: a new one takes over the longest exact token prefix.

A slot's `tokens` say what its cache holds, position by position. Reuse is exact or not at all.
"""

from dataclasses import dataclass, field
from itertools import count

from .models.llama import KVCache


@dataclass(eq=False)
class Slot:
    kv: KVCache
    tokens: list[int] = field(default_factory=list)
    busy: bool = False
    used: int = 0  # tick of the last release


class Slots:
    """A fixed number of caches; the least recently used one gives way."""

    def __init__(self, caches: list[KVCache]):
        self._slots = [Slot(kv) for kv in caches]
        self._ticks = count(1)

    @property
    def free(self) -> int:
        return sum(not slot.busy for slot in self._slots)

    def acquire(self, ids: list[int]) -> tuple[Slot, int] | None:
        """A free slot for `ids` and how many of its tokens it already holds; None if all are busy.

        At least the last id is left to compute: its logits are not kept.
        """
        free = [slot for slot in self._slots if not slot.busy]
        if not free:
            return None
        cached = {id(s): min(common_prefix(s.tokens, ids), len(ids) - 1) for s in free}
        best = max(free, key=lambda s: cached[id(s)])
        # Little in common (BOS and the control ids always are): do not throw away another's cache.
        if cached[id(best)] * 4 < len(best.tokens):
            best = min(free, key=lambda s: s.used)
        best.busy = True
        del best.tokens[cached[id(best)] :]
        return best, cached[id(best)]

    def release(self, slot: Slot) -> None:
        slot.busy = False
        slot.used = next(self._ticks)


def common_prefix(a: list[int], b: list[int]) -> int:
    """Length of the longest common beginning; compares whole blocks first."""
    n, limit = 0, min(len(a), len(b))
    while n + 64 <= limit and a[n : n + 64] == b[n : n + 64]:
        n += 64
    while n < limit and a[n] == b[n]:
        n += 1
    return n
