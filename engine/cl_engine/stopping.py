"""When a text is finished: pure functions of the text so far, no tokens and no torch."""

import re


class StopText:
    """Ends a growing text before the first stop string, and never shows a part of one.

    `feed` gives what may be shown; what could still become a stop string is held back.
    """

    def __init__(self, stops: tuple[str, ...]):
        self._stops = tuple(s for s in stops if s)
        self._held = ""
        self.hit: str | None = None

    def feed(self, text: str) -> str:
        """The text that is now certain. After a hit, always empty."""
        if self.hit is not None:
            return ""
        self._held += text
        found = [(at, s) for s in self._stops if (at := self._held.find(s)) >= 0]
        if found:
            at, self.hit = min(found)
            shown, self._held = self._held[:at], ""
            return shown
        keep = max((_overlap(self._held, s[:-1]) for s in self._stops), default=0)
        shown = self._held[: len(self._held) - keep]
        self._held = self._held[len(shown) :]
        return shown

    def finish(self) -> str:
        """What was held back, when no more text comes."""
        shown, self._held = self._held, ""
        return shown


class Repetition:
    """Whether a growing text has begun to repeat what stands after the cursor.

    It has when a whole line of it equals the next line there that is not blank, indentation
    included. A line that says little (`/**`, `@Override`, `try {`) must go on like the text after
    it. A line of closers only counts if the text has not opened, at that indentation, what it
    closes. What then was a repetition of the rest of the cursor's line goes too.
    """

    def __init__(self, prefix: str, suffix: str):
        rest, _, below = suffix.partition("\n")
        self._rest = rest.strip()
        lines = [line.rstrip() for line in below.split("\n") if line.strip()][:3]
        telling = next((n for n, line in enumerate(lines) if not _SAYS_LITTLE.fullmatch(line)), 2)
        self._lines = lines[: telling + 1]
        self._matched = 0  # of these
        column = prefix[prefix.rfind("\n") + 1 :]
        self._whole = not column.strip()  # the current line is not a rest of the cursor's line
        self._column = column if self._whole else ""
        self._start = len(prefix)  # of the current line
        self._end = self._cut = self._start  # of the line before; of the one before the repetition
        self._levels: set[int] = set()  # indentations of the lines before

    def end_line(self, text: str, at: int) -> int | None:
        """The line of `text` that ends at `at` is known: where to cut, if this tells."""
        begin, whole, column = self._start, self._whole, self._column
        self._start, self._whole, self._column = at + 1, True, ""
        written = text[begin:at].rstrip()
        if not written:
            return None
        line = column + written
        if whole and self._repeats(line):
            self._cut = self._cut if self._matched else self._end
            self._matched += 1
            if self._matched == len(self._lines):
                return self._cut
        else:
            self._matched = 0
        self._end = begin + len(written)
        if self._rest and written.endswith(self._rest):
            self._end -= len(self._rest)
            if len(self._rest) > 2 and _WORD.search(self._rest):
                return self._end
        if whole:
            self._levels.add(_indent(line))
        return None

    def held(self, text: str, end: int) -> int:
        """The offset from which `text`, so far as `end`, may turn out to be a repetition."""
        if self._matched:
            return self._cut
        written = text[self._start : end].rstrip()
        line = self._column + written
        if self._whole and self._lines and self._lines[0].startswith(line.rstrip()):
            return self._end
        return self._start + len(written) - _overlap(written, self._rest)

    def without_rest(self, text: str, end: int) -> int:
        """`end`, or where before it `text` begins to repeat the rest of the cursor's line."""
        n = _overlap(text[self._start : end], self._rest)
        return end - n if n > 2 and _WORD.search(self._rest[:n]) else end

    def _repeats(self, line: str) -> bool:
        if self._matched and line != self._lines[self._matched]:
            self._matched = 0
        if not self._lines or line != self._lines[self._matched]:
            return False
        closes = _CLOSERS.fullmatch(line) is not None and line.strip() != ";;"
        return not closes or _indent(line) not in self._levels


# What must be followed by more of the same, before it is a repetition and not a habit.
_SAYS_LITTLE = re.compile(
    r"\s*(?:@\w+(?:\(\))?|/\*\*?|\*/?|#\w*|//+|\"\"\"|'''|\{|\}?\s*else\b.*|try\b.*|do\b|<\?php"
    r"|(?:public|private|protected):)"
)
_CLOSERS = re.compile(r"\s*(?:[)\]};,]+|end;?|fi|done|esac|</\w+>)\s*")
_WORD = re.compile(r"\w")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _overlap(text: str, what: str) -> int:
    """Length of the longest end of `text` that is a beginning of `what`."""
    begin = max(0, len(text) - len(what))
    while what and (begin := text.find(what[0], begin)) >= 0:
        if what.startswith(text[begin:]):
            return len(text) - begin
        begin += 1
    return 0
