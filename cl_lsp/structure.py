"""Blocks of any language by their indentation: what opens one, where it ends, what encloses a line.

Not a parser: it reads half-written files and languages nobody has a grammar for. Lines keep their
ends; line numbers count from 0, and a span ends before its second number.
"""

import re
from typing import NamedTuple

LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")
CLOSER = re.compile(r"[)\]}]|(?:end|fi|done|esac)\b|</")
CONTROL = re.compile(
    r"(?:[})]\s*)?(?:if|elif|else|elseif|for|foreach|while|until|do|switch|case|default|try|except"
    r"|catch|finally|with|using|lock|match|select|loop|unless|rescue|ensure|begin|when)\b"
)
CONTINUES = re.compile(r"(?:else|elif|elseif|except|catch|finally|rescue|ensure|then|do)\b|\{")
ABOVE = re.compile(r"@|#(?!include|define|if|end)|//|/\*|\*|\[\w+")
ACCESS = re.compile(r"\s*(?:public|protected|private|signals)\b[\w ]*:\s*$")
MAX_HEAD = 12  # lines of one; what has more is no signature
MAX_LEVELS = 12  # of nesting: data may have thousands, and each costs a look at what follows


class Block(NamedTuple):
    """Its head is lines `first` to `body`, its inside ends before `closer`, all of it at `stop`."""

    first: int
    body: int
    closer: int
    stop: int


def lines_of(text: str) -> list[str]:
    return LINE.findall(text)


def depth(line: str) -> int:
    """Columns of its indentation; a tab goes on to the next eighth."""
    blank = line[: len(line) - len(line.lstrip())]
    return len(blank.rstrip("\r\n").expandtabs(8))


def blank(line: str) -> bool:
    return not line.strip()


def _void(line: str) -> bool:
    """Whether its indentation tells nothing."""
    return blank(line) or ACCESS.match(line) is not None


def block_at(lines: list[str], at: int) -> Block | None:
    """The innermost block with line `at` in it, or whose head that line is part of."""
    near = min(at, len(lines))
    if near == len(lines) or blank(lines[near]):  # in an empty block there are only blank lines
        near = next((n for n in range(near - 1, -1, -1) if not blank(lines[n])), near)
        opened = _opened_by(lines, near) if near < len(lines) else None
        if opened is not None and opened.body == opened.closer == near + 1:
            return opened
    elif (opened := _opened_by(lines, at)) is not None:
        return opened
    outer = enclosing(lines, at)
    return outer[-1] if outer else None


def definition_at(lines: list[str], at: int) -> Block | None:
    """As `block_at`, the innermost that is no loop or condition."""
    found = block_at(lines, at)
    while found is not None and CONTROL.match(lines[found.first].lstrip()):
        outer = enclosing(lines, found.first)
        found = outer[-1] if outer else None
    return found


def enclosing(lines: list[str], at: int) -> list[Block]:
    """The blocks that line `at` stands in, at most MAX_LEVELS, the outermost first."""
    found: list[Block] = []
    closes = at < len(lines) and CLOSER.match(lines[at].lstrip())
    limit = _depth_at(lines, at) + (1 if closes else 0)
    number = min(at, len(lines)) - 1
    while number >= 0 and limit > 0 and len(found) < MAX_LEVELS:
        line = lines[number]
        if not _void(line) and depth(line) < limit:
            limit = depth(line)
            if (block := _opened_by(lines, number)) is not None and block.stop > at:
                found.append(block)
                number = block.first
        number -= 1
    return found[::-1]


def with_above(lines: list[str], first: int) -> int:
    """Where the decorators and comments begin that belong to the definition at line `first`."""
    level = depth(lines[first])
    while first and not blank(above := lines[first - 1]):
        if not (ABOVE.match(above.lstrip()) and level <= depth(above) <= level + 1):
            break
        first -= 1
    return first


def cut(lines: list[str], first: int, stop: int, most: int) -> int:
    """Where to end what begins at `first`, to have at most `most` characters: whole blocks.

    The line that follows is as far out as there is one in the second half of what fits. `first`
    if not even one line fits.
    """
    size, best, fits = 0, first, first
    outermost = float("inf")
    for number in range(first, stop):
        line = lines[number]
        if size > most:
            break
        begins = not blank(line) and not _belongs(line)
        if number > first:
            fits = number
            if begins and size >= most / 2 and depth(line) <= outermost:
                outermost, best = depth(line), number
        size += len(line)
    else:
        if size <= most:
            return stop
        fits = stop - 1 if stop - 1 > first and size - len(lines[stop - 1]) <= most else fits
    return best if best > first else fits


def _belongs(line: str) -> bool:
    """Whether a line goes on with the block above it."""
    return bool(CLOSER.match(line.lstrip()) or CONTINUES.match(line.lstrip()))


def _depth_at(lines: list[str], at: int) -> int:
    """How deep a line is; a blank one as what is above it, or deeper if that opens a block."""
    if at < len(lines) and not blank(lines[at]):
        return depth(lines[at])
    typed = depth(lines[at]) if at < len(lines) else 0
    above = next((x for x in reversed(lines[:at]) if not blank(x)), "")
    opens = above.rstrip().endswith((":", "{"))
    return max(typed, depth(above) + (1 if opens else 0))


def _opened_by(lines: list[str], at: int) -> Block | None:
    """The block whose head, of one or several lines, line `at` is part of."""
    if _void(lines[at]):
        return None
    level, first, last = depth(lines[at]), at, at
    # A head of several lines: "def f(", deeper ones, ") -> int:"; or a brace below it.
    while (text := lines[first].lstrip()) and text[0] in ")]{" and at - first < MAX_HEAD:
        above = next((n for n in range(first - 1, -1, -1) if _at_level(lines[n], level)), None)
        if above is None:
            break
        first = above
    while (after := _next_at_level(lines, last, level)) is not None and after - last < MAX_HEAD:
        text = lines[after].lstrip()
        is_head = text[0] == "{" or (text[0] in ")]" and text.rstrip()[-1] in ":{")
        if not is_head:
            break
        last = after
    opens = lines[last].rstrip().endswith((":", "{", "(", "["))
    stop = _end_of(lines, last, level)
    below = lines[stop] if stop < len(lines) else ""
    closes = _at_level(below, level) and CLOSER.match(below.lstrip())
    if stop == last + 1 and not (opens and lines[last].rstrip()[-1] in ":{"):
        return None
    whole = stop + 1 if closes and not below.rstrip().endswith("{") else stop
    return Block(first, last + 1, stop, whole)


def _end_of(lines: list[str], head: int, level: int) -> int:
    """The first line behind `head` that is not deeper than `level`, without blank ones before."""
    stop = head + 1
    for number in range(head + 1, len(lines)):
        if _void(lines[number]):
            continue
        if depth(lines[number]) <= level:
            break
        stop = number + 1
    following = next((n for n in range(stop, len(lines)) if not _void(lines[n])), None)
    if following is not None and _at_level(lines[following], level):
        is_closer = CLOSER.match(lines[following].lstrip())
        return following if is_closer else stop
    return stop


def _at_level(line: str, level: int) -> bool:
    return not _void(line) and depth(line) == level


def _next_at_level(lines: list[str], at: int, level: int) -> int | None:
    """The next line that is not deeper, if it is just as deep."""
    for number in range(at + 1, len(lines)):
        if not _void(lines[number]) and depth(lines[number]) <= level:
            return number if depth(lines[number]) == level else None
    return None
