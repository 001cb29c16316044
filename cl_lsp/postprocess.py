"""From what the model wrote to what is shown: pure functions over strings."""

import re

CLOSERS = re.compile(r"[)\]}>\"'`;,:]*\s*")
PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}


def first_line(text: str, before: str) -> str:
    """`text` up to its first line break. Of an engine that does not end it there itself."""
    return text.partition("\n")[0]


def first_block(text: str, before: str) -> str:
    """`text` up to where the block at the end of `before` is left, by its indentation.

    That is a whole line that is indented no deeper than the line which opens the block, but for
    the one that closes it; or two blank lines.

    >>> first_block("\\n    return 1\\n\\nx = 2\\n", "def f():")
    '\\n    return 1\\n'
    >>> first_block("\\n  f();\\n}\\ng();\\n", "if (x) {")
    '\\n  f();\\n}'
    """
    opener = next((x for x in reversed(before.split("\n")) if x.strip()), "")
    depth = len(opener) - len(opener.lstrip())
    if before.rpartition("\n")[2].strip() == "":  # the cursor's line is in the block already
        depth = min(depth, max(0, len(before.rpartition("\n")[2]) - 1))
    *lines, _ = text.split("\n")  # the last one is not finished
    kept: list[str] = []
    for number, line in enumerate(lines):
        content = line.lstrip()
        if number and content and len(line) - len(content) <= depth:
            if content[0] in ")]}":
                return "\n".join([*kept, line])
            return "\n".join(kept)
        if not content and kept[-1:] == [""] and number > 1:
            return "\n".join(kept)
        kept.append(line.rstrip())
    return text


def only_closers(line_after: str) -> bool:
    """Whether the rest of the line is what an editor closes by itself, and punctuation."""
    return CLOSERS.fullmatch(line_after) is not None


def auto_closed(line_after: str) -> str:
    """The rest of the line if it is only closers.

    The editor wrote them, and they change at every bracket typed: in the suffix they would make
    each key a new prompt.
    """
    return line_after if line_after.strip() and only_closers(line_after) else ""


def merge_closers(text: str, closers: str) -> str:
    """`text` and those of `closers` that it does not close itself, to replace the line's rest.

    >>> merge_closers("x)", ")")
    'x)'
    >>> merge_closers("f(x)", ")]")
    'f(x))]'
    """
    left = closers
    for character in _unmatched(text):
        if left[:1] == character:
            left = left[1:]
    return text + left


def _unmatched(text: str) -> list[str]:
    """The closing brackets, quotes and punctuation of `text` that nothing in it has opened."""
    opened: list[str] = []
    unmatched: list[str] = []
    quote = ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in PAIRS.values():
            opened.append(character)
        elif character in PAIRS:
            if opened and opened[-1] == PAIRS[character]:
                opened.pop()
            else:
                unmatched.append(character)
        elif character in "\"'`" and text.count(character) % 2 == 0:
            quote = character
        elif character in "\"'`;,:":
            unmatched.append(character)
    return unmatched


def trim_overlap(text: str, after: str) -> str:
    """`text` without an end that already stands after the cursor; empty if nothing is left to show.

    On the same line, the longest end that the rest of the line begins with; of whole lines, those
    that equal the next lines that are not blank.
    """
    line_after, _, below = after.partition("\n")
    if "\n" in text:
        kept = _without_next_lines(text, below)
    else:
        kept = _without_rest_of_line(text, line_after.rstrip())
    return kept if kept.strip() else ""


def _without_rest_of_line(text: str, line_after: str) -> str:
    for n in range(min(len(text), len(line_after)), 0, -1):
        overlap = line_after[:n]
        if text.endswith(overlap) and _repeats(text, overlap):
            return text[:-n]
    return text


def _repeats(text: str, overlap: str) -> bool:
    """Whether the end `overlap` of `text` is a repetition, and not what the text itself needs."""
    if text == overlap:
        return True
    if only_closers(overlap):
        closers = [c for c in overlap if not c.isspace()]
        return _unmatched(text)[-len(closers) :] == closers
    # A part of a word is a coincidence, and so is a single character.
    return len(overlap) > 1 and not (overlap[0].isalnum() and text[-len(overlap) - 1].isalnum())


def _without_next_lines(text: str, below: str) -> str:
    following = [line.rstrip() for line in below.split("\n") if line.strip()][:8]
    lines = text.split("\n")
    for n in range(min(len(lines), len(following)), 0, -1):
        if [line.rstrip() for line in lines[-n:]] == following[:n]:
            return "\n".join(lines[:-n])
    return text


def tidy(text: str) -> str:
    """`text` without trailing white space; empty if nothing else is in it."""
    return text.rstrip()
