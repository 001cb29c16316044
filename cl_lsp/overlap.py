"""What stands around the cursor is not suggested again: the rest of the line, the next lines, the
lines above. Pure functions over strings."""

import re

from .brackets import closing, only_closers

# What stands in many places; it is a repetition only together with the line behind it.
_SAYS_LITTLE = re.compile(
    r"\s*(?:@\w+(?:\(\))?|/\*\*?|\*/?|#\w*|//+|\"\"\"|'''|\}?\s*else\b.*|try\b.*|do\b|<\?php"
    r"|(?:public|private|protected):|pass|break;?|continue;?|return;?|;;|[\[({]+)"
)
_CLOSERS = re.compile(r"\s*(?:[)\]};,]+|end;?|fi|done|esac|</[\w.:-]+>)\s*")
_OPENER = re.compile(r"(?:[{(\[:>]|\b(?:then|do|in|else|begin))\s*$")
_DIGITS = re.compile(r"\d+")
LINES = 8  # below the cursor, which the text may repeat
NEAR = 20  # characters; two shorter texts may differ by one and mean different things


def trim_overlap(text: str, after: str, line_before: str = "", language: str = "") -> str:
    """`text` without an end that already stands after the cursor; empty if nothing is left to show.

    On the same line, the longest end that the rest of the line begins with; of whole lines, from
    the first on that repeats the next ones that are not blank.
    """
    line_after, _, below = after.partition("\n")
    if "\n" in text:
        kept = _without_next_lines(text, below, line_before)
    else:
        kept = _without_rest_of_line(text, line_after.rstrip(), language)
    again = not line_after.strip() and _repeats_lines(line_before + text, _lines(below)[:LINES])
    return kept if kept.strip() and not again else ""


def _repeats_lines(text: str, lines: list[str]) -> bool:
    """Whether all that `text` has are the first of `lines`, but for blanks or a character in 20."""
    own = _lines(text)
    if not any(map(_tells, own)) or len(own) > len(lines):
        return False
    there = lines[: len(own)]
    if len(own) == 1:  # a line like the next one, but for a character, is often meant
        return "".join(own[0].split()) == "".join(there[0].split())
    return near("\n".join(own), "\n".join(there))


def repeats_above(text: str, line_before: str, above: list[str]) -> bool:
    """Whether `text` makes the cursor's line, and those below, what the lines above it are."""
    own = _lines(line_before + text)
    if not own or len(own) > len(above):
        return False
    if len(own) == 1 and (len(own[0].strip()) < 8 or _SAYS_LITTLE.fullmatch(own[0])):
        return False
    return [line.rstrip() for line in above[-len(own) :]] == own


def near(one: str, other: str) -> bool:
    """Whether they are the same but for white space, or for one character in 20.

    >>> near("return  total_of(x)", "return total_of(x)")
    True
    >>> near("print_all(items, a)", "print_all(items, b)"), near("case first_number_1", "case_2")
    (False, False)
    """
    one, other = "".join(one.split()), "".join(other.split())
    if one == other:
        return True
    if len(one) < NEAR or _DIGITS.findall(one) != _DIGITS.findall(other):
        return False
    return _differ(one, other) <= max(1, len(one) // 20)


def _differ(one: str, other: str) -> int:
    """So many characters, between what both begin and end with."""
    least = min(len(one), len(other))
    begin = next((n for n in range(least) if one[n] != other[n]), least)
    end = next((n for n in range(least - begin) if one[-1 - n] != other[-1 - n]), least - begin)
    return max(len(one), len(other)) - begin - end


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def _without_rest_of_line(text: str, line_after: str, language: str) -> str:
    for n in range(min(len(text), len(line_after)), 0, -1):
        overlap = line_after[:n]
        if text.endswith(overlap) and _repeats(text, overlap, language):
            return text[:-n]
    return text


def _repeats(text: str, overlap: str, language: str) -> bool:
    """Whether the end `overlap` of `text` is a repetition, and not what the text itself needs."""
    if text == overlap:
        return True
    if only_closers(overlap):
        closers = "".join(overlap.split())
        return "".join(closing(text, overlap, language)).endswith(closers)
    # A part of a word is a coincidence, and so is a single character.
    return len(overlap) > 1 and not (overlap[0].isalnum() and text[-len(overlap) - 1].isalnum())


def _without_next_lines(text: str, below: str, line_before: str) -> str:
    following = _lines(below)[:LINES]
    lines = text.split("\n")
    whole = lines if not line_before.strip() else ["", *lines[1:]]  # those that begin in `text`
    whole = [line_before + whole[0], *whole[1:]] if whole[0] else whole
    for n in range(1 if line_before.strip() else 0, len(lines)):
        own = _lines("\n".join(whole[n:])) if lines[n].strip() else []
        pairs = list(zip(own, following, strict=False))
        count = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
        if not count or (_CLOSERS.fullmatch(own[0]) and _indent(own[0]) in _opened(whole[:n])):
            continue
        if count == len(own) or any(_tells(line) for line in own[:count]):
            return "\n".join(lines[:n])
    return text


def _tells(line: str) -> bool:
    return not (_SAYS_LITTLE.fullmatch(line) or _CLOSERS.fullmatch(line))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _opened(lines: list[str]) -> set[int]:
    """The indentations at which the last line opens something."""
    last = {_indent(line): line for line in lines if line.strip()}
    return {indent for indent, line in last.items() if _OPENER.search(line)}
