"""From an answer's code to the smallest edit: the lines that differ, in the document's own format.

Pure functions over strings; positions are the last step.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from lsprotocol import types

from .documents import positions_at
from .line_ends import LINE_END
from .structure import blank, lines_of

INDENT = re.compile(r"[ \t]*")


class Change(NamedTuple):
    """`text` stands in place of what is from offset `start` to `end`."""

    start: int
    end: int
    text: str


def fitted(code: str, old: str, document: str) -> str:
    """`code` with the line ends, the indentation and the last line's end that `old` has there."""
    lines = _without_blank_edges([line.rstrip("\r\n") for line in lines_of(code)])
    before = lines_of(old)
    if not lines or not (kept := _without_blank_edges(before)):
        return old
    lines = _indented(lines, kept, document)
    lead = next(n for n, line in enumerate(before) if not blank(line))
    tail = before[lead + len(kept) :]
    end = line_end(document)
    last = LINE_END.search(kept[-1])
    text = end.join(lines) + (last.group() if last else "")
    return "".join(before[:lead]) + text + "".join(tail)


def line_end(text: str) -> str:
    """The commonest of a text's line ends.

    >>> line_end("a\\r\\nb"), line_end("a")
    ('\\r\\n', '\\n')
    """
    crlf = text.count("\r\n")
    return "\r\n" if crlf and crlf * 2 >= text.count("\n") else "\n"


def minimal(text: str, start: int, end: int, wanted: str) -> list[Change]:
    """The changes of whole lines that put `wanted` in place of `text[start:end]`.

    >>> minimal("a\\nb\\nc\\n", 0, 6, "a\\nB\\nc\\n")
    [Change(start=2, end=4, text='B\\n')]
    """
    old, new = lines_of(text[start:end]), lines_of(wanted)
    ends = [start]
    for line in old:
        ends.append(ends[-1] + len(line))
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return [
        Change(ends[i], ends[j], "".join(new[m:n]))
        for tag, i, j, m, n in matcher.get_opcodes()
        if tag != "equal"
    ]


def text_edits(text: str, changes: Sequence[Change], encoding: str) -> list[types.TextEdit]:
    """In the client's positions, all of `text` as it was before."""
    offsets = (offset for change in changes for offset in (change.start, change.end))
    ends = positions_at(text, offsets, encoding)
    return [types.TextEdit(types.Range(next(ends), next(ends)), one.text) for one in changes]


def _without_blank_edges(lines: list[str]) -> list[str]:
    filled = [n for n, line in enumerate(lines) if not blank(line)]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _indented(lines: list[str], old: list[str], document: str) -> list[str]:
    """With the document's kind of indentation, the first line as deep as the old one."""
    lines = _in_style(lines, document)
    wanted, given = _indent(old[0]), _indent(lines[0])
    if wanted == given:
        return lines
    standing = {line.rstrip("\r\n") for line in old if _indent(line)}
    if not given and any(line in standing for line in lines[1:]):
        return [wanted + lines[0], *lines[1:]]  # only the first line has lost its indentation
    return [_shifted(line, given, wanted) for line in lines]


def _shifted(line: str, given: str, wanted: str) -> str:
    if blank(line):
        return ""
    return wanted + (line[len(given) :] if line.startswith(given) else line.lstrip())


def _in_style(lines: list[str], document: str) -> list[str]:
    """Tabs for spaces if the document has tabs, and the reverse."""
    unit = _unit(lines_of(document))
    if unit is None:
        return lines
    own = _unit(lines) or "    "
    if own == unit or (unit != "\t" and own != "\t"):
        return lines
    made = []
    for line in lines:
        blanks = _indent(line)
        if own == "\t":
            indent = blanks.replace("\t", unit)
        else:
            deep = len(blanks.replace("\t", own))
            indent = "\t" * (deep // len(own)) + " " * (deep % len(own))
        made.append(indent + line[len(blanks) :])
    return made


def _unit(lines: list[str]) -> str | None:
    """One step of indentation; None if nothing is indented."""
    indents = [indent for line in lines if not blank(line) and (indent := _indent(line))]
    if not indents:
        return None
    tabs = sum(indent.startswith("\t") for indent in indents)
    if tabs * 2 >= len(indents):
        return "\t"
    steps = [len(i) for i in indents if not i.startswith("\t") and len(i) > 1]
    return " " * min(steps, default=4)


def _indent(line: str) -> str:
    found = INDENT.match(line)
    return found.group() if found else ""
