"""Policy: what to ask for at a cursor, and what of the answer is shown."""

import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable
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

LATE = "time"  # why a text ends that was shown before it was finished
# What goes in beside the windows before and after a cursor: names and texts of other files.
Snippets = Callable[[Snapshot, str, str], tuple[tuple[str, str], ...]]


def no_snippets(*_place: object) -> tuple[tuple[str, str], ...]:
    return ()


@dataclass(frozen=True)
class Suggestion:
    """Text for the cursor; it replaces `replaced` characters after it. Empty: no suggestion.

    `stop_reason` names what ended the text, and so why there is none. `written` is what the model
    wrote of it: the text without brackets that the editor had closed. `filters` have changed it;
    `request` is what was asked.
    """

    text: str = ""
    replaced: int = 0
    stop_reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    total_ms: float = 0.0
    written: str = ""
    filters: tuple[str, ...] = ()
    request: CompletionRequest | None = field(default=None, repr=False, compare=False)


async def suggest(
    backend: Backend,
    answer: Answer,
    config: CompletionConfig,
    snippets: Snippets = no_snippets,
) -> Suggestion:
    """Ask the engine what stands at the cursor. Raises EngineGone or EngineRefused."""
    began = time.perf_counter()
    at = Surroundings.of(answer.snapshot)
    if at.ends == "inside":
        return Suggestion(stop_reason="mid-word")
    request = await request_for(backend, at, answer.snapshot, config, snippets)
    request = replace(
        request,
        request_id=answer.request_id,
        follows=answer.follows and answer.follows.request_id,
        lane="completion" if answer.ahead else "inline",
    )
    structured = (await backend.traits()).structured
    if not structured:
        answer.received()  # it cannot go on with what it wrote for an earlier key: that is stopped
    answer.sent = True

    def made(whole: Chunk) -> Suggestion:
        found = suggestion_of(whole, at, answer.snapshot)
        took_ms = (time.perf_counter() - began) * 1e3
        return replace(found, total_ms=took_ms, request=request)

    def heard(whole: Chunk) -> None:
        answer.has(lambda: made(replace(whole, stop_reason=LATE)))

    return made(await read(backend.complete(request, answer.received), request, structured, heard))


async def request_for(
    backend: Backend,
    at: Surroundings,
    snapshot: Snapshot,
    config: CompletionConfig,
    snippets: Snippets,
) -> CompletionRequest:
    """What is asked of the engine at a cursor. Raises EngineGone or EngineRefused."""
    windows = (await backend.traits()).windows
    # A model that cannot infill completes what stands before the cursor.
    infills = "infilling" not in await backend.refusals()
    prompt, suffix = windows.before(at.before), windows.after(at.after)
    return CompletionRequest(
        prompt=prompt,
        suffix=suffix if infills else None,
        model=backend.model,
        max_tokens=config.max_tokens,
        document=opaque(snapshot.uri),
        language=snapshot.language,
        stop_at=stop_at(at),
        request_id=secrets.token_hex(8),
        input_extra=snippets(snapshot, prompt, suffix) if infills else (),
    )


def suggestion_of(whole: Chunk, at: Surroundings, snapshot: Snapshot) -> Suggestion:
    """What of an answer is shown; it has the document's line ends."""
    reason = whole.stop_reason or whole.finish_reason or ""
    shown = postprocess.shown(whole.text, at, reason)
    written = shown.text.replace("\n", line_end(snapshot))
    text = written
    if written and at.closers:
        text = merge_closers(written, at.closers, at.language, at.state.stack)
    return Suggestion(
        text,
        len(at.closers) if written else 0,
        shown.reason if whole.text.strip() and shown.reason else reason,
        whole.usage or {},
        whole.timings or {},
        written=written,
        filters=shown.filters,
    )


async def read(
    chunks: AsyncGenerator[Chunk],
    request: CompletionRequest,
    structured: bool,
    heard: Callable[[Chunk], None],
) -> Chunk:
    """The whole answer; `heard` is told what there is of it so far, from its first word on.

    The engine ends a text by itself if it is `structured`; another's is cut here.
    """
    whole = Chunk()
    cut = first_line if "line" in request.stop_at else first_block
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            whole = whole.then(chunk)
            if not structured and (text := cut(whole.text, request.prompt)) != whole.text:
                rule = "line" if cut is first_line else "block"
                return replace(whole, text=text, stop_reason=rule)
            if whole.text.strip():
                heard(whole)
    return replace(whole, stop_reason=whole.stop_reason or whole.finish_reason)
