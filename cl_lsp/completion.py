"""Policy: what to ask for at a cursor, and what of the answer is shown."""

import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

from . import postprocess
from .answers import Answer
from .backend import Backend
from .brackets import merge_closers
from .client import opaque
from .config import CompletionConfig
from .documents import Snapshot
from .exchange import Chunk, CompletionRequest
from .lines import first_block, first_line, stop_at
from .surroundings import Surroundings, line_end


@dataclass(frozen=True)
class Suggestion:
    """Text for the cursor; it replaces `replaced` characters after it. Empty: no suggestion.

    `stop_reason` names what ended the text, and so why there is none. `written` is what the model
    wrote of it: the text without brackets that the editor had closed. `filters` have changed it.
    """

    text: str = ""
    replaced: int = 0
    stop_reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    total_ms: float = 0.0
    written: str = ""
    filters: tuple[str, ...] = ()


async def suggest(backend: Backend, answer: Answer, config: CompletionConfig) -> Suggestion:
    """Ask the engine what stands at the cursor. Raises EngineGone or EngineRefused."""
    began = time.perf_counter()
    snapshot = answer.snapshot
    at = Surroundings.of(snapshot)
    if at.ends == "inside":
        return Suggestion(stop_reason="mid-word")
    traits = await backend.traits()
    # A model that cannot infill completes what stands before the cursor.
    infills = "infilling" not in await backend.refusals()
    request = CompletionRequest(
        prompt=traits.windows.before(at.before),
        suffix=traits.windows.after(at.after) if infills else None,
        model=backend.model,
        max_tokens=config.max_tokens,
        document=opaque(snapshot.uri),
        language=snapshot.language,
        stop_at=stop_at(at),
        request_id=answer.request_id,
        follows=answer.follows and answer.follows.request_id,
        time_budget_ms=config.time_budget_ms or None,
        lane="completion" if answer.ahead else "inline",
    )
    if not traits.structured:
        answer.received()  # it cannot go on with what it wrote for an earlier key: that is stopped
    answer.sent = True
    chunks = backend.complete(request, answer.received)
    whole = await (_read(chunks) if traits.structured else _read_plain(chunks, request))
    found = suggestion_of(whole, at, snapshot)
    return replace(found, total_ms=(time.perf_counter() - began) * 1e3)


def suggestion_of(whole: Chunk, at: Surroundings, snapshot: Snapshot) -> Suggestion:
    """What of an answer is shown; it has the document's line ends."""
    reason = whole.stop_reason or whole.finish_reason or ""
    shown = postprocess.shown(whole.text, at, reason)
    written = shown.text.replace("\n", line_end(snapshot))
    return Suggestion(
        merge_closers(written, at.closers, at.language) if written and at.closers else written,
        len(at.closers) if written else 0,
        shown.reason if whole.text.strip() and shown.reason else reason,
        whole.usage or {},
        whole.timings or {},
        written=written,
        filters=shown.filters,
    )


def accepted(snapshot: Snapshot, found: Suggestion) -> Snapshot:
    """The document with the suggestion in it, and the cursor behind what was written."""
    offset = snapshot.offset
    text = snapshot.text[:offset] + found.text + snapshot.text[offset + found.replaced :]
    return replace(snapshot, text=text, offset=offset + len(found.text))


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
            cut = first_line if line else first_block
            if (text := cut(whole.text, request.prompt)) != whole.text:
                return replace(whole, text=text, stop_reason="line" if line else "block")
            late = (time.perf_counter() - began) * 1e3 > (request.time_budget_ms or float("inf"))
            if late and whole.text:
                return replace(whole, stop_reason="time")
    return replace(whole, stop_reason=whole.stop_reason or whole.finish_reason)
