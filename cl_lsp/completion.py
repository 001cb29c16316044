"""Policy: what to ask for at a cursor, who shares an answer, and which request is the newest."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from . import postprocess
from .client import CompletionRequest, EngineClient
from .config import Config
from .context import prefix_window, suffix_window
from .documents import Snapshot

T = TypeVar("T")


@dataclass(frozen=True)
class Suggestion:
    """Text for the cursor; it replaces `replaced` characters after it. Empty: no suggestion."""

    text: str = ""
    replaced: int = 0
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    total_ms: float = 0.0


def opens_block(line_before: str) -> bool:
    """Whether what comes next is a block of several lines."""
    return line_before.rstrip().endswith((":", "{", "(", "["))


def stops_for(snapshot: Snapshot) -> tuple[str, ...]:
    """One line, unless a block opens here at the end of its line: then until a blank line."""
    at_end = not snapshot.line_after.strip()
    if at_end and opens_block(snapshot.line_before):
        return ("\n\n",)
    return ("\n",)


async def suggest(client: EngineClient, snapshot: Snapshot, config: Config) -> Suggestion:
    """Ask the engine what stands at the cursor. Raises EngineGone or EngineRefused."""
    began = time.perf_counter()
    crlf = "\r\n" in snapshot.text
    rest = snapshot.line_after
    # Brackets that the editor closed by itself would change the suffix at every key; they are
    # replaced, and come back if the model does not write them.
    closers = rest if rest.strip() and postprocess.only_closers(rest) else ""
    before, after = _unix(snapshot.before), _unix(snapshot.after[len(closers) :])
    # A model that cannot infill completes what stands before the cursor.
    infills = "infilling" not in await client.refusals()
    request = CompletionRequest(
        prompt=prefix_window(before),
        suffix=suffix_window(after) if infills else None,
        model=config.model,
        max_tokens=config.max_tokens,
        stop=stops_for(snapshot),
    )
    text, usage, timings = "", {}, {}
    async for chunk in client.complete(request):
        text += chunk.text
        usage, timings = chunk.usage or usage, chunk.timings or timings
    text = postprocess.trim_overlap(postprocess.tidy(text), after)
    if text and closers:
        text = postprocess.merge_closers(text, closers)
    text = text.replace("\n", "\r\n") if crlf else text
    total_ms = (time.perf_counter() - began) * 1e3
    return Suggestion(text, len(closers) if text else 0, usage, timings, total_ms)


def _unix(text: str) -> str:
    """The model sees one kind of line end; a suggestion gets the document's back."""
    return text.replace("\r\n", "\n")


class Shared:
    """One running task per document, joined by every request for the same state of it.

    When the last one that waits is gone, the task is cancelled, and with it the work behind it.
    """

    @dataclass
    class _Entry:
        key: object
        task: asyncio.Task
        waiting: int = 0

    def __init__(self) -> None:
        self._entries: dict[str, Shared._Entry] = {}

    async def join(self, uri: str, key: object, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        entry = self._entries.get(uri)
        if entry is None or entry.key != key or _useless(entry.task):
            entry = self._entries[uri] = self._Entry(key, asyncio.create_task(start()))
        entry.waiting += 1
        try:
            return await asyncio.shield(entry.task)
        finally:
            entry.waiting -= 1
            if entry.waiting == 0 and not entry.task.done():
                entry.task.cancel()

    def forget(self, uri: str) -> None:
        self._entries.pop(uri, None)


def _useless(task: asyncio.Task) -> bool:
    return task.cancelling() > 0 or (task.done() and (task.cancelled() or bool(task.exception())))


class Newest:
    """The newest request of each kind wins: one that it overtakes is answered None at once."""

    def __init__(self) -> None:
        self._overtaken: dict[object, asyncio.Future[None]] = {}

    async def run(self, kind: object, work: Awaitable[T]) -> T | None:
        if (older := self._overtaken.get(kind)) is not None and not older.done():
            older.set_result(None)
        overtaken = self._overtaken[kind] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, overtaken}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            if self._overtaken.get(kind) is overtaken:
                del self._overtaken[kind]
