"""Degenerate repetition: what a small model writes when it has lost its way is cut to the first."""

import re

# The first five repetitions of three characters may be meant, three of ten hardly ever.
_IN_LINE = (re.compile(r"(.{3,}?)\1{5,}.{0,40}$"), re.compile(r"(.{10,}?)\1{3,}.{0,40}$"))
_DIGITS = re.compile(r"\d+")
_RULER = re.compile(r"(\W|_)\1*")
LINES = 3  # the same lines so often, one after the other
SHORTEST = 8  # characters of them: closers may stand below each other
LONGEST = 6  # lines of such a block


def without_repetition(text: str, line_before: str = "", cut_short: bool = False) -> str:
    """`text` up to the end of the first of what it repeats. `cut_short`: it had not ended itself.

    >>> without_repetition("a, b, c = " + "foo(x), " * 20)
    'a, b, c = foo(x),'
    >>> without_repetition("\\n  a();\\n  b();" * 4)
    '\\n  a();\\n  b();'
    >>> without_repetition("# --------------------")
    '# --------------------'
    """
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if (cut := _in_line(line, cut_short)) is not None:
            return "\n".join([*lines[:number], line[:cut]])
    whole = [line.rstrip() for line in (line_before + text).split("\n")]
    if (end := _again(whole, LINES)) is None and cut_short:
        end = _again([_DIGITS.sub("0", line) for line in whole], LINES + 1)  # counts, and no end
    return text if end is None else "\n".join(lines[:end])


def _again(lines: list[str], times: int) -> int | None:
    """After how many lines a block ends that then comes again, and again."""
    for size in range(1, LONGEST + 1):
        for start in range(len(lines) - size * times + 1):
            block = lines[start : start + size]
            if lines[start : start + size * times] != block * times:
                continue
            if sum(len(line.strip()) for line in block) >= SHORTEST:
                return start + size
    return None


def _in_line(line: str, cut_short: bool) -> int | None:
    for pattern in _IN_LINE:
        found = pattern.search(line[-400:])
        if found is not None and (cut_short or not _RULER.fullmatch(found[1])):
            return max(0, len(line) - 400) + found.end(1)
    return None
