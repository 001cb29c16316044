"""One line or a block: decided before the request, and for engines without rules as it runs."""

import re

from .surroundings import Surroundings

BELOW = re.compile(r"\n([ \t]*)[^\s]")  # the indentation of the next line that is not blank
ENDLESS = 5  # blank lines
_OPENERS = (":", "{", "(", "[")
_LABEL = re.compile(r"\s*(?:case\b.*|default\s*|public|protected|private):$")
_BRACED = {
    *("c", "cpp", "java", "csharp", "php", "go", "rust"),
    *("javascript", "javascriptreact", "typescript", "typescriptreact"),
}
_WORDS = {"shellscript": re.compile(r"(?:^|[\s;])(?:then|do|else|in)$")}  # a shell's blocks


def opens_block(line: str, language: str = "") -> bool:
    """Whether what comes next is a block of several lines."""
    code, words = line.rstrip(), _WORDS.get(language)
    if code.endswith(":") and language in _BRACED:
        return _LABEL.match(code) is not None  # a key, too, has a colon
    return code.endswith(_OPENERS) or bool(words and words.search(code))


def writes_block(at: Surroundings) -> bool:
    """Whether a block opens here at the end of its line, or above with nothing in it yet."""
    if at.line_after.strip() or at.closers.strip() or at.kind != "code":
        return False
    if at.line_before.rstrip().endswith(":") and at.language == "python" and at.state.stack:
        return False  # a key, or a slice
    if at.line_before.strip():
        return opens_block(at.line_before, at.language)
    opener = at.above[-1] if at.above else ""
    depth = len(opener) - len(opener.lstrip())
    below = BELOW.search(at.after)
    empty = below is None or len(below[1]) <= depth
    return opens_block(opener, at.language) and len(at.line_before) > depth and empty


def stop_at(at: Surroundings) -> tuple[str, str]:
    """The rules that end the text: line or block, and where it repeats what follows."""
    return ("block" if writes_block(at) else "line", "suffix")


def first_line(text: str, before: str) -> str:
    """`text` up to its first line break. Of an engine that does not end it there itself."""
    return text.partition("\n")[0]


def first_block(text: str, before: str) -> str:
    """`text` up to where the block at the end of `before` is left, by its indentation.

    That is a whole line that is indented no deeper than the line which opens the block, but for
    the one that closes it; or where a model goes on with nothing but blank lines.

    >>> first_block("\\n    return 1\\n\\nx = 2\\n", "def f():")
    '\\n    return 1\\n'
    >>> first_block("\\n  f();\\n}\\ng();\\n", "if (x) {")
    '\\n  f();\\n}'
    >>> first_block("\\n    f()\\n\\n\\n    g()\\nh()\\n", "if x:")
    '\\n    f()\\n\\n\\n    g()'
    >>> first_block("\\n    f()\\n\\n\\n\\n\\n\\n", "if x:")
    '\\n    f()'
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
        if not content and kept[1 - ENDLESS :] == [""] * (ENDLESS - 1):
            return "\n".join(kept).rstrip()
        kept.append(line.rstrip())
    return text
