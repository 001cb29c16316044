"""Who runs next, and when it is finished. Policy only: the model runs in `runner.py`.

A request waits until a slot is free; those with a slot take turns, one step each, but only within
the first lane that has any: a chat never delays a key by more than the step under way.
"""

import logging
import time
from collections import deque
from dataclasses import dataclass, field

from .errors import EngineError, Overloaded
from .ngram import Acceptance, Draft, NGrams, propose
from .prompt import HEALING_DEPTH, heal
from .request import (
    LANES,
    ErrorEvent,
    FinishEvent,
    FinishReason,
    Limits,
    Request,
    TextEvent,
    Timings,
    Usage,
)
from .sampling import Pick, Sampler
from .slots import Slot, Slots
from .stopping import StopText
from .tokenizer import StreamDecoder, Tokenizer

log = logging.getLogger(__name__)
MAX_WAITING = 64


def _lane(request: Request) -> int:
    return LANES.index(request.lane)


@dataclass(eq=False)
class Sequence:
    """A request on its way. Always: cached <= computed <= len(tokens).

        tokens    | cached | computed now | to compute |    (then `draft`, to be verified)
                  0     cached        computed    len(tokens)

    `required` is what generation must still re-emit of the healed text, and `skip` how many of its
    bytes are not yet passed over in the output. `ends` are the ids that end it.
    """

    request: Request
    slot: Slot
    tokens: list[int]
    draft: list[int]
    required: bytes
    cached: int
    healed: int
    sampler: Sampler
    stop: StopText
    ends: frozenset[int]
    started: float
    computed: int = 0
    skip: int = 0
    generated: int = 0
    drafted: int = 0
    accepted: int = 0
    guess: Draft = field(default_factory=Draft)  # the draft, if it is one of n-grams
    first_token: float | None = None
    text: StreamDecoder = field(default_factory=StreamDecoder)
    grams: NGrams = field(default_factory=NGrams)

    def forbidden(self, ahead: int) -> frozenset[int]:
        """Ids that must not come next, `ahead` tokens later: those that would end it too early."""
        early = self.generated + ahead < self.request.limits.min_tokens
        return self.ends if early else frozenset()


@dataclass
class Shown:
    """What one step adds to a request's output."""

    text: str = ""
    picks: list[Pick] = field(default_factory=list)

    def deliver(self, request: Request) -> None:
        if self.text or self.picks:
            tokens = tuple(pick.token for pick in self.picks)
            logprobs = tuple(pick.logprobs for pick in self.picks if pick.logprobs is not None)
            request.deliver(TextEvent(self.text, tokens, logprobs))


