"""Blocks enclosed in brackets, or in a shell's words: where the text after the cursor ends.

| the cursor stands | the text ends |
|---|---|
| in a block | with the line that closes it, or before a closer that already stands below |
| in parentheses | likewise; but a block that then opens, as in `if (a) {`, is waited for |
| in a head, as `int f()` | with the line that closes its block |
| at the top, or among the members of a type | with the line that closes one construct |
| at the top, in no bracket | before two blank lines |
"""

import re

from .cursor import is_type, last_end, mark_closed
from .lexer import APART, Event, Lexer, Open


class Braced:
    """Told what the lexer sees, it answers with the offset to cut at as soon as it knows one.

    What closes on a line is cut at the end of that line, with all that belongs to it: `});`,
    `} while (x);`, `} // namespace`. If what closed may have an `else`, a `catch` or a chained
    call, the beginning of the next line is waited for.
    """

    def __init__(self, lexer: Lexer, prefix: str, suffix: str):
        mark_closed(lexer, suffix)
        self.lexer, self._cursor = lexer, len(prefix)
        stack = [item for item in lexer.stack if item.text is None]
        depth = max(n for n, item in enumerate(stack) if item.strong)
        frame, parentheses = stack[depth], stack[depth + 1 :]
        tail = lexer.tail(prefix, self._cursor)
        in_text = lexer.stack[-1].text is not None
        here = prefix.rfind("\n") + 1
        self._head = bool(tail) and not in_text and frame.at < here and tail[-1] not in ";{}:,"
        # A brace that comes first is the body of that, unless a statement or list item ends there.
        self._bodiless = (tail or lexer.ended)[-1:] not in tuple(";{}([,")
        self._base = parentheses[0].indent if parentheses else frame.inner  # of the statement
        self._floor = min(frame.indent + 1, frame.lowest) if depth else max(0, frame.lowest)
        self._empty = frame.line < 0
        if depth:
            self._single = not self._empty and is_type(prefix[frame.head : frame.at])
        else:  # the top of the file, or of a window that has left the block it began in
            left = any(closer.lead not in ")]" for closer in lexer.unmatched)
            self._single = self._floor == 0 or left
        self._ending: Open | None = None  # the last bracket from before the cursor that closed
        self._built: Open | None = None  # what the text has opened, and closed on this line
        self._waiting: tuple[int, Open] | None = None  # where to cut, unless the next line goes on

    def see(self, event: Event, text: str) -> int | None:
        if event.kind == "close" and event.item is not None:
            return self._close(event.item, event.at, text)
        if event.kind == "end" and event.code and self.lexer.stack[-1].at < self._cursor:
            return self._end_line(event.at, text)
        if event.kind == "line" and event.code:
            return self._begin_line(event, text)
        return None

    def finish(self) -> int | None:
        """Where to cut, now that no line can go on."""
        return self._waiting[0] if self._waiting else None

    @property
    def held(self) -> int | None:
        """Where the text may turn out to have ended."""
        return self._waiting[0] if self._waiting else None

    def _close(self, item: Open, at: int, text: str) -> int | None:
        if item.at < self._cursor and item.closed:
            return last_end(text, at, self._cursor)
        if item.text is not None:
            return None
        if item.at < self._cursor:
            self._ending, self._floor = item, min(self._floor, item.indent)
        elif self.lexer.stack[-1].at < self._cursor:
            self._built = item
        return None

    def _end_line(self, at: int, text: str) -> int | None:
        if self._waiting:  # a blank line, or a comment
            return None
        built, self._built, ended = self._built, None, None
        if self._ending and (self._ending.strong or self.lexer.stack[-1].strong):
            ended = built if built and built.strong else self._ending
        elif built and self._is_construct(built, text, at):
            ended = built
        if ended is None or _GOING_ON.search(self.lexer.ended):
            self._head = self._head and not self.lexer.ended.endswith(";")
            return None
        cut = last_end(text, at, self._cursor)
        if not self._may_go_on(ended, text):
            return cut
        self._waiting = cut, ended
        return None

    def _begin_line(self, event: Event, text: str) -> int | None:
        if self._waiting and self._waiting[1].strong and text[event.at] == "/":
            return None  # a comment: what it is about may go on
        if self._waiting:
            (cut, ended), self._waiting = self._waiting, None
            if not self._goes_on(ended, event, text):
                return cut
        if self._empty:  # the first line of a block tells how deep it is
            self._floor, self._empty = min(self._floor, event.indent), False
        first, top = text[event.at], self.lexer.stack[-1]
        cut = last_end(text, event.at, self._cursor)
        written = cut > self._cursor
        # The net for a block that never closes. Closers decide for themselves; `#` is a directive.
        fell = event.blanks > 0 and event.indent < self._floor and first not in ")]}#"
        branch = event.lead in ("else", "elif") and top.closer == "fi" and top.closed
        apart = event.blanks >= APART and top is self.lexer.stack[0] and self._floor == 0
        if fell or (written and (branch or apart)):
            return cut
        if top.at < self._cursor and event.indent <= self._base and first != "{":
            self._head = False  # another statement
        return None

    def _is_construct(self, built: Open, text: str, at: int) -> bool:
        """Whether what the text has built is all that was asked for."""
        ended = self.lexer.ended
        first = built.closer == "}" and not text[self._cursor : built.at].strip()
        asked = self._head or (first and self._bodiless)
        if "\n" in text[built.at : at]:
            whole = built.strong or built.closer == "]" or ended.endswith(";")
            return whole and (asked or self._single)
        return asked and built.strong and ended.endswith("}")

    def _may_go_on(self, ended: Open, text: str) -> bool:
        if self.lexer.language.words:
            return False
        if ended.strong:
            return _keyword(text, ended) in _GOES_ON
        return not self.lexer.ended.endswith((";", ","))

    def _goes_on(self, ended: Open, event: Event, text: str) -> bool:
        if event.lead in _GOES_ON.get(_keyword(text, ended), ()):
            return True
        # After parentheses: their block, an operator, a chained call, a body without braces.
        return not ended.strong and (text[event.at] in "{.?:&|+=" or event.indent > self._base)


# What may follow the block of a statement, on the next line and on its own.
_GOES_ON = {
    "if": ("else", "elseif"),
    "elseif": ("else", "elseif"),
    "try": ("catch", "finally"),
    "catch": ("catch", "finally"),
    "do": ("while",),
}
_GOING_ON = re.compile(r"(?:\A|\})\s*(?:else|catch|finally)\b(?:[^;]*[^;}])?\Z")
_KEYWORD = re.compile(r"[ \t}]*(?:else\s+)?(\w*)")


def _keyword(text: str, block: Open) -> str:
    """The first word of the statement that `block` belongs to, if that can be seen."""
    found = _KEYWORD.match(text, block.head)
    return found[1] if found and block.at >= 0 else ""
