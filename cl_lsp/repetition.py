"""Degenerate repetition: what a small model writes when it has lost its way is cut to the first."""

import re

# The first five repetitions of three characters may be meant, three of ten hardly ever.
_IN_LINE = (re.compile(r"(.{3,}?)\1{5,}.{0,40}$"), re.compile(r"(.{10,}?)\1{3,}.{0,40}$"))
_RULER = re.compile(r"(\W|_)\1*")
LINES = 4  # the same line so often, one after the other
BLOCKS = 3  # the same lines so often
LONGEST = 6  # lines of such a block


def without_repetition(text: str, cut_short: bool = False) -> str:
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
    whole = [line.strip() for line in lines]
    for size in range(1, LONGEST + 1):
        times = LINES if size == 1 else BLOCKS
        for start in range(len(whole) - size * times + 1):
            block = whole[start : start + size]
            if any(block) and whole[start : start + size * times] == block * times:
                return "\n".join(lines[: start + size])
    return text


def _in_line(line: str, cut_short: bool) -> int | None:
    for pattern in _IN_LINE:
        found = pattern.search(line[-400:])
        if found is not None and (cut_short or not _RULER.fullmatch(found[1])):
            return max(0, len(line) - 400) + found.end(1)
    return None
