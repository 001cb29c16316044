"""The answers that are being made: who shares one, which is overtaken, which follows which.

An answer is stopped when no request waits for it, unless a newer one follows it that the engine has
not got yet; a cancelled one waits a moment for such a follower, one that was shown in part longer.
Stopping closes its stream. What is made ahead waits for the document's next request, which takes it
or ends it.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from .brackets import auto_closed
from .documents import Snapshot

T = TypeVar("T")
# Made anew, by going on with the generation of an earlier key, ahead of the request, or for both of
# two requests.
Source = Literal["engine", "followed", "prefetched", "shared"]
# VS Code cancels at a key, and asks for the next suggestion 50 ms later: that may go on with this.
LINGER_S = 0.12
LATE_S = 5.0  # as long may the rest of what was shown in part take; tokens are bounded anyway


@dataclass(eq=False)
class Answer:
    """What is made for one state of a document, by one request to the engine.

    `follows` is the answer to less of the same typing, until the engine has got this request: it
    goes on with that generation, which closing the older stream before would have ended.
    """

    snapshot: Snapshot
    follows: "Answer | None" = None
    changed: Callable[[], None] = lambda: None
    ahead: bool = False  # nobody has asked for it yet
    request_id: str = field(default_factory=lambda: secrets.token_hex(8))
    sent: bool = False
    lingers: asyncio.TimerHandle | None = None  # nobody waits, and until then it goes on
    late: bool = False  # a part of it was shown
    so_far: Callable[[], Any] = lambda: None
    begun: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    waiting: dict[str, asyncio.Future[None]] = field(default_factory=dict)  # by method
    task: asyncio.Task[Any] = field(init=False)

    def received(self) -> None:
        """The engine has got the request, or never will."""
        self.follows = None
        self.changed()

    def has(self, so_far: Callable[[], Any]) -> None:
        """There is something to show; `so_far` makes it, if it is wanted before the whole."""
        self.so_far = so_far
        if not self.begun.done():
            self.begun.set_result(None)

    def stays(self, seconds: float, then: Callable[[], None]) -> None:
        self.leaves()

        def end() -> None:
            self.lingers = None
            then()

        self.lingers = asyncio.get_running_loop().call_later(seconds, end)

    def leaves(self) -> None:
        if self.lingers is not None:
            self.lingers.cancel()
            self.lingers = None

    def leads_to(self, snapshot: Snapshot) -> bool:
        """Whether an answer for `snapshot` may follow: it runs, and all have left it."""
        left = self.sent and not self.waiting and not self._over
        return left and continues(snapshot, self.snapshot)

    def serves(self, snapshot: Snapshot) -> bool:
        made = self.task.done() and not self.task.cancelled() and not self.task.exception()
        return self.snapshot == snapshot and (made or not self._over)

    def overtake(self, method: str) -> None:
        """A newer request of this method has come: the one that waits is answered None."""
        if (overtaken := self.waiting.pop(method, None)) is not None:
            overtaken.set_result(None)

    def stop(self) -> None:
        # Once: a second cancel would interrupt the closing of the stream.
        if not self._over:
            self.task.cancel()

    @property
    def _over(self) -> bool:
        return self.task.done() or self.task.cancelling() > 0


class Answers(Generic[T]):
    """The newest answer of each document, and the older ones that are not stopped yet."""

    def __init__(self, make: Callable[[Answer], Coroutine[Any, Any, T]]):
        self._make = make
        self._of: dict[str, list[Answer]] = {}  # by document, the newest last
        self._ahead: dict[str, Answer] = {}  # by document: for what may come next

    async def get(
        self,
        snapshot: Snapshot,
        method: str,
        note: Callable[[Source], None] = lambda source: None,
        budget_s: float = 0.0,
    ) -> T | None:
        """What is made for `snapshot`; None if a newer request of this method has overtaken it.

        Requests for the same state share one answer; the cancel of the last one stops it soon.
        `note` is told where the answer comes from. After `budget_s` it is what there is so far.
        """
        source: Source = "shared"
        uri = snapshot.uri
        answers = self._of.setdefault(uri, [])
        for older in answers:
            older.overtake(method)
            older.leaves()
        again = bool(answers) and answers[-1].serves(snapshot)  # of another method, most likely
        if not again and (ahead := self._ahead.pop(uri, None)) is not None:
            if ahead.snapshot.same(snapshot):
                ahead.snapshot = snapshot  # of another version
                answers.append(ahead)
                source = "prefetched"
            else:
                ahead.stop()
        if not answers or not answers[-1].serves(snapshot):
            answers.append(self._start(snapshot, answers))
            source = "followed" if answers[-1].follows else "engine"
        note(source)
        answer = answers[-1]
        overtaken = answer.waiting[method] = asyncio.get_running_loop().create_future()
        self._sweep(uri)
        try:
            await _wait(answer, overtaken, budget_s)
            if overtaken.done():
                return None
            if answer.task.done():
                return answer.task.result()
            answer.late = True
            self._linger(uri, answer, LATE_S)
            return answer.so_far()
        except asyncio.CancelledError:
            self._linger(uri, answer, LINGER_S)
            raise
        finally:
            if answer.waiting.get(method) is overtaken:
                del answer.waiting[method]
            self._sweep(uri)

    def made(self, snapshot: Snapshot) -> bool:
        """Whether what `get` would give is there: nobody has to wait for it."""
        ahead = self._ahead.get(snapshot.uri)
        known = [*self._of.get(snapshot.uri, [])[-1:], *([ahead] if ahead else [])]
        return any(one.task.done() and one.snapshot.same(snapshot) for one in known)

    def prefetch(self, snapshot: Snapshot) -> None:
        """Make what may be asked for next; the document's next request takes it, or ends it."""
        if (older := self._ahead.get(snapshot.uri)) is not None:
            if older.serves(snapshot):
                return
            older.stop()
        self._ahead[snapshot.uri] = self._start(snapshot, [], ahead=True)

    def overtake(self, snapshot: Snapshot, method: str) -> None:
        """A newer request of this method was answered by other means: older ones are for nobody,
        unless the rest of one that was shown in part may still serve."""
        for older in self._of.get(snapshot.uri, []):
            older.overtake(method)
            if not continues(snapshot, older.snapshot):
                older.leaves()
        self._sweep(snapshot.uri)

    def forget(self, uri: str) -> None:
        """The document is closed: who waits is answered None, and the work stops."""
        if (ahead := self._ahead.pop(uri, None)) is not None:
            ahead.stop()
        for answer in self._of.pop(uri, []):
            for method in list(answer.waiting):
                answer.overtake(method)
            answer.stop()

    async def close(self) -> None:
        """Stop everything, and return when all streams are closed."""
        answers = [*self._ahead.values(), *(a for those in self._of.values() for a in those)]
        tasks = [answer.task for answer in answers]
        for uri in [*self._of, *self._ahead]:
            self.forget(uri)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, snapshot: Snapshot, older: list[Answer], ahead: bool = False) -> Answer:
        follows = next((a for a in reversed(older) if a.leads_to(snapshot)), None)
        answer = Answer(snapshot, follows, lambda: self._sweep(snapshot.uri), ahead)

        def on_done(task: asyncio.Task) -> None:
            if not task.cancelled():
                task.exception()  # said by those who wait; a followed one has nobody
            answer.received()

        answer.task = asyncio.create_task(self._make(answer))
        answer.task.add_done_callback(on_done)
        return answer

    def _linger(self, uri: str, answer: Answer, seconds: float) -> None:
        """Keep it so long, unless a newer request has come."""
        if self._of.get(uri, [])[-1:] == [answer] and not answer.task.done():
            answer.stays(seconds, lambda: self._sweep(uri))

    def _sweep(self, uri: str) -> None:
        answers = self._of.get(uri, [])
        # Of a chain of quick keys only the last link holds: the engine has ended the others.
        held = [answer.follows for answer in answers if answer.waiting]
        for answer in answers:
            if not (answer.waiting or answer.lingers or answer in held):
                answer.stop()
        # The newest stays when it is done, to be shared by requests for the same state.
        answers[:] = [a for a in answers if a is answers[-1] or not a.task.done()]


async def _wait(answer: Answer, overtaken: asyncio.Future[None], budget_s: float) -> None:
    """Until it is made or overtaken; or there is something of it after `budget_s`, or soon after
    its first word if that comes later."""
    loop, first = asyncio.get_running_loop(), asyncio.FIRST_COMPLETED
    ends: set[asyncio.Future[Any]] = {answer.task, overtaken}
    rest = None
    if budget_s:
        deadline = loop.time() + budget_s
        await asyncio.wait(ends | {answer.begun}, return_when=first)
        rest = max(deadline - loop.time(), budget_s / 4)
    await asyncio.wait(ends, timeout=rest, return_when=first)


def continues(newer: Snapshot, older: Snapshot) -> bool:
    """Whether `newer` is `older` and what was typed at its cursor."""
    return newer.before.startswith(older.before) and _rest(newer) == _rest(older)


def _rest(snapshot: Snapshot) -> str:
    """What stands after the cursor, without the brackets that the editor has closed by itself."""
    return snapshot.after[len(auto_closed(snapshot.line_after)) :]
