"""A lexer for text that is still being written: lines, brackets, block words, strings, comments.

It decides, and tree-sitter (`grammar.py`) may only deny: generated text is unfinished at its end,
where a parser's error recovery may move any bracket above, while what this one has said about the
beginning of a text never changes, however the text goes on and in whatever pieces it comes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .grammar import contradicts
from .languages import Language, Text
from .patterns import leads, tagged, tokens

APART = 2  # blank lines, which keep the constructs at the top of a file apart


@dataclass(slots=True)
class Open:
    """What has begun and not ended. The first of a stack is the file itself."""

    closer: str
    at: int  # offset of the opener
    head: int = 0  # offset of the line with which the statement around it begins
    indent: int = -1  # of that line
    text: Text | None = None
    closed: bool = False  # its closer stands after the cursor
    line: int = -1  # the last line that begins in it, ...
    inner: int = 0  # ... and its indentation
    least: int | None = None  # the lowest indentation of such lines

    @property
    def strong(self) -> bool:
        """Whether it ends although a parenthesis in it does not: a block, or the file."""
        return self.closer not in (")", "]")

    @property
    def lowest(self) -> int:
        """The lowest indentation that lines in it have, or should have."""
        return self.indent + 1 if self.least is None else self.least


class Event(NamedTuple):
    """`close`: `item` has ended; `end`: a line has; `line`: its first character not blank."""

    kind: Literal["close", "end", "line"]
    at: int
    code: bool = True  # not in a string or comment, and no line that a backslash continues
    item: Open | None = None
    indent: int = 0
    blanks: int = 0  # blank lines before it
    lead: str = ""  # what of the language's `joins` and `closers` it begins with


class Lexer:
    """Reads a growing text. `pending` is the offset from which it has not decided yet."""

    def __init__(
        self, language: Language, cursor: int = -1, stack: tuple[Open, ...] = (), at: int = 0
    ):
        self.language = language
        self.stack = [Open("", -1), *stack]
        self.indent = 0  # of the current line
        self.ended = ""  # the code of the last line that has ended and has some
        self.pending = 0
        self.unmatched: list[Event] = []  # closers that close nothing, as `lead`
        self._cursor = cursor
        self._at = at  # all before it is read
        self._line = at  # offset of the current line
        self._comment = -1  # offset of the last line comment
        self._fresh = True  # of the line, only blanks have been seen
        self._joined = False  # the line before ended in a backslash
        self.blanks = 0  # blank lines since the last that is not

    def events(self, text: str, final: bool = False) -> Iterator[Event]:
        """What is new in `text`, which begins with what it was the last time."""
        while True:
            if self._fresh:
                if (event := self._first(text, final)) is None:
                    return
                yield event
                continue
            mode = self.stack[-1].text or self.language
            found = tokens(mode, final).match(text, self._at)
            kind = (found and found.lastgroup) or "nothing"
            if found is None or kind in ("nothing", "begun"):
                self._at = self.pending = (
                    found.start("begun") if found and kind == "begun" else len(text)
                )
                return
            self._at, at, token = found.end(), found.start(kind), found[kind]
            match kind:
                case "newline":
                    yield self._end_line(text, at)
                case "escape" if token.endswith("\n"):
                    yield self._end_line(text, at + 1, escaped=True)
                case "open" if token in _PAIRS:
                    self._push(_PAIRS[token], at)
                case "open" if _is_command(text, at):
                    self._push(self.language.words[token], at)
                case "close" if token in ")]}" or _is_command(text, at):
                    if (item := self._close(text, token, at)) is not None:
                        yield Event("close", at, item=item)
                case "closer":
                    yield Event("close", at, item=self.stack.pop())
                case _ if kind.startswith("entry"):
                    self._enter(text, found, at, mode, int(kind[5:]))

    def tail(self, text: str, at: int) -> str:
        """The code of the current line before `at`."""
        return text[self._line : self._comment if self._comment >= self._line else at].strip()

    def _first(self, text: str, final: bool) -> Event | None:
        """The next line's beginning, as soon as it is known whether it is one of the leads."""
        self.pending = first = _skip_blanks(text, self._at)
        if text[first : first + 1] == "\n":
            self.blanks += 1
            self._at = self._line = first + 1
            return Event("end", first, self.stack[-1].text is None)
        lead = leads(self.language, final).match(text, first)
        if first == len(text) or (lead is not None and lead.lastgroup == "begun"):
            return None
        self.indent = width(text[self._line : first])
        if self.language.closers and text[first] not in ")]}":
            self._drop_deeper()
        top, code = self.stack[-1], self.stack[-1].text is None and not self._joined
        # A brace alone on a line goes on with a statement; a comment or a directive is none.
        aside = text[first] in "{#/" or (lead and lead.group() in self.language.labels)
        if code and not aside:
            top.line, top.inner = self._line, self.indent
            top.least = self.indent if top.least is None else min(top.least, self.indent)
        blanks, self.blanks, self._fresh, self._joined = self.blanks, 0, False, False
        return Event("line", first, code, None, self.indent, blanks, lead.group() if lead else "")

    def _drop_deeper(self) -> None:
        """Whatever has been missed: what holds nothing but deeper lines has ended."""
        while (top := self.stack[-1]).indent > self.indent and top.least is not None:
            if top.text or self.indent >= top.least:
                return
            self.stack.pop()

    def _end_line(self, text: str, at: int, escaped: bool = False) -> Event:
        while not escaped and (inside := self.stack[-1].text) and not inside.lines:
            self.stack.pop()
        code = self.stack[-1].text is None
        if code and (tail := self.tail(text, at)):
            self.ended = tail
        self._line, self._fresh, self._joined = self._at, True, escaped
        return Event("end", at, code and not escaped)

    def _push(self, closer: str, at: int, text: Text | None = None) -> None:
        top = self.stack[-1]
        head, indent = (top.line, top.inner) if top.line >= 0 else (self._line, self.indent)
        self.stack.append(Open(closer, at, head, indent, text))

    def _enter(
        self, text: str, found: re.Match[str], at: int, mode: Text | Language, index: int
    ) -> None:
        entry = mode.holes[index] if isinstance(mode, Text) else mode.entries[index]
        match entry.what:
            case Text() as what if entry.holds(text, at):
                if "%s" in what.closer:
                    what = tagged(what, found.group("tag"))
                if what.comment and not what.lines:
                    self._comment = at
                self._push(what.closer, at, what)
            case None if isinstance(mode, Text):
                self._push(mode.closer, at, mode)
            case str(closer):
                self._push(closer, at)

    def _close(self, text: str, closer: str, at: int) -> Open | None:
        """Ends what `closer` closes. A block ends over open parentheses, but not the reverse."""
        for n in range(len(self.stack) - 1, 0, -1):
            item = self.stack[n]
            if item.text is not None:
                return None
            if item.closer == closer:
                break
            if item.strong or closer in ")]":
                return None
        else:
            n, item = 0, self.stack[0]  # a block that begins before the window
            self.unmatched.append(Event("close", at, indent=self.indent, lead=closer))
            if closer in ")]":
                return None
        grammar = self.language.grammar
        if grammar is not None and item.at < self._cursor <= at:
            head = item.head if n else text.rfind("\n", 0, self._cursor) + 1
            if contradicts(grammar, text[head : at + len(closer)], self._cursor - head, closer):
                return None
        if n == 0:
            self.stack[0] = Open("", -1)
            return item if 0 <= self._cursor <= at else None
        del self.stack[n:]
        return item


def width(blanks: str) -> int:
    """Columns of an indentation; a tab is as wide as four."""
    return len(blanks.expandtabs(4))


_PAIRS = {"(": ")", "[": "]", "{": "}"}
_COMMANDS_AFTER = frozenset(["then", "do", "else", "elif", "if", "while", "until", "time"])


def _is_command(text: str, at: int) -> bool:
    """Whether a shell's word at `at` stands where a command does, and so is a keyword."""
    before = text[text.rfind("\n", 0, at) + 1 : at].rstrip()
    return before[-1:] in ("", *";&|({`!)") or before.split()[-1] in _COMMANDS_AFTER


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at
