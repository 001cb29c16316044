"""Whether a cursor stands in code, a string or a comment, and which brackets are open there.

A light scanner over text that need not be finished. It knows quotes, comments and brackets of each
language, and no grammar: `languages` has the facts. Brackets are of the last 6,000 characters.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Literal, NamedTuple

from .languages import Row, Text, row_of

WINDOW, STEP = 6000, 500  # characters
READ, FAR = 4000, 100_000
PAIRS = {"(": ")", "[": "]", "{": "}"}
Kind = Literal["code", "string", "comment"]
_BLANK = re.compile(r"[ \n]")


class Open(NamedTuple):
    """What has begun and not ended: a bracket, or a string or comment."""

    closer: str
    text: Text | None = None


class Event(NamedTuple):
    """`unmatched`: a closer of nothing that is open. `depth`: of what has been opened or closed."""

    kind: Literal["open", "close", "unmatched"]
    at: int
    what: Open
    depth: int


@dataclass(frozen=True)
class State:
    """What is open at a place, the innermost last. `whole`: nothing can be open but these."""

    stack: tuple[Open, ...] = ()
    whole: bool = True

    @property
    def kind(self) -> Kind:
        texts = [item.text for item in self.stack[-1:] if item.text]
        return "code" if not texts else "comment" if texts[0].comment else "string"


class Opened:
    """What is open at places of a document, read once from its beginning, or from some 100,000
    characters above. While someone types, what stands above stays as it is."""

    def __init__(self) -> None:
        self._row: Row | None = None
        self._text = ""  # what was read
        self._known: list[tuple[int, tuple[Open, ...]]] = []  # offsets, and what is open there

    def at(self, row: Row, before: str, place: int) -> tuple[Open, ...]:
        """The strings and comments that are open there, and what is open in them."""
        if self._row != row:
            self._row, self._known = row, []
        read = min(len(self._text), len(before))
        while self._known:  # what has changed is read again
            last = min(self._known[-1][0], read)
            if before.startswith(self._text[:last]):
                break
            self._known.pop()
        above = bisect_right(self._known, place, key=itemgetter(0)) - 1
        if above < 0 or place - self._known[above][0] > 2 * FAR:
            self._known, above = [_begin(row, before, max(0, place // FAR - 1) * FAR)], 0
        at, stack = self._known[above]
        while place - at > STEP:
            blank = _BLANK.search(before, at + READ)  # no token is cut there
            end = min(place, blank.end() if blank else place)
            at, stack = end, _behind(row, before[at:end], stack)
            if at > self._known[-1][0] and _BLANK.match(before, at - 1):
                self._known.append((at, stack))
        self._text = max(before[: self._known[-1][0]], self._text[: self._known[-1][0]], key=len)
        if place > at:
            stack = _behind(row, before[at:place], stack)
        return stack[next((n for n, item in enumerate(stack) if item.text), len(stack)) :]


def inside(language: str, before: str, opened: Opened | None = None) -> Kind:
    """Where a cursor is that stands behind `before`; `language` is an id of LSP, `opened` the
    document's.

    >>> inside("python", "x = 'it"), inside("python", "x = 1  # it"), inside("python", "x = 'a'")
    ('string', 'comment', 'code')
    >>> inside("javascript", "`${a"), inside("cpp", "/* a */ b /* c")
    ('code', 'comment')
    """
    return state_at(language, before, opened).kind


def state_at(language: str, before: str, opened: Opened | None = None) -> State:
    """What is open behind `before`: brackets as far as its end tells."""
    row, opened = row_of(language), opened or Opened()
    line = before.rfind("\n") + 1
    if len(before) - line > WINDOW:  # of a long line the end, from where moves in steps
        line = len(before) // STEP * STEP
    start = before.find("\n", line - WINDOW, line) + 1 or line - WINDOW if line > WINDOW else 0
    texts = opened.at(row, before, start) if start else ()
    # While someone types, only the cursor's line is new.
    stack = list(_behind(row, before[start:line], texts))
    for _ in events(row, before, line, stack):
        pass
    return State(tuple(stack), start == 0)


@lru_cache(64)
def _behind(row: Row, text: str, opened: tuple[Open, ...]) -> tuple[Open, ...]:
    """What is open behind a text that has `opened` before it."""
    stack = list(opened)
    for _ in events(row, text, 0, stack):
        pass
    return tuple(stack)


def events(row: Row, text: str, at: int, stack: list[Open]) -> Iterator[Event]:
    """What opens and closes in `text` from offset `at` on; `stack` is kept up to date."""
    pattern = _pattern_for(row, stack)
    while (found := pattern.match(text, at)) is not None:
        at, kind = found.end(), found.lastgroup
        if kind is None:
            return
        if kind in ("skip", "other"):
            continue
        begin, mark = found.start(kind), found[kind]
        if kind == "newline":
            while (gone := _line_text(stack)) is not None:
                del stack[gone + 1 :]
                closed = stack.pop()
                yield Event("close", begin, closed._replace(closer="\n"), len(stack))
        elif kind == "closer" or (kind == "close" and stack and stack[-1].closer == mark):
            closed = stack.pop()
            yield Event("close", begin, closed, len(stack))
        elif kind == "close" and mark == "}" and (block := _block(stack)) is not None:
            del stack[block + 1 :]  # it ends over open parentheses, but not the reverse
            yield Event("close", begin, stack.pop(), block)
        elif kind == "close":
            if mark not in row.loose:
                yield Event("unmatched", begin, Open(mark), len(stack))
            continue
        else:
            what = row.texts[int(kind[4:])] if kind.startswith("text") else None
            stack.append(Open(what.closer, what) if what else Open(PAIRS[mark[-1]]))
            yield Event("open", begin, stack[-1], len(stack) - 1)
        pattern = _pattern_for(row, stack)


def _line_text(stack: list[Open]) -> int | None:
    """Where in `stack` the outermost text is that a line end ends."""
    return next((n for n, item in enumerate(stack) if item.text and not item.text.lines), None)


def _block(stack: list[Open]) -> int | None:
    """Where in `stack` the innermost block is that the current string, if any, does not enclose."""
    for n in range(len(stack) - 1, -1, -1):
        if stack[n].text or stack[n].closer == "}":
            return None if stack[n].text else n
    return None


def _pattern_for(row: Row, stack: list[Open]) -> re.Pattern[str]:
    inner = stack[-1].text if stack else None
    return _pattern(row, inner, _line_text(stack) is not None)


@lru_cache(256)
def _pattern(row: Row, text: Text | None, line: bool) -> re.Pattern[str]:
    """What to look for next. What begins no token is passed over at once, and so is a whole string
    or comment: reading is five times as fast."""
    groups = [("newline", r"\n")] if line else []
    if text is not None:
        groups.append(("skip", "|".join(_skips(text)) or r"(?!)"))
        groups += [("closer", re.escape(text.closer) or r"(?!)"), ("hole", text.hole or r"(?!)")]
        firsts = text.closer[:1] + "".join(first.lstrip("\\")[0] for first in _firsts(text))
        plain = rf"[^\\\n{re.escape(firsts)}]*+"
    else:
        whole = [_whole(t) for t in row.texts if not (t.hole or line)]
        groups.append(("skip", "|".join([row.skip or r"(?!)", *whole])))
        groups += [(f"text{n}", text.opener) for n, text in enumerate(row.texts)]
        groups += [("open", r"[(\[{]"), ("close", r"[)\]}]")]
        blank = r" \t" if line else r"\s"
        plain = rf"(?:[{blank}.,;:=+%^~&|>!?]|\w++(?![\"']))*+"
    tokens = "|".join(f"(?P<{name}>{pattern})" for name, pattern in groups)
    return re.compile(rf"{plain}(?:{tokens}|(?P<other>[\s\S])|\Z)")


def _skips(text: Text) -> list[str]:
    return [*([r"\\[\s\S]"] if text.escapes else []), *text.skips]


def _firsts(text: Text) -> list[str]:
    return [pattern for pattern in (text.hole, *text.skips) if pattern]


def _whole(text: Text) -> str:
    """A regular expression: all of it, to the end that it has."""
    character = r"[\s\S]" if text.lines else r"[^\n]"
    closer = re.escape(text.closer) if text.lines or not text.comment else r"\n"
    inner = "|".join([*_skips(text), rf"(?!{closer}){character}"])
    return rf"(?:{text.opener})(?:{inner})*+{closer}"


def _begin(row: Row, before: str, at: int) -> tuple[int, tuple[Open, ...]]:
    """A place at or soon after `at` to read from, and what is open there."""
    if not at:
        return 0, ()
    place = before.find("\n", at, at + READ) + 1 or at
    guess = (Open(t.closer, t) for t in row.texts if t.lines and _begun(t, before, place))
    return place, tuple(guess)[:1]


def _begun(text: Text, before: str, at: int) -> bool:
    """Whether it is open at `at`, by counting alone: a guess, where reading all would take long."""
    if text.bare and text.bare == text.closer:
        return before.count(text.bare, 0, at) % 2 == 1
    if not text.bare:
        return False
    begins = before.rfind(text.bare, 0, at)
    # "src/*" is a glob: a comment's beginning stands alone.
    return (
        begins > before.rfind(text.closer, 0, at) and before[max(0, begins - 1) : begins].isspace()
    )
