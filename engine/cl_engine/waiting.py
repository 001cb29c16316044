"""Who waits for pages, and whose turn is next: lanes, fair shares, the newest of a document."""

from collections import Counter
from collections.abc import Iterator

from .request import LANES
from .sequence import Sequence
from .shares import Shares

MAX_WAITING = 64  # requests


def lane_of(sequence: Sequence) -> int:
    """0 goes first."""
    return LANES.index(sequence.request.lane)


class Waiting:
    """At most MAX_WAITING sequences, and those that were preempted."""

    def __init__(self, shares: Shares):
        self._shares = shares
        self._sequences: list[Sequence] = []

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences)

    def add(self, sequence: Sequence) -> Sequence | None:
        """Let it wait; the one to be refused for it, which still waits, if there are too many.

        That is, in the last lane, the newest of who waits with most: none fills it for others.
        """
        self._sequences.append(sequence)
        if len(self._sequences) <= MAX_WAITING:
            return None
        counts = Counter(s.request.origin.client for s in self._sequences)

        def turn(s: Sequence) -> tuple[bool, int, int, float]:
            fresh = s.began is None  # one that was preempted has been accepted for good
            return fresh, lane_of(s), counts[s.request.origin.client], s.request.arrived

        return max(self._sequences, key=turn)

    def remove(self, sequence: Sequence) -> None:
        self._sequences.remove(sequence)

    def first(self) -> Sequence:
        """Lane by lane of the client that was served least; of its document the newest."""

        def turn(s: Sequence) -> tuple[int, float, float]:
            return lane_of(s), self._shares.of(s.request.origin.client), s.request.arrived

        def place(s: Sequence) -> tuple[str, str, str]:
            return s.request.lane, s.request.origin.client, s.request.origin.document

        first = min(self._sequences, key=turn)
        if not first.request.origin.document:
            return first
        same = [s for s in self._sequences if place(s) == place(first)]
        return max(same, key=lambda s: s.request.arrived)
