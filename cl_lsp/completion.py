"""Policy: what to ask for at a cursor, and what of the answer is shown."""

import contextlib
import re
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

from . import postprocess
from .answers import Answer
from .client import Chunk, CompletionRequest, EngineClient
from .config import Config
from .context import prefix_window, suffix_window
from .documents import Snapshot

BELOW = re.compile(r"[\r\n]([ \t]*)[^\s]")  # the indentation of the next line that is not blank


@dataclass(frozen=True)
class Suggestion:
    """Text for the cursor; it replaces `replaced` characters after it. Empty: no suggestion.

    `stop_reason` names what ended the text, and so why there is none.
    """

    text: str = ""
    replaced: int = 0
    stop_reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    total_ms: float = 0.0


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


async def suggest(client: EngineClient, answer: Answer, config: Config) -> Suggestion:
    """Ask the engine what stands at the cursor. Raises EngineGone or EngineRefused."""
    began = time.perf_counter()
    snapshot = answer.snapshot
    crlf = "\r\n" in snapshot.text
    # They are replaced, and come back if the model does not write them.
    closers = postprocess.auto_closed(snapshot.line_after)
    before, after = _unix(snapshot.before), _unix(snapshot.after[len(closers) :])
    # A model that cannot infill completes what stands before the cursor.
    infills = "infilling" not in await client.refusals()
    request = CompletionRequest(
        prompt=prefix_window(before),
        suffix=suffix_window(after) if infills else None,
        model=config.model,
        max_tokens=config.max_tokens,
        uri=snapshot.uri,
        language=snapshot.language,
        stop_at=stop_at(snapshot),
        request_id=answer.request_id,
        follows=answer.follows and answer.follows.request_id,
        time_budget_ms=config.time_budget_ms or None,
    )
    answer.sent = True
    chunks = client.complete(request, answer.received)
    whole = await _read(chunks, one_line="line" in request.stop_at)
    written = postprocess.tidy(whole.text)
    text = postprocess.trim_overlap(written, after)
    reason = "suffix" if written and not text else whole.stop_reason or ""
    if text and closers:
        text = postprocess.merge_closers(text, closers)
    text = text.replace("\n", "\r\n") if crlf else text
    total_ms = (time.perf_counter() - began) * 1e3
    return Suggestion(
        text,
        len(closers) if text else 0,
        reason,
        whole.usage or {},
        whole.timings or {},
        total_ms,
    )


async def _read(chunks: AsyncGenerator[Chunk], one_line: bool) -> Chunk:
    """The whole answer; of an engine that does not know `stop_at`, what one that does would send.

    An engine that knows it names the reason of every end.
    """
    whole = Chunk()
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            whole = whole.then(chunk)
            if one_line and "\n" in whole.text:
                return replace(whole, text=whole.text.partition("\n")[0], stop_reason="line")
    if whole.stop_reason is None:
        first = whole.text.partition("\n\n")[0]
        return replace(whole, text=first, stop_reason=whole.finish_reason)
    return whole


def _unix(text: str) -> str:
    """The model sees one kind of line end; a suggestion gets the document's back."""
    return text.replace("\r\n", "\n")
