"""Suggestions that are typed through: what was typed since is their beginning. Nobody is asked."""

from collections import deque
from dataclasses import dataclass

from .ahead import finishes
from .brackets import auto_closed, merge_closers
from .completion import Suggestion
from .documents import Snapshot
from .surroundings import unix_before
from .syntax import state_at

KEPT = 4  # suggestions of a document; each keeps the text that it was made for


@dataclass(frozen=True)
class Known:
    """A suggestion, and the text around it without the brackets that the editor had closed."""

    before: str
    rest: str
    found: Suggestion

    def at(self, snapshot: Snapshot) -> Suggestion | None:
        """What is left of it there, nothing behind a line that it finished; None if anything else
        has changed."""
        closers = auto_closed(snapshot.line_after)
        if not snapshot.before.startswith(self.before):
            return None
        typed = snapshot.before[len(self.before) :]
        left = self.found.written[len(typed) :]
        if not self.found.written.startswith(typed) or snapshot.after[len(closers) :] != self.rest:
            return None
        if not left.strip():
            done = not left and finishes(snapshot, self.found)
            return Suggestion(stop_reason=self.found.stop_reason) if done else None
        text = left
        if closers:
            before = unix_before(snapshot.before)
            opened = state_at(snapshot.language, before, snapshot.opened).stack
            text = merge_closers(left, closers, snapshot.language, opened)
        return Suggestion(text, len(closers), "typed", written=left)


class Cache:
    """The last suggestions of each open document."""

    def __init__(self) -> None:
        self._of: dict[str, deque[Known]] = {}

    def get(self, snapshot: Snapshot) -> Suggestion | None:
        """The newest that goes on at this cursor."""
        known = reversed(self._of.get(snapshot.uri, ()))
        return next((found for one in known if (found := one.at(snapshot))), None)

    def put(self, snapshot: Snapshot, found: Suggestion) -> None:
        if found.written and found.stop_reason != "typed":
            closers = auto_closed(snapshot.line_after)
            known = Known(snapshot.before, snapshot.after[len(closers) :], found)
            those = self._of.setdefault(snapshot.uri, deque(maxlen=KEPT))
            if not those or those[-1] != known:  # two methods may have shared it
                those.append(known)

    def forget(self, uri: str) -> None:
        self._of.pop(uri, None)
