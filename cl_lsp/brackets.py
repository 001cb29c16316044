"""Brackets and quotes of a suggestion: what an editor closed by itself is there once.

Pure functions over strings; what opens and closes is read by `syntax.py`.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from .languages import Row, row_of
from .syntax import Open, events

# A tag's end stands behind the cursor as a bracket's does: <p>|</p>.
CLOSERS = re.compile(r"(?:</[\w.:-]*>|[)\]}>\"'`;,:])*\s*")
_CLOSER = re.compile(r"</[\w.:-]*>|\S")
_PUNCTUATION = re.compile(
    r"<(?P<opened>[A-Za-z][\w.:-]*)[^<>]*(?<!/)>|</[\w.:-]*>|(?<![-=])>|[;,:<]"
)


def only_closers(line_after: str) -> bool:
    """Whether the rest of the line is what an editor closes by itself, and punctuation."""
    return CLOSERS.fullmatch(line_after) is not None


def auto_closed(line_after: str) -> str:
    """The rest of the line if it is only closers.

    The editor wrote them, and they change at every bracket typed: in the suffix they would make
    each key a new prompt.
    """
    return line_after if line_after.strip() and only_closers(line_after) else ""


def merge_closers(
    text: str, closers: str, language: str = "", opened: Sequence[Open] | None = None
) -> str:
    """`text` and those of `closers` that it does not close itself, to replace the line's rest.

    `opened` is what is open before it; if that is not known, `closers` must tell.

    >>> merge_closers("x)", ")")
    'x)'
    >>> merge_closers("f(x)", ")]")
    'f(x))]'
    """
    left = closers
    for mark in closing(text, closers, language, opened):
        if left.lstrip().startswith(mark):
            left = left.lstrip()[len(mark) :]
    return text + left


def opened_by(closers: str, row: Row) -> list[Open]:
    """What must be open before the cursor for `closers` to stand behind it; the innermost last."""
    stack: list[Open] = []
    for closer in _CLOSER.findall(closers):
        quotes = [text for text in row.texts if text.closer == closer]
        if closer in (")", "]", "}"):
            stack.append(Open(closer))
        elif closer in ('"', "'", "`") and quotes:
            stack.append(Open(closer, quotes[-1]))
    return stack[::-1]


def closing(
    text: str, closers: str, language: str = "", opened: Sequence[Open] | None = None
) -> list[str]:
    """What `text` closes that it has not opened, and its punctuation outside of brackets.

    `closers` may stand behind it, and tell what is open before it, unless `opened` does.
    """
    row = row_of(language)
    stack = opened_by(closers, row) if opened is None else list(opened)
    marks: list[tuple[int, str]] = []
    depth, own = len(stack), -1  # where what it has opened itself begins
    spans = [(-1, 0)]  # where punctuation is none of ours
    if stack and stack[-1].text:
        own = 0
    for event in events(row, text, 0, stack):
        if event.kind == "unmatched" and own < 0:
            marks.append((event.at, event.what.closer))
        elif event.kind == "open" and event.depth == depth:
            own = event.at
        elif event.kind == "close" and event.depth <= depth:
            if event.depth < depth:
                depth = event.depth
                marks.append((event.at, event.what.closer))
            spans.append((own, event.at) if own >= 0 else (event.at, event.at))
            own = event.at if len(stack) == depth and stack and stack[-1].text else -1
    spans.append((own if own >= 0 else len(text), len(text)))
    tags: list[str] = []
    for (_, begin), (end, _) in pairwise(spans):
        for found in _PUNCTUATION.finditer(text, begin, max(begin, end)):
            mark = found[0]
            if found["opened"]:
                tags.append(f"</{found['opened']}>")
            elif mark == "<":
                tags.append(">")
            elif tags and tags[-1] == mark:
                tags.pop()
            else:
                marks.append((found.start(), mark))
    return [mark for _, mark in sorted(marks)]
