"""Policy: what to ask for at a cursor, and what of the answer is shown."""

import contextlib
import re
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from . import postprocess
from .answers import Answer
from .backend import Backend
from .client import opaque
from .config import CompletionConfig
from .context import Windows
from .documents import Snapshot
from .exchange import Chunk, CompletionRequest

# What goes in beside the windows before and after a cursor: names and texts of other files.
Snippets = Callable[[Snapshot, str, str, Windows], tuple[tuple[str, str], ...]]

BELOW = re.compile(r"[\r\n]([ \t]*)[^\s]")  # the indentation of the next line that is not blank


@dataclass(frozen=True)
class Suggestion:
    """Text for the cursor; it replaces `replaced` characters after it. Empty: no suggestion.

    `stop_reason` names what ended the text, and so why there is none. `written` is what the model
    wrote of it: the text without brackets that the editor had closed. `request` is what was asked.
    """

    text: str = ""
    replaced: int = 0
    stop_reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    total_ms: float = 0.0
    written: str = ""
    request: CompletionRequest | None = field(default=None, repr=False, compare=False)


def opens_block(line_before: str) -> bool:
    """Whether what comes next is a block of several lines."""
    return line_before.rstrip().endswith((":", "{", "(", "["))


def writes_block(snapshot: Snapshot) -> bool:
    """Whether a block opens here at the end of its line, or above with nothing in it yet."""
    if snapshot.line_after.strip():
        return False
    if snapshot.line_before.strip():
        return opens_block(snapshot.line_before)
    opener = snapshot.before.rstrip().rpartition("\n")[2]
    depth = len(opener) - len(opener.lstrip())
    below = BELOW.search(snapshot.after)
    empty = below is None or len(below[1]) <= depth
    return opens_block(opener) and len(snapshot.line_before) > depth and empty


def stop_at(snapshot: Snapshot) -> tuple[str, str]:
    """The rules that end the text: line or block, and where it repeats what follows."""
    return ("block" if writes_block(snapshot) else "line", "suffix")


async def suggest(
    backend: Backend,
    answer: Answer,
    config: CompletionConfig,
    snippets: Snippets = lambda *place: (),
) -> Suggestion:
    """Ask the engine what stands at the cursor. Raises EngineGone or EngineRefused."""
    began = time.perf_counter()
    snapshot = answer.snapshot
    crlf = "\r\n" in snapshot.text
    # They are replaced, and come back if the model does not write them.
    closers = postprocess.auto_closed(snapshot.line_after)
    before, after = _unix(snapshot.before), _unix(snapshot.after[len(closers) :])
    traits = await backend.traits()
    # A model that cannot infill completes what stands before the cursor.
    infills = "infilling" not in await backend.refusals()
    prompt, suffix = traits.windows.before(before), traits.windows.after(after)
    request = CompletionRequest(
        prompt=prompt,
        suffix=suffix if infills else None,
        model=backend.model,
        max_tokens=config.max_tokens,
        document=opaque(snapshot.uri),
        language=snapshot.language,
        stop_at=stop_at(snapshot),
        request_id=answer.request_id,
        follows=answer.follows and answer.follows.request_id,
        time_budget_ms=config.time_budget_ms or None,
        input_extra=snippets(snapshot, prompt, suffix, traits.windows) if infills else (),
        lane="completion" if answer.ahead else "inline",
    )
    if not traits.structured:
        answer.received()  # it cannot go on with what it wrote for an earlier key: that is stopped
    answer.sent = True
    chunks = backend.complete(request, answer.received)
    whole = await (_read(chunks) if traits.structured else _read_plain(chunks, request))
    written = postprocess.tidy(whole.text)
    text = postprocess.trim_overlap(written, after)
    reason = "suffix" if written and not text else whole.stop_reason or ""
    text = text.replace("\n", "\r\n") if crlf else text
    return Suggestion(
        postprocess.merge_closers(text, closers) if text and closers else text,
        len(closers) if text else 0,
        reason,
        whole.usage or {},
        whole.timings or {},
        (time.perf_counter() - began) * 1e3,
        text,
        request,
    )


def accepted(snapshot: Snapshot, found: Suggestion) -> Snapshot:
    """The document with the suggestion in it, and the cursor behind what was written."""
    offset = snapshot.offset
    text = snapshot.text[:offset] + found.text + snapshot.text[offset + found.replaced :]
    return replace(snapshot, text=text, offset=offset + len(found.text), line=None)


async def _read(chunks: AsyncGenerator[Chunk]) -> Chunk:
    """The whole answer."""
    whole = Chunk()
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            whole = whole.then(chunk)
    return whole


async def _read_plain(chunks: AsyncGenerator[Chunk], request: CompletionRequest) -> Chunk:
    """The same of an engine that knows neither `stop_at` nor a time budget: read no further."""
    whole, began = Chunk(), time.perf_counter()
    line = "line" in request.stop_at
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            whole = whole.then(chunk)
            cut = postprocess.first_line if line else postprocess.first_block
            if (text := cut(whole.text, request.prompt)) != whole.text:
                return replace(whole, text=text, stop_reason="line" if line else "block")
            late = (time.perf_counter() - began) * 1e3 > (request.time_budget_ms or float("inf"))
            if late and whole.text:
                return replace(whole, stop_reason="time")
    return replace(whole, stop_reason=whole.stop_reason or whole.finish_reason)


def _unix(text: str) -> str:
    """The model sees one kind of line end; a suggestion gets the document's back."""
    return text.replace("\r\n", "\n")
