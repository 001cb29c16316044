"""Further suggestions for the same cursor, when someone asks by hand and wants to choose."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from .backend import Backend
from .completion import Snippets, Suggestion, no_snippets, request_for, suggestion_of
from .config import CompletionConfig
from .documents import Snapshot
from .exchange import Chunk
from .surroundings import Surroundings

TEMPERATURE = 0.8  # at 0.5 most are the same as the likeliest one
SPARE = 2  # asked for beyond what is wanted: some turn out equal, or empty
SEED = 1  # the same cursor gets the same candidates


async def alternatives(
    backend: Backend,
    snapshot: Snapshot,
    config: CompletionConfig,
    first: Suggestion,
    snippets: Snippets = no_snippets,
) -> list[Suggestion]:
    """Others than `first`, the best first; none of an engine that does not make several at once.

    Raises EngineGone or EngineRefused.
    """
    at = Surroundings.of(snapshot)
    wanted = config.candidates - 1
    if wanted < 1 or at.ends == "inside" or not (await backend.traits()).structured:
        return []
    request = await request_for(backend, at, snapshot, config, snippets)
    request = replace(request, n=wanted + SPARE, temperature=TEMPERATURE, seed=SEED)
    answers = await _read_each(backend.complete(request, lambda: None))
    found = [suggestion_of(whole, at, snapshot) for whole in answers]
    return distinct(first, found)[:wanted]


def distinct(first: Suggestion, found: list[Suggestion]) -> list[Suggestion]:
    """Those of `found` that show something else, the most frequent ones first."""
    times = Counter(one.text for one in found)
    by_text = {one.text: one for one in reversed(found) if one.text not in ("", first.text)}
    order = list(dict.fromkeys(one.text for one in found if one.text in by_text))
    return [by_text[text] for text in sorted(order, key=lambda text: -times[text])]


async def _read_each(chunks: AsyncGenerator[Chunk]) -> list[Chunk]:
    answers: dict[int, Chunk] = {}
    async with aclosing(chunks):
        async for chunk in chunks:
            answers[chunk.index] = answers.get(chunk.index, Chunk(index=chunk.index)).then(chunk)
    return [answers[index] for index in sorted(answers)]


class Choosing:
    """Who waits for candidates, by document: the next request there ends that."""

    def __init__(self) -> None:
        self._of: dict[str, asyncio.Task[Any]] = {}

    async def wait(
        self, uri: str, making: Coroutine[Any, Any, list[Suggestion]]
    ) -> list[Suggestion] | None:
        """What is made; None if a newer request has come."""
        self.stop(uri)
        task = self._of[uri] = asyncio.create_task(making)
        try:
            await asyncio.wait({task})
            return None if task.cancelled() else task.result()
        finally:
            task.cancel()
            if self._of.get(uri) is task:
                del self._of[uri]

    def stop(self, uri: str) -> None:
        if (task := self._of.pop(uri, None)) is not None:
            task.cancel()
