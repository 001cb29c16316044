"""Indentation of a suggestion as in the file: tabs or spaces, and where the cursor's block is."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from .surroundings import Surroundings

_BLANKS = re.compile(r"[ \t]*")
_OPENS = re.compile(r"(?:[:{(\[]|=>|\b(?:then|do|else|in))[ \t]*$")
READ = 4000  # characters before the cursor, and as many behind


@dataclass(frozen=True)
class Style:
    """How a file is indented: one step in columns, and whether with tabs."""

    step: int = 4
    tabs: bool = False

    def blanks(self, columns: int) -> str:
        if not self.tabs:
            return " " * columns
        return "\t" * (columns // self.step) + " " * (columns % self.step)

    def columns(self, line: str) -> int:
        """Of what a line begins with; a tab is one step."""
        blanks = _BLANKS.match(line)
        return len(blanks[0].expandtabs(self.step)) if blanks else 0


@lru_cache(32)
def style_of(text: str) -> Style | None:
    """Of the most lines of `text`; None if none is indented.

    >>> style_of("a:\\n  b:\\n    c"), style_of("a {\\n\\tb"), style_of("a")
    (Style(step=2, tabs=False), Style(step=4, tabs=True), None)
    """
    blanks = [_BLANKS.match(line)[0] for line in text.split("\n") if line.strip()]  # type: ignore
    indented = [own for own in blanks if own]
    if not indented:
        return None
    if sum(own[0] == "\t" for own in indented) * 2 > len(indented):
        return Style(4, True)
    widths = [len(own) for own in blanks if "\t" not in own]
    steps = Counter(b - a for a, b in zip(widths, widths[1:], strict=False) if 1 < b - a <= 8)
    return Style(steps.most_common(1)[0][0] if steps else min(max(map(len, indented)), 4))


def indented(text: str, at: Surroundings) -> str:
    """`text` with the file's indentation; what stands inside of lines stays."""
    # Only what a key on the cursor's line does not change.
    lines = at.before[: len(at.before) - len(at.line_before)][-READ:]
    blanks = at.line_before[: len(at.line_before) - len(at.line_before.lstrip())]
    around = f"{lines}{blanks}x\n{at.after[:READ]}"
    first, *rest = text.split("\n")
    own, begins_line = style_of("\n".join(rest)), not at.line_before.strip()
    style = style_of(around) or own
    if style is None and begins_line and not at.above:
        style = style_of(text)  # its first line alone is indented, and nothing asks for that
    if style is None or at.kind != "code":
        return text
    lead, base = 0, style.columns(at.line_before)
    if begins_line:
        below = (style.columns(line) - base for line in rest if line.strip())
        lead = _too_deep(style.columns(first) if first.strip() else next(below, 0), at, style)
        first = style.blanks(style.columns(first) - lead) + first.lstrip(" \t")
    lines = [first]
    for line in rest:
        columns = style.columns(line)
        if style.tabs and own is not None and not own.tabs and not line.startswith("\t"):
            columns = columns // own.step * style.step + columns % own.step
        columns -= lead if columns - lead >= base else 0
        lines.append(style.blanks(columns) + line.lstrip(" \t") if line.strip() else "")
    return "\n".join(lines)


def _too_deep(more: int, at: Surroundings, style: Style) -> int:
    """So many of the columns that a text has `more` than a cursor with nothing but blanks before it
    are too many."""
    if more <= 0 or not at.above:
        return max(0, more)
    above = at.above[-1]
    wanted = style.columns(above) + (style.step if _OPENS.search(above) else 0)
    there = style.columns(at.line_before)
    return min(more, max(0, there + more - max(wanted, there)))
