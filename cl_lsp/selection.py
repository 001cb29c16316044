"""What of a document a question is about: whole lines, cut by structure if they are too many."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lsprotocol import types

from . import structure
from .documents import Snapshot
from .errors import ClLspError

if TYPE_CHECKING:
    from .server import ClLsp

MAX_SELECTION = 8000  # characters: half of what a model of 4,096 tokens sees


@dataclass(frozen=True)
class Selection:
    """Lines `first` to before `stop` of a document, from offset `start` to `end`.

    `heads` are the lines that open what encloses them; `note` says what was left out, if anything.
    """

    snapshot: Snapshot
    first: int
    stop: int
    start: int
    end: int
    heads: str = ""
    note: str = ""

    @property
    def code(self) -> str:
        return self.snapshot.text[self.start : self.end]

    @property
    def language(self) -> str:
        return self.snapshot.language

    @property
    def name(self) -> str:
        return self.snapshot.uri.rpartition("/")[2]


def ranged(ls: "ClLsp", uri: str, at: types.Range) -> tuple[Snapshot, int]:
    """A document with the cursor where a range begins, and the offset of its end; of a notebook the
    cell alone, to which positions and edits belong. Raises Unreadable."""
    around = len(ls.documents.around(uri)[0])
    snapshot = ls.documents.snapshot(uri, at.start)
    end = ls.documents.snapshot(uri, at.end).offset - around
    document = ls.documents.get(uri)
    text = document.text if document else snapshot.text
    return replace(snapshot, text=text, offset=snapshot.offset - around, line=None), end


def select(snapshot: Snapshot, end: int) -> Selection:
    """From the snapshot's cursor to offset `end`; if that is nothing, the definition at the cursor.

    Raises ClLspError if there is no code, or a line that is too long by itself.
    """
    lines = structure.lines_of(snapshot.text)
    at = _line_at(lines, snapshot.offset)
    if snapshot.text[snapshot.offset : end].strip():
        last = _line_at(lines, end)
        if last > at and end == sum(map(len, lines[:last])):
            last -= 1  # the selection ends behind a line end
        first, stop = at, min(last + 1, len(lines))
    elif (block := structure.definition_at(lines, at)) is not None:
        first, stop = structure.with_above(lines, block.first), block.stop
    else:
        first, stop = _paragraph(lines, at)
    if first >= stop:
        raise ClLspError("nothing is selected, and there is no code at the cursor")
    kept = structure.cut(lines, first, stop, MAX_SELECTION)
    if kept == first:
        size = f"{len(lines[first]):,} characters"
        raise ClLspError(f"line {first + 1} has {size}; at most {MAX_SELECTION:,} can be sent")
    note = ""
    if kept < stop:
        span = f"lines {first + 1} to {stop} are too long"
        note = f"{span}: the model was sent those to {kept}"
    start = sum(map(len, lines[:first]))
    size = sum(map(len, lines[first:kept]))
    return Selection(snapshot, first, kept, start, start + size, _heads(lines, first), note)


def _heads(lines: list[str], first: int) -> str:
    blocks = structure.enclosing(lines, first)
    heads = ["".join(lines[b.first : b.body]) for b in blocks if b.body <= first]
    return "".join(head for head in heads if len(head) < 500)


def _paragraph(lines: list[str], at: int) -> tuple[int, int]:
    """The lines around one, up to blank ones."""
    if at >= len(lines) or structure.blank(lines[at]):
        return at, at
    first, stop = at, at
    while first and not structure.blank(lines[first - 1]):
        first -= 1
    while stop < len(lines) and not structure.blank(lines[stop]):
        stop += 1
    return first, stop


def _line_at(lines: list[str], offset: int) -> int:
    """The line that an offset is on; behind a last line end, one more than there are."""
    done = 0
    for number, line in enumerate(lines):
        done += len(line)
        if offset < done or (offset == done and not line.endswith(("\n", "\r"))):
            return number
    return len(lines)
