"""Blocks that only their indentation shows: Python, and all that has no row in `languages.py`.

| the cursor stands | the text ends before a line |
|---|---|
| behind `def f():` | that is not deeper than that one |
| in a block | that is less deep than the block |
| in a head, as `if`, or in parentheses | not deeper, unless it is an `else` or the like |
| at the top, or among the members of a class | likewise, after one construct with a body |
| at the top | likewise, after two blank lines |
"""

import re

from .cursor import indent_of, is_type, last_end, mark_closed
from .lexer import APART, Event, Lexer, Open, width

_HANDLERS = ("except", "finally")


class Indented:
    """Told what the lexer sees, it answers with the offset to cut at as soon as it knows one.

    In a language without a row (`plain`) brackets and words close blocks, too, but the lexer may
    have missed some. So there the indentation decides, and a line with which a block closes is
    still a part of it; brackets only keep lines together that the text itself has put into them.
    """

    def __init__(self, lexer: Lexer, prefix: str, suffix: str):
        mark_closed(lexer, suffix)
        self.lexer, self._cursor, self._prefix = lexer, len(prefix), prefix
        self._below = suffix.lstrip("\n")
        self._plain = bool(lexer.language.closers)
        line = prefix[prefix.rfind("\n") + 1 :]
        tail = lexer.tail(prefix, self._cursor)
        self._level = self._base = self._level_at_cursor()
        self._opens = bool(tail or not line.strip()) and self._opened(tail or lexer.ended)
        opener = (tail or lexer.ended) if self._opens else ""
        joined = self._below.lstrip(" \t").startswith(_HANDLERS)
        self._tries = opener == "try:" and not joined  # which is nothing without a handler
        self._column = None if line.strip() else width(line)  # until the block is known
        self._floor = self._level + self._opens  # the block has no lines less deep than this
        self._single = not self._opens and self._is_between()
        in_text = lexer.stack[-1].text is not None
        self._head = bool(tail) and not self._opens and not in_text and not self._inside()
        self._construct = False  # what was asked for is deeper than `_base`
        self._body = False  # there has been a line deeper than `_base`
        self._ending = False  # the statement ends with the line

    def see(self, event: Event, text: str) -> int | None:
        if event.kind == "close" and event.item is not None:
            return self._close(event.item, event.at, text)
        if event.kind == "end" and event.code and self._ending and not self._inside():
            self._ending = False
            if not self._opened(self.lexer.ended):
                return last_end(text, event.at, self._cursor)
            self._construct = True
        if event.kind == "line" and event.code:
            return self._begin_line(event, text)
        return None

    def finish(self) -> int | None:
        return None

    held: int | None = None  # nothing that has begun is taken back

    def _close(self, item: Open, at: int, text: str) -> int | None:
        if 0 <= item.at < self._cursor and item.closed:
            return last_end(text, at, self._cursor)
        if item.text is not None or item.at < 0:
            return None
        if item.at < self._cursor:
            self._ending = self._ending or not self._plain
        elif self._plain and (self._construct or self._opens) and not self._inside():
            # The body had brackets, and here is the last of them.
            back = "\n" in text[item.at : at] and self.lexer.indent <= self._base
            self._ending = self._ending or back
        return None

    def _begin_line(self, event: Event, text: str) -> int | None:
        if self._column is not None:
            self._settle(event, text)
        cut = last_end(text, event.at, self._cursor)
        if self._head and (self._plain or not self._inside()):
            self._head, self._construct = False, event.indent > self._base
        if self._inside():
            return cut if event.blanks and event.indent < self._floor else None
        if event.blanks >= APART and event.indent == self._floor == 0 and cut > self._cursor:
            return cut
        if not self._is_below(event):
            self._body = self._body or event.indent > self._base
            return None
        if event.lead in self.lexer.language.closers and not self._stands_below(event):
            self._ending = True
            return None
        return cut

    def _is_below(self, event: Event) -> bool:
        """Whether the block, or the construct that was asked for, has ended before this line."""
        if event.indent < self._floor:
            return not (self._tries and event.indent == self._level and event.lead in _HANDLERS)
        if event.indent > self._base or event.lead in self.lexer.language.joins:
            return False
        # Without a row, blank lines tell constructs apart, or one could not write a list.
        apart = event.blanks > 0 or not self._plain
        return self._construct or (self._single and self._body and apart)

    def _settle(self, event: Event, text: str) -> None:
        """The cursor's line was blank: the first line that is not tells which block is meant.

        Editors leave the cursor at any column; what was written on its line counts more.
        """
        on_line = "\n" not in text[self._cursor : event.at]
        column, self._column = (event.indent if on_line else self._column or 0), None
        self._opens = self._opens and column > self._level
        self._floor = self._base = self._level + 1 if self._opens else min(column, self._level)
        self._single = not self._opens and self._is_between()

    def _inside(self) -> bool:
        """Whether the line is within brackets that matter."""
        return self.lexer.stack[-1].at >= (self._cursor if self._plain else 0)

    def _opened(self, line: str) -> bool:
        return re.search(self.lexer.language.opens, line) is not None

    def _level_at_cursor(self) -> int:
        """The indentation of the statement before the cursor, or of a comment there."""
        top, file = self.lexer.stack[-1], self.lexer.stack[0]
        last = self._prefix.rstrip()
        last = indent_of(last[last.rfind("\n") + 1 :])
        if top.text and top.text.comment:
            return last
        if not self._plain:
            return file.inner
        begun = top.inner if top.line >= 0 else top.indent
        return min(last, begun) if begun >= 0 else last

    def _is_between(self) -> bool:
        """Whether the block is the file or a type's body, where one construct follows another."""
        if self._floor == 0:
            return True
        lines = (line for line in reversed(self._prefix.split("\n")) if line.strip())
        return is_type(next((line for line in lines if indent_of(line) < self._floor), ""))

    def _stands_below(self, event: Event) -> bool:
        """Whether the closer that the line begins with is the next thing after the cursor."""
        below = self._below.lstrip(" \t").startswith(event.lead)
        return below and indent_of(self._below) == event.indent
