"""Whether a cursor stands in code, a string or a comment, and which brackets are open there.

A light scanner over text that need not be finished. It knows quotes, comments and brackets of each
language, and no grammar: `languages` has the facts. Only the last 6,000 characters are read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from .languages import Row, Text, row_of

WINDOW, STEP = 6000, 500  # characters
PAIRS = {"(": ")", "[": "]", "{": "}"}
Kind = Literal["code", "string", "comment"]


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


class Marks:
    """How often marks without blanks are in a document's text before the cursor. While someone
    types it stays: to compare 2 MB takes a tenth of a millisecond, to count in them one."""

    def __init__(self) -> None:
        self._text = ""  # up to a blank: no mark goes over its end
        self._counts: dict[str, int] = {}

    def times(self, mark: str, text: str) -> int:
        """How often it is in `text`."""
        end = max(text.rfind("\n"), text.rfind(" ")) + 1
        known = self._counts if text.startswith(self._text) else {}
        begin = len(self._text)
        self._counts = {m: n + text.count(m, begin, end) for m, n in known.items()}
        self._text = text[:end]
        if mark not in known:
            self._counts[mark] = text.count(mark, 0, end)
        return self._counts[mark] + text.count(mark, end)


def inside(language: str, before: str, marks: Marks | None = None) -> Kind:
    """Where a cursor is that stands behind `before`; `language` is an id of LSP, `marks` the
    document's.

    >>> inside("python", "x = 'it"), inside("python", "x = 1  # it"), inside("python", "x = 'a'")
    ('string', 'comment', 'code')
    >>> inside("javascript", "`${a"), inside("cpp", "/* a */ b /* c")
    ('code', 'comment')
    """
    return state_at(language, before, marks).kind


def state_at(language: str, before: str, marks: Marks | None = None) -> State:
    """What is open behind `before`, as far as its end tells."""
    row, marks = row_of(language), marks or Marks()
    line = before.rfind("\n") + 1
    if len(before) - line > WINDOW:  # of a long line the end, from where moves in steps
        line = len(before) // STEP * STEP
    start = before.find("\n", line - WINDOW, line) + 1 or line - WINDOW if line > WINDOW else 0
    texts = [t for t in row.texts if t.lines and _begun(t, before, start, marks)] if start else []
    # While someone types, only the cursor's line is new.
    stack = list(_lines_state(row, before[start:line], texts[0] if texts else None))
    for _ in events(row, before, line, stack):
        pass
    return State(tuple(stack), start == 0)


@lru_cache(32)
def _lines_state(row: Row, lines: str, inside: Text | None) -> tuple[Open, ...]:
    stack = [Open(inside.closer, inside)] if inside else []
    for _ in events(row, lines, 0, stack):
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


def _begun(text: Text, before: str, at: int, marks: Marks) -> bool:
    """Whether it is open at `at`, by counting alone: a guess, for what a window begins in."""
    if text.bare and text.bare == text.closer:
        return marks.times(text.bare, before[:at]) % 2 == 1
    if not text.bare:
        return False
    begins = before.rfind(text.bare, 0, at)
    # "src/*" is a glob: a comment's beginning stands alone.
    return (
        begins > before.rfind(text.closer, 0, at) and before[max(0, begins - 1) : begins].isspace()
    )
