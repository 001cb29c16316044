"""Where the lines of a text begin, by the line ends that LSP knows; also in 2 MB in no time."""

import re

LINE_END = re.compile(r"\r\n|\n|\r")
STEP = 64  # lines, to which one walks


def near_line(text: str, line: int, near: tuple[int, int]) -> tuple[int, int]:
    """A line and where it begins, as far as the text has lines; `near` is one that is known."""
    at, start = near if near[0] <= line + STEP else (0, 0)
    returns = at > line and "\r" in text
    while at > line:  # changes come from a document's end to its beginning, mostly
        end = start - (2 if returns and text[start - 2 : start] == "\r\n" else 1)
        start = text.rfind("\n", 0, end) + 1
        if returns:
            start = max(start, text.rfind("\r", 0, end) + 1)
        at -= 1
    if line - at > STEP:
        at, start = _leap(text, line, at, start)
    while at < line and (end := LINE_END.search(text, start)) is not None:
        at, start = at + 1, end.end()
    return at, start


def _leap(text: str, line: int, at: int, start: int) -> tuple[int, int]:
    """From line `at`, which begins at `start`, to one at most STEP before `line`, by halves: to
    count line ends is fifty times as fast as to look at each."""
    end = len(text)
    while line - at > STEP and (middle := text.rfind("\n", start, (start + end) // 2) + 1):
        count = _line_ends(text, start, middle)
        if at + count <= line:
            at, start = at + count, middle
        else:
            end = middle
    return at, start


def _line_ends(text: str, start: int, end: int) -> int:
    """How many there are between two offsets, of which none is within one."""
    count = text.count("\n", start, end)
    if text.find("\r", start, end) >= 0:
        count += text.count("\r", start, end) - text.count("\r\n", start, end)
    return count


def line_at(text: str, offset: int, near: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """The line that an offset is on, and where it begins; `near` is one that is known."""
    line, start = near if near[1] <= offset else (0, 0)
    end = offset - (text[offset - 1 : offset + 1] == "\r\n")  # in the middle of a line end
    begins = max(text.rfind("\n", start, end), text.rfind("\r", start, end)) + 1
    return line + _line_ends(text, start, end), max(begins, start)
