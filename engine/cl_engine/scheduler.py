"""Who runs next, and when it is finished. Policy only: the model runs in `runner.py`.

A request waits until there are pages for it; those that have them share each step, but only within
the first lane that has any: a chat never delays a key by more than the step under way.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from .errors import EngineError, NotReady, Overloaded
from .ngram import Cost, by_row
from .prompt import HEALING_DEPTH
from .radix import RadixTree
from .request import ErrorEvent, FinishEvent, Request
from .sampling import Pick
from .sequence import Ending, Sequence
from .shares import Shares
from .speculation import Speculation
from .tokenizer import Tokenizer
from .waiting import MAX_WAITING, Waiting, lane_of

log = logging.getLogger(__name__)
MAX_RUNNING = 16  # sequences that share a step
AHEAD = 64  # tokens of the answer whose pages are asked for at once
# Of so many steps one is open to all lanes, so that a chat is not starved by people who type.
OPEN_EVERY = 8


@dataclass(frozen=True)
class Part:
    """What one sequence has in a step: `ids` extend its KV cache, `draft` is verified behind them.

    The first `healed` tokens of the draft were taken off the prompt, the others are guessed. The
    logits of the last `rows` ids are asked for: none while the prompt is not through, but that the
    first `scored` of the rows tell what the prompt's next tokens were given.
    """

    sequence: Sequence
    ids: list[int]
    draft: list[int]
    healed: int
    rows: int
    scored: int = 0


Report = Callable[[Request, FinishEvent], None]


class Scheduler:
    """`context` is the most tokens of a sequence; `chunk` the most prompt tokens of a step.

    `draft_cost` is what a draft makes a step longer by. `report` is told of every request that has
    ended, also of those that were cancelled or failed.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        tree: RadixTree,
        context: int,
        *,
        chunk: int = 256,
        healing_depth: int = HEALING_DEPTH,
        speculate: bool = True,
        draft_cost: Cost = by_row,
        report: Report = lambda request, end: None,
    ):
        self._report = report
        self._tokenizer, self._tree = tokenizer, tree
        self._context, self._chunk, self._healing_depth = context, chunk, healing_depth
        self._speculation = Speculation(tokenizer, context, speculate, draft_cost)
        self._shares = Shares()
        self._waiting = Waiting(self._shares)
        self._running: list[Sequence] = []  # in the order in which they got their pages
        self._steps = 0

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._running

    @property
    def lengths(self) -> tuple[int, int]:
        """How many wait, and how many run."""
        return len(self._waiting), len(self._running)

    @property
    def pages(self) -> dict[str, int]:
        """Pages of the KV cache, by what they are to us."""
        tree = self._tree
        free = tree.available - tree.cached
        return {"free": free, "cached": tree.cached, "in_use": tree.in_use}

    # Requests come and go.

    def add(self, request: Request) -> None:
        try:
            sequence = Sequence.of(request, self._tokenizer, self._healing_depth)
        except Exception as error:
            log.exception("a request could not begin")
            request.deliver(ErrorEvent(EngineError(f"the engine failed: {error}")))
            return
        if request.origin.follows and self._follow(sequence):
            return
        if (refused := self._waiting.add(sequence)) is not None:
            message = f"{MAX_WAITING} requests are waiting already; try again"
            self.fail(refused, Overloaded(message))

    def cancel(self, request: Request) -> None:
        """Forget a request wherever it is; its KV cache stays for the next one."""
        for sequence in [s for s in self._all if s.request is request]:
            self._remove(sequence)
            self._report(request, sequence.account(("stop", "cancelled")))

    def fail(self, sequence: Sequence, error: EngineError) -> None:
        """End one sequence with an error. Its cache may be half written: none is reused."""
        if sequence.lease is not None:
            self._tree.drop(sequence.lease)
            sequence.lease = None
        self._remove(sequence)
        names = {Overloaded: "refused", NotReady: "cancelled"}
        self._report(sequence.request, sequence.account(("stop", names.get(type(error), "failed"))))
        sequence.request.deliver(ErrorEvent(error))

    def fail_all(self, error: EngineError) -> None:
        """End everything, and be used no more: pages are not given back."""
        for sequence in self._all:
            sequence.lease = None
            self.fail(sequence, error)

    def check_integrity(self) -> None:
        """Raises AssertionError if a page is lost or counted twice, or held by nobody."""
        self._tree.check_integrity()
        if self.idle and self._tree.in_use:
            raise AssertionError(f"{self._tree.in_use} pages are in use, but nothing runs")

    @property
    def _all(self) -> list[Sequence]:
        return [*self._waiting, *self._running]

    def _follow(self, sequence: Sequence) -> bool:
        """Take over the request that this one follows, or end it. True: nothing is left to do."""
        ours = sequence.request.origin
        found = (
            s
            for s in self._all
            if s.request.origin.client == ours.client and s.request.origin.name == ours.follows
        )
        old = next(found, None)
        if old is None:
            return False
        adopted = old.lease is not None and sequence.adopts(old, self._tokenizer)
        if not adopted:
            self._finish(old, ("stop", "superseded"))
            return False
        ending = sequence.adopt(old, self._tokenizer, self._context)
        self._running[self._running.index(old)] = sequence
        self._finish(old, ("stop", "adopted"))
        self._deliver(sequence, ending)
        return True

    # Steps.

    def next(self) -> list[Part]:
        """What the next step computes; empty if there is nothing to do."""
        for sequence in [s for s in self._all if s.late and not s.unshown and s.ending is None]:
            self._finish(sequence, ("length", "time"))
        self._shares.settle({s.request.origin.client for s in self._all})
        while self._waiting and self._start(self._waiting.first()):
            pass
        return self._compose()

    def _start(self, sequence: Sequence) -> bool:
        """Give it pages for all of its tokens, if need be those of a later lane; else False."""
        while len(self._running) >= MAX_RUNNING:
            if not self._preempt(later_than=lane_of(sequence)):
                return False
        lease, cached = self._tree.acquire([] if sequence.unscored else sequence.tokens)
        while not self._tree.reserve(lease, len(sequence.tokens) + 1):
            if not self._preempt(later_than=lane_of(sequence)):
                self._tree.release(lease, sequence.tokens, cached)
                if not self._running:
                    wrong = f"the KV cache has no room for {len(sequence.tokens)} tokens"
                    self.fail(sequence, EngineError(wrong))
                    return True
                return False
        # Pages taken together are consecutive, mostly: those of the answer, too, if there are any.
        ahead = min(sequence.request.limits.max_tokens - sequence.generated, AHEAD)
        self._tree.reserve(lease, min(self._context, len(sequence.tokens) + ahead))
        sequence.start_on(lease, cached)
        self._waiting.remove(sequence)
        self._running.append(sequence)
        return True

    def _preempt(self, later_than: int) -> bool:
        """Take the pages of the newest sequence of the last lane, if it is one after that."""
        last = max(self._running, key=lane_of, default=None)
        if last is None or lane_of(last) <= later_than:
            return False
        self._suspend([s for s in self._running if lane_of(s) == lane_of(last)][-1])
        return True

    def _suspend(self, sequence: Sequence) -> None:
        """It waits again; what it has computed stays as long as nobody needs the pages."""
        assert sequence.lease is not None
        self._tree.release(sequence.lease, sequence.tokens, sequence.computed)
        sequence.lease, sequence.computed = None, 0
        sequence.preempted += 1
        self._running.remove(sequence)
        self._waiting.add(sequence)

    def _compose(self) -> list[Part]:
        """Those of the first lane, decoding ones before prompts, `chunk` tokens in all."""
        self._steps += 1
        members = [s for s in self._running if s.ending is None]
        if self._steps % OPEN_EVERY:
            first = min(map(lane_of, members), default=0)
            members = [s for s in members if lane_of(s) == first]
        served = self._shares.of
        members.sort(key=lambda s: (s.pending > 1, lane_of(s), served(s.request.origin.client)))
        parts: list[Part] = []
        room = self._chunk
        for sequence in members:
            if room <= 0:
                break
            if sequence.lease is None:
                continue  # suspended for one before it
            part = self._part(sequence, room)
            if part is not None:
                room -= len(part.ids) + len(part.draft)
                parts.append(part)
        # A later one may have taken the pages of an earlier one.
        return [part for part in parts if part.sequence.lease is not None]

    def _part(self, sequence: Sequence, room: int) -> Part | None:
        """Its tokens of this step, with pages for them; None if it had to give way."""
        ids = sequence.tokens[sequence.computed : sequence.computed + room]
        through = len(ids) == sequence.pending
        if through:
            self._speculation.guess(sequence)
        draft = sequence.draft + sequence.guess.tokens if through else []
        while (lease := sequence.lease) is not None:
            end = sequence.computed + len(ids)
            if draft and self._tree.reserve(lease, end + len(draft)):
                break
            draft = []  # it may be tried in another step, or not at all
            if self._tree.reserve(lease, end):
                break
            if len(self._running) == 1:
                self._finish(sequence, ("length", "memory"))
            else:
                last = max(map(lane_of, self._running))
                self._suspend([s for s in self._running if lane_of(s) == last][-1])
        if sequence.lease is None:
            return None
        self._shares.charge(sequence.request.origin.client, len(ids) + len(draft))
        healed = len(sequence.draft) if draft else 0
        scored = len(ids) - through if sequence.unscored else 0
        return Part(sequence, ids, draft, healed, scored + through + len(draft), scored)

    def advance(self, part: Part, new: list[Pick]) -> None:
        """Take a step's tokens; `show` is to follow, at the latest after one call of `next`.

        `new` is empty while the prompt is not through, else the draft's accepted beginning and one
        more. A sequence that ended, or lost its pages, since the step began takes nothing.
        """
        sequence = part.sequence.current
        if sequence.lease is None:
            return
        sequence.computed += len(part.ids)
        if not sequence.picks:
            sequence.worked += len(part.ids)
        right = 0
        if new:
            sequence.draft = []
            # The accepted draft is in the cache, the token behind it not.
            sequence.computed += len(new) - 1
            right = len(new) - 1 - part.healed
            self._speculation.learn(sequence, len(part.draft) - part.healed, right)
        assert sequence.computed <= len(sequence.tokens)
        self._tree.extend(sequence.lease, sequence.tokens, sequence.computed)
        sequence.accept(new, self._context, self._tokenizer, right)

    def show(self, part: Part) -> None:
        """Show the text of what was taken last, and end the sequence if it is finished."""
        sequence = part.sequence.current
        if sequence in self._running or sequence in self._waiting:
            self._deliver(sequence, sequence.show())

    def _deliver(self, sequence: Sequence, ending: Ending | None) -> None:
        if ending is None:
            sequence.shown.deliver()
        else:
            self._finish(sequence, ending)

    def _finish(self, sequence: Sequence, ending: Ending) -> None:
        self._remove(sequence)
        event = sequence.end(ending)
        self._report(sequence.request, event)  # who has an answer finds it counted
        sequence.request.deliver(event)

    def _remove(self, sequence: Sequence) -> None:
        self._speculation.remember(sequence)  # also if it was cancelled: by the next key, mostly
        if sequence.lease is not None:
            self._tree.release(sequence.lease, sequence.tokens, sequence.computed)
            sequence.lease = None
        for group in (self._waiting, self._running):
            if sequence in group:
                group.remove(sequence)
