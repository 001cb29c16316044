"""When a completion is finished by its structure: the line, the block, or what already follows.

Base models rarely emit an end token here. The generated text comes in pieces, is read once, and
ends at the first rule that says so; what one could still cut off is not shown. Repetitions are
told in `stopping.py`, blocks in `blocks`.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from .blocks import LANGUAGES, PLAIN, Block, Lexer, block_at, last_end
from .stopping import Repetition

Rule = Literal["line", "block", "suffix"]
RULES: tuple[Rule, ...] = get_args(Rule)

ENDLESS = 5  # blank lines, of a model that will write nothing else


@dataclass(frozen=True)
class StopRules:
    """Which rules apply, and the text around the cursor, with `\\n` as its line ends."""

    rules: frozenset[Rule]
    prefix: str
    suffix: str
    language: str = ""  # a language id of LSP


class StopStructure:
    """Ends a growing text by `rules`. `hit` is the name of the one that ended it.

    `feed` gives what may be shown; together with `finish` it is the same for all ways to cut the
    text into pieces. The prefix is read when the text first has something that could end it.
    """

    def __init__(self, rules: StopRules):
        self.hit: Rule | None = None
        self._rules = rules
        self._text = rules.prefix
        self._begin = self._shown = len(rules.prefix)
        self._solid = self._begin  # up to the last character not blank
        self._lexer: Lexer | None = None
        self._block: Block | None = None
        self._repetition = (
            Repetition(rules.prefix, rules.suffix) if "suffix" in rules.rules else None
        )

    def feed(self, text: str) -> str:
        """The text that is now certain. After a hit, always empty."""
        if self.hit is not None:
            return ""
        self._text += text
        if (solid := text.rstrip()) != "":
            self._solid = len(self._text) - len(text) + len(solid)
        return self._show(self._read(text))

    def finish(self) -> str:
        """What was held back, when no more text comes; not what a rule would cut off in the end."""
        if self.hit is not None:
            return ""
        cut = self._see(final=True)
        if cut is None and self._repetition:
            cut = self._end("suffix", self._repetition.end_line(self._text, len(self._text)))
        if cut is None and self._block:
            cut = self._end("block", self._block.finish())
        return self._show(len(self._text) if cut is None else cut)

    def _read(self, text: str) -> int:
        """The offset up to which all is certain, now that `text` has been added."""
        if self._lexer is None and self._may_end(text):
            self._start()
        if (cut := self._see()) is not None:
            return cut
        sure = self._solid
        if self._lexer and self._lexer.pending < sure:
            sure = last_end(self._text, self._lexer.pending, self._shown)
        if self._block and self._block.held is not None:
            sure = min(sure, self._block.held)
        return min(sure, self._repetition.held(self._text, sure)) if self._repetition else sure

    def _may_end(self, text: str) -> bool:
        if "block" not in self._rules.rules:
            return "\n" in text
        words = LANGUAGES.get(self._rules.language, PLAIN).words
        return _CLOSERS.search(text) is not None or bool(words and text.strip())

    def _start(self) -> None:
        rules = self._rules
        if "block" in rules.rules:
            self._block = block_at(rules.language, rules.prefix, rules.suffix)
            self._lexer = self._block.lexer
        else:
            self._lexer = Lexer(PLAIN, at=len(rules.prefix))

    def _see(self, final: bool = False) -> int | None:
        """Where to cut, if what the lexer has not told yet ends the text."""
        if self._lexer is None:
            return None
        for event in self._lexer.events(self._text, final):
            cut = None
            if event.kind == "end":
                cut = self._end_line(event.at)
                if cut is None and self._block and self._lexer.blanks == ENDLESS:
                    cut = self._end("block", last_end(self._text, event.at, self._begin))
            if cut is None and self._block:
                cut = self._end("block", self._block.see(event, self._text))
                if cut is not None and self._repetition:
                    cut = self._repetition.without_rest(self._text, cut)
            if cut is not None:
                return cut
        return None

    def _end_line(self, at: int) -> int | None:
        if "line" in self._rules.rules:
            return self._end("line", at)
        if self._repetition:
            return self._end("suffix", self._repetition.end_line(self._text, at))
        return None

    def _end(self, rule: Rule, cut: int | None) -> int | None:
        self.hit = rule if cut is not None else None
        return cut

    def _show(self, end: int) -> str:
        shown = self._text[self._shown : end]
        self._shown = max(self._shown, end)
        return shown


_CLOSERS = re.compile(r"[\n)\]}\"'`/*<]")
