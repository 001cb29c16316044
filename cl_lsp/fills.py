"""Holes in a document and what a model that can infill puts into them: at the cursor, in place of a
body, in place of the selection."""

import asyncio
import re
from contextlib import aclosing
from dataclasses import dataclass

from . import structure
from .backend import Backend
from .client import opaque
from .documents import Snapshot
from .edits import line_end
from .errors import ClLspError, EngineRefused
from .exchange import Chunk, CompletionRequest
from .lines import first_block, first_line
from .overlap import trim_overlap
from .repetition import without_repetition

MAX_TOKENS = 512
SHORT = 128  # tokens, at the cursor
PER_TOKEN = 2  # characters: what a selection is filled with may be half as long again as it is
CANDIDATES = 3
TEMPERATURE = 0.8  # of the candidates after the first
DOCSTRING = re.compile(r"\s*[rRuU]?(\"\"\"|''')")


@dataclass(frozen=True)
class Hole:
    """What is to be written anew: from offset `start` to `end` of a document."""

    snapshot: Snapshot
    start: int
    end: int
    what: str

    @property
    def text(self) -> str:
        return self.snapshot.text[self.start : self.end]

    @property
    def max_tokens(self) -> int:
        if self.what == "selection":
            return min(MAX_TOKENS, 32 + len(self.text) // PER_TOKEN)
        return MAX_TOKENS if self.what == "body" else SHORT

    @property
    def stop_at(self) -> tuple[str, ...]:
        """By structure; a selection may be anything, but a part of a line stays one."""
        if self.what != "selection":
            return ("block", "suffix")
        return ("suffix",) if "\n" in self.text or self._whole else ("line", "suffix")

    @property
    def _whole(self) -> bool:
        """Whether nothing else stands on its lines."""
        return self.before[-1:] in ("", "\n") and self.after[:1] in ("", "\n", "\r")

    @property
    def before(self) -> str:
        return self.snapshot.text[: self.start]

    @property
    def after(self) -> str:
        return self.snapshot.text[self.end :]


def hole(snapshot: Snapshot, end: int, what: str) -> Hole:
    """From the snapshot's cursor to offset `end`. Raises ClLspError if there is none such."""
    if what == "selection":
        if end <= snapshot.offset:
            raise ClLspError("nothing is selected")
        # Behind a last line end would stand the next line, as if it were the rest of this one.
        end = max(snapshot.offset, _before_line_end(snapshot.text, end))
        return Hole(snapshot, snapshot.offset, end, what)
    if what == "body":
        return Hole(snapshot, *_body(snapshot), what)
    return Hole(snapshot, snapshot.offset, snapshot.offset, what)


def _body(snapshot: Snapshot) -> tuple[int, int]:
    """From the end of its head, or of its docstring, to the end of its last line."""
    lines = structure.lines_of(snapshot.text)
    at = len(structure.lines_of(snapshot.before + "|")) - 1
    block = structure.block_at(lines, at)
    if block is None:
        raise ClLspError("the cursor is in no function or block")
    first = _behind_docstring(lines, block.body, block.closer)
    stop = max(first, block.closer)
    while stop > first and structure.blank(lines[stop - 1]):
        stop -= 1
    start = sum(map(len, lines[:first]))
    end = start + sum(map(len, lines[first:stop]))
    text = snapshot.text
    return _before_line_end(text, start), _before_line_end(text, end)


def _before_line_end(text: str, offset: int) -> int:
    return len(text[:offset].removesuffix("\n").removesuffix("\r")) if offset else 0


def _behind_docstring(lines: list[str], first: int, stop: int) -> int:
    """The line below the docstring that begins in `first`, or `first`."""
    if first >= stop or (opened := DOCSTRING.match(lines[first])) is None:
        return first
    rest = lines[first][opened.end() :]
    if opened[1] in rest:
        return first + 1
    closed = (n for n in range(first + 1, stop) if opened[1] in lines[n])
    return next(closed, first - 1) + 1


async def fill(
    backend: Backend, gap: Hole, around: tuple[str, str] = ("", ""), temperature: float = 0.0
) -> str:
    """The text for a hole; empty if there is none. Raises ClLspError.

    `around`: what stands before and after the document, if it is a part of one.
    """
    refused = await backend.refusals()
    if "infilling" in refused:
        raise EngineRefused(refused["infilling"])
    traits = await backend.traits()
    before, after = _unix(around[0] + gap.before), _unix(gap.after + around[1])
    request = CompletionRequest(
        prompt=traits.windows.before(before),
        suffix=traits.windows.after(after),
        model=backend.model,
        max_tokens=gap.max_tokens,
        document=opaque(gap.snapshot.uri),
        language=gap.snapshot.language,
        stop_at=gap.stop_at,
        request_id="",
        temperature=temperature,
        lane="completion",
    )
    whole = Chunk()
    async with aclosing(backend.complete(request, lambda: None)) as chunks:
        async for chunk in chunks:
            whole = whole.then(chunk)
            # An engine that does not end it by structure is left where the block ends.
            if not traits.structured and gap.stop_at != ("suffix",):
                cut = first_line if "line" in gap.stop_at else first_block
                if (kept := cut(whole.text, request.prompt)) != whole.text:
                    whole = Chunk(kept)
                    break
    text = whole.text.rstrip()
    if whole.finish_reason == "length" and "\n" in text:
        text = text.rpartition("\n")[0]  # the last line is not finished
    line_before = before.rpartition("\n")[2]
    text = trim_overlap(without_repetition(text, line_before), after, line_before, request.language)
    return text.rstrip().replace("\n", line_end(gap.snapshot.text))


async def candidates(backend: Backend, gap: Hole, around: tuple[str, str] = ("", "")) -> list[str]:
    """Up to three different ones, the likeliest first. Raises ClLspError."""
    temperatures = [0.0, *[TEMPERATURE] * (CANDIDATES - 1)]
    asked = (fill(backend, gap, around, t) for t in temperatures)
    found = await asyncio.gather(*asked, return_exceptions=True)
    for error in found:
        if isinstance(error, BaseException):
            raise error
    return list(dict.fromkeys(str(text) for text in found if text))


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")
