"""What stands around a cursor, read once for all who decide about it. Line ends are `\\n` here."""

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from .brackets import auto_closed
from .documents import Snapshot
from .languages import Row, row_of
from .syntax import Kind, Open, Opened, State, events, state_at

AFTER = 4000  # characters after the cursor that are read for what they close
NEAR = 20_000  # characters; of what is farther nobody reads the line ends


@dataclass(frozen=True)
class Surroundings:
    """The text before and after a cursor, with `\\n` as far as it is near. `closers` is what the
    editor closed by itself: it stands between the two, and is replaced."""

    language: str
    before: str
    after: str
    closers: str = ""
    opened: Opened = field(default_factory=Opened, compare=False, repr=False)

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Surroundings":
        closers = auto_closed(snapshot.line_after)
        after = snapshot.after[len(closers) :]
        before = unix_before(snapshot.before)
        after = unix(after[:NEAR]) + after[NEAR:]
        return cls(snapshot.language, before, after, closers, snapshot.opened)

    @cached_property
    def line_before(self) -> str:
        return self.before.rpartition("\n")[2]

    @cached_property
    def line_after(self) -> str:
        return self.after.partition("\n")[0]

    @cached_property
    def above(self) -> list[str]:
        """The last lines before the cursor's that are not blank, the nearest last; at most 12."""
        lines = self.before.rpartition("\n")[0][-AFTER:].split("\n")
        return [line for line in lines if line.strip()][-12:]

    @cached_property
    def below(self) -> list[str]:
        """The next lines that are not blank, without trailing blanks; at most 8."""
        lines = self.after.partition("\n")[2][:AFTER].split("\n")
        return [line.rstrip() for line in lines if line.strip()][:8]

    @cached_property
    def row(self) -> Row:
        return row_of(self.language)

    @cached_property
    def state(self) -> State:
        """What is open at the cursor."""
        return state_at(self.language, self.before, self.opened)

    @property
    def kind(self) -> Kind:
        return self.state.kind

    @cached_property
    def standing(self) -> tuple[int, int]:
        """How many of what is open at the cursor `after` closes, and how much that is not open."""
        return _standing(self.row, self.after[:AFTER], self.state.stack)

    @cached_property
    def ends(self) -> str:
        """`before` is a word that goes on behind the cursor: "inside"; one begins there: "before";
        otherwise empty."""
        if not _WORD.match(self.closers + self.line_after):
            return ""
        return "inside" if self.before and _WORD.match(self.before[-1]) else "before"


@lru_cache(32)
def _standing(row: Row, after: str, stack: tuple[Open, ...]) -> tuple[int, int]:
    left = list(stack)
    depth, closed, surplus = len(left), 0, 0
    for event in events(row, after, 0, left):
        if event.kind == "unmatched":
            surplus += 1
        elif event.kind == "close" and event.depth < depth:
            depth = event.depth
            closed += event.what.closer != "\n"
    return closed, surplus


def unix(text: str) -> str:
    """The model sees one kind of line end; a suggestion gets the document's back."""
    return text.replace("\r\n", "\n") if "\r" in text else text


def unix_before(text: str) -> str:
    """The same of a text before a cursor, as far as it is near: in 2 MB all would take 4 ms. From
    where moves in steps, so that while one types what is farther keeps its length."""
    far = max(0, len(text) - NEAR) // NEAR * NEAR
    return text[:far] + unix(text[far:])


def line_end(snapshot: Snapshot) -> str:
    """The document's, as it is nearest to the cursor."""
    at = snapshot.text.find("\n", snapshot.offset)
    at = at if at >= 0 else snapshot.text.rfind("\n", 0, snapshot.offset)
    return "\r\n" if at > 0 and snapshot.text[at - 1] == "\r" else "\n"


_WORD = re.compile(r"[^\W]|\$")
