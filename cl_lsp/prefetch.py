"""What follows a suggestion once it is accepted, asked for while the user still looks at it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from .answers import Answer
from .completion import Suggestion
from .documents import Snapshot


@dataclass(frozen=True)
class Ahead:
    """One for each document: `at`, as it is when what was shown is accepted."""

    at: Snapshot
    task: asyncio.Task[Suggestion]

    def is_for(self, snapshot: Snapshot) -> bool:
        return (self.at.text, self.at.offset) == (snapshot.text, snapshot.offset)


def accepted(snapshot: Snapshot, found: Suggestion) -> Snapshot:
    """The document with the suggestion in it, and the cursor behind what was written."""
    offset = snapshot.offset
    text = snapshot.text[:offset] + found.text + snapshot.text[offset + found.replaced :]
    return replace(snapshot, text=text, offset=offset + len(found.text))


class Prefetch:
    """`make` asks the engine; `done` is told what it said, and for where."""

    def __init__(
        self,
        make: Callable[[Answer], Coroutine[Any, Any, Suggestion]],
        done: Callable[[Snapshot, Suggestion], None],
    ):
        self._make, self._done = make, done
        self._ahead: dict[str, Ahead] = {}

    def start(self, snapshot: Snapshot, found: Suggestion) -> None:
        """`found` is shown at `snapshot`; what was asked for before is given up."""
        self.stop(snapshot.uri)
        at = accepted(snapshot, found)

        def on_done(task: asyncio.Task[Suggestion]) -> None:
            if not task.cancelled() and task.exception() is None:
                self._done(at, task.result())

        answer = Answer(at, ahead=True)
        answer.task = asyncio.create_task(self._make(answer))
        answer.task.add_done_callback(on_done)
        self._ahead[snapshot.uri] = Ahead(at, answer.task)

    async def take(self, snapshot: Snapshot) -> Suggestion | None:
        """What is on its way for this very place; None, and given up, if that is for another."""
        ahead = self._ahead.get(snapshot.uri)
        if ahead is None:
            return None
        if not ahead.is_for(snapshot):
            self.stop(snapshot.uri)
            return None
        await asyncio.wait({ahead.task})
        failed = ahead.task.cancelled() or ahead.task.exception() is not None
        return None if failed else ahead.task.result()

    def stop(self, uri: str) -> None:
        if (ahead := self._ahead.pop(uri, None)) is not None:
            ahead.task.cancel()

    async def close(self) -> None:
        tasks = [ahead.task for ahead in self._ahead.values()]
        for uri in list(self._ahead):
            self.stop(uri)
        await asyncio.gather(*tasks, return_exceptions=True)
