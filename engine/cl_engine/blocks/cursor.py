"""What stands around the cursor: reading the two windows, and what they say about each other.

A window may begin anywhere in a file, also within a string or a comment. What was open there is
not known; that it was open often is.
"""

import re
from dataclasses import replace

from .languages import Language
from .lexer import Lexer, Open, width


def read(language: Language, prefix: str) -> Lexer:
    """A lexer that has read `prefix`."""
    stack: tuple[Open, ...] = ()
    for text, opener, closer in language.around:
        first = re.search(rf"(?P<closer>{closer})|{opener}", prefix)
        if not stack and first and first["closer"]:
            stack = (Open(text.closer, 0, text=text),)
    lexer = _read(language, prefix, stack)
    # Quotes do not tell which side they are on. If what they would hold is code, it is the rest:
    # in 3 of 1,505 places in Python files that was so.
    quoted = next((item for item in lexer.stack if item.text and item.text.lines), None)
    if quoted and language.quotes and re.compile(language.statement).search(prefix, quoted.at):
        for text in language.quotes:
            other = _read(language, prefix, (Open(text.closer, 0, text=text),))
            if not any(item.text and item.text.lines for item in other.stack):
                return other
    return lexer


def _read(language: Language, prefix: str, stack: tuple[Open, ...]) -> Lexer:
    lexer = Lexer(language, len(prefix), stack)
    for _ in lexer.events(prefix, final=True):
        pass
    return lexer


def mark_closed(lexer: Lexer, suffix: str) -> None:
    """Note which of the brackets and texts that `lexer` has open are closed in `suffix`.

    On the cursor's line any closer does that fits. Below, its line must be as deep as the line of
    the bracket, or as what else is in the next outer block: otherwise it closes that one.
    """
    top = lexer.stack[-1]
    text = replace(top) if top.text else None
    after = Lexer(lexer.language, stack=(text,) if text else ())
    here = len(suffix.partition("\n")[0])
    for event in after.events(suffix, final=True):
        if text and event.item is text:
            rest = suffix[event.at + len(text.closer) :].partition("\n")[0]
            top.closed = event.at <= here or not re.search(r"\w", rest)
    stack = [item for item in lexer.stack if item.text is None]
    for at, indent, closer in ((e.at, e.indent, e.lead) for e in after.unmatched):
        if at > here and lexer.language.closers:
            return  # what the lexer makes of an unknown language is not that good
        for n in range(len(stack) - 1, -1, -1):
            outer = next((item for item in reversed(stack[:n]) if item.strong), stack[0])
            deep = n == 0 or indent == stack[n].indent or indent >= outer.lowest
            same = stack[n].closer == closer or (n == 0 and closer not in ")]")
            if same and (at <= here or deep):
                stack[n].closed = True
                del stack[n:]
                break


def last_end(text: str, at: int, cursor: int) -> int:
    """Where, before `at`, what has been written after `cursor` ends in more than blanks."""
    while at > cursor and text[at - 1].isspace():
        at -= 1
    return at


def indent_of(line: str) -> int:
    return width(line[: len(line) - len(line.lstrip())])


_TYPE = re.compile(
    r"(?<![\w.:$>])(?:class|interface|namespace|trait|enum|record|impl|module)\b"
    r"|\b(?:struct|union)\b[^()]*\Z"  # with parentheses it is a function's type
)


def is_type(head: str) -> bool:
    """Whether a block with this head has members, and not statements."""
    return _TYPE.search(re.sub(r"<[^<>]*>", "", head)) is not None