class Scheduler:
    """`context` is the length of a KV cache, in tokens."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        slots: Slots,
        context: int,
        healing_depth: int = HEALING_DEPTH,
        speculate: bool = True,
    ):
        self._tokenizer, self._slots = tokenizer, slots
        self._acceptance = Acceptance() if speculate else None
        self._context, self._healing_depth = context, healing_depth
        self._total = slots.free
        self._waiting: deque[Request] = deque()
        self._running: deque[Sequence] = deque()

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._running

    def add(self, request: Request) -> None:
        if len(self._waiting) >= MAX_WAITING:
            message = f"{MAX_WAITING} requests are waiting already; try again"
            request.deliver(ErrorEvent(Overloaded(message)))
        else:
            self._waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Forget a request wherever it is; its KV cache stays for the next one."""
        if request in self._waiting:
            self._waiting.remove(request)
        for sequence in [s for s in self._running if s.request is request]:
            self._remove(sequence)

    def fail(self, sequence: Sequence, error: EngineError) -> None:
        """End one sequence with an error. Its cache may be half written: none is reused."""
        sequence.computed = 0
        self._remove(sequence)
        sequence.request.deliver(ErrorEvent(error))

    def fail_all(self, error: EngineError) -> None:
        """End everything: the engine stops."""
        for sequence in list(self._running):
            self.fail(sequence, error)
        while self._waiting:
            self._waiting.popleft().deliver(ErrorEvent(error))

    def next(self) -> Sequence | None:
        """The sequence whose turn it is."""
        for request in sorted(self._waiting, key=_lane):
            # A slot is left free for each lane before this one, but not the only slot there is.
            if self._slots.free <= min(_lane(request), self._total - 1):
                break
            try:
                sequence = self._admit(request)
            except Exception as error:
                log.exception("a request could not begin")
                self._waiting.remove(request)
                request.deliver(ErrorEvent(EngineError(f"the engine failed: {error}")))
                continue
            if sequence is None:
                break
            self._waiting.remove(request)
            self._running.append(sequence)
        if not self._running:
            return None
        sequence = min(self._running, key=lambda s: _lane(s.request))
        self._running.remove(sequence)
        self._running.append(sequence)
        return sequence

    def _admit(self, request: Request) -> Sequence | None:
        healed = heal(self._tokenizer, request.prompt, self._healing_depth)
        sampler, limits = Sampler(request.sampling), request.limits
        own = () if limits.ignore_eos else self._tokenizer.stop_ids
        if (found := self._slots.acquire(healed.ids)) is None:
            return None
        slot, cached = found
        return Sequence(
            request=request,
            slot=slot,
            tokens=list(healed.ids),
            draft=healed.draft,
            required=healed.required,
            cached=cached,
            healed=len(healed.draft),
            sampler=sampler,
            stop=StopText(limits.stops),
            ends=limits.stop_ids.union(own),
            started=time.monotonic(),
            computed=cached,
            skip=len(healed.required),
        )

    def advance(self, sequence: Sequence, new: list[Pick]) -> None:
        """Take a step's tokens: show their text, and end the sequence if it is finished."""
        assert sequence.cached <= sequence.computed <= len(sequence.tokens)
        if new and sequence.first_token is None:
            sequence.first_token = time.monotonic()
        limits, shown = sequence.request.limits, Shown()
        self._learn(sequence, new)
        for pick in new:
            if pick.token in sequence.ends:
                return self._finish(sequence, shown, "stop", self._stop_name(pick.token))
            data = self._bytes_of(pick.token, limits)
            passed = min(sequence.skip, len(data))
            sequence.skip -= passed
            if passed and passed == len(data):
                continue  # wholly inside the healed text: the user typed it
            sequence.generated += 1
            shown.picks.append(pick)
            shown.text += sequence.stop.feed(sequence.text.feed(data[passed:]))
            if sequence.stop.hit is not None:
                return self._finish(sequence, shown, "stop", sequence.stop.hit)
            if sequence.generated >= limits.max_tokens:
                return self._finish(sequence, shown, "length", None)
        # Healed text may come back as more tokens than it was, so max_tokens is no bound on this.
        if len(sequence.tokens) >= self._context:
            self._finish(sequence, shown, "length", None)
            return
        shown.deliver(sequence.request)
        if new:
            self._guess(sequence)

    def _learn(self, sequence: Sequence, new: list[Pick]) -> None:
        """What the last step made of a guess."""
        guess, sequence.guess = sequence.guess, Draft()
        if guess.tokens and self._acceptance:
            accepted = len(new) - 1
            sequence.drafted += len(guess.tokens)
            sequence.accepted += accepted
            self._acceptance.learn(guess.match, len(guess.tokens), accepted)

    def _guess(self, sequence: Sequence) -> None:
        """Draft what may come next, to be verified in the next step."""
        if self._acceptance is None or sequence.required:
            return
        left = sequence.request.limits.max_tokens - sequence.generated
        most = min(left, self._context - len(sequence.tokens)) - 1
        sequence.guess = propose(sequence.grams, self._acceptance, sequence.tokens, most)
        sequence.draft = sequence.guess.tokens

    def _stop_name(self, token: int) -> str:
        return self._tokenizer.stop_ids.get(token, f"token {token}")

    def _bytes_of(self, token: int, limits: Limits) -> bytes:
        data = self._tokenizer.piece_bytes[token]
        return data or (self._tokenizer.render([token]).encode() if limits.show_special else b"")

    def _finish(
        self, sequence: Sequence, shown: Shown, reason: FinishReason, stop: str | None
    ) -> None:
        if sequence.stop.hit is None:
            shown.text += sequence.stop.feed(sequence.text.feed(b"", final=True))
            shown.text += sequence.stop.finish()
        self._remove(sequence)
        request, now = sequence.request, time.monotonic()
        shown.deliver(request)
        first = sequence.first_token or now
        usage = Usage(
            prompt=len(request.prompt.ids),
            cached=sequence.cached,
            healed=sequence.healed,
            generated=sequence.generated,
            drafted=sequence.drafted,
            accepted=sequence.accepted,
            dropped=request.prompt.dropped,
        )
        timings = Timings(
            queue_ms=(sequence.started - request.arrived) * 1e3,
            prefill_ms=(first - sequence.started) * 1e3,
            decode_ms=(now - first) * 1e3,
        )
        request.deliver(FinishEvent(reason, stop, usage, timings))

    def _remove(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        sequence.slot.tokens = sequence.tokens[: sequence.computed]
        self._slots.release(sequence.slot)
