"""One request on its way through the engine: its tokens, its pages, and the text it has shown.

Pure bookkeeping: who runs is `scheduler.py`'s decision, what comes next is computed by `runner.py`.
"""

import time
from dataclasses import dataclass, field

from .ngram import Draft, History
from .prompt import heal
from .radix import Lease
from .request import FinishEvent, FinishReason, PromptEvent, Request, TextEvent, Timings, Usage
from .sampling import Pick, Sampler
from .stopping import StopText
from .structure import StopStructure
from .tokenizer import StreamDecoder, Tokenizer

Ending = tuple[FinishReason, str]  # OpenAI's word for it, and the name of what ended it


class Shown:
    """The text of a generation: bytes in, text out, until something in it ends it."""

    def __init__(self, request: Request):
        self._request = request
        self._decoder = StreamDecoder()
        self._stop = StopText(request.limits.stops)
        rules = request.limits.structure
        self._structure = StopStructure(rules) if rules is not None else None
        self._text, self._picks = "", list[Pick]()

    @property
    def hit(self) -> str | None:
        """The rule or the stop string that has ended the text."""
        return (self._structure and self._structure.hit) or self._stop.hit

    def feed(self, data: bytes, pick: Pick) -> None:
        self._picks.append(pick)
        self._add(self._stop.feed(self._decoder.feed(data)))

    def finish(self) -> None:
        """No more comes: what was held back is shown, too."""
        if self._stop.hit is None:
            rest = self._stop.feed(self._decoder.feed(b"", final=True))
            self._add(rest + self._stop.finish())
        if self._structure is not None:
            self._text += self._structure.finish()

    def _add(self, text: str) -> None:
        self._text += text if self._structure is None else self._structure.feed(text)

    def deliver(self) -> None:
        """Hand over what has come since the last time."""
        if self._text or self._picks:
            tokens = tuple(pick.token for pick in self._picks)
            logprobs = tuple(p.logprobs for p in self._picks if p.logprobs is not None)
            self._request.deliver(TextEvent(self._text, tokens, logprobs))
        self._text, self._picks = "", []


@dataclass(eq=False)
class Sequence:
    """Always: computed <= len(tokens), and start <= len(tokens).

        tokens    | prompt, healed | generated          |    (then `draft` and `guess`)
                  0              start           len(tokens)
        KV cache  | in its pages | to compute           |
                  0           computed       len(tokens)

    `draft` are the tokens taken off the prompt, which are verified with the next one; `guess` may
    follow them. `required` is what generation must still re-emit of the healed text, and `skip` how
    many of its bytes are not yet passed over in the output. `ends` are the ids that end it.

    A step's tokens are taken in two: `accept` is quick, and all that the next step depends on;
    `show` makes text of them, and sees whether that ends it.
    """

    request: Request
    tokens: list[int]
    draft: list[int]
    required: bytes
    sampler: Sampler
    ends: dict[int, str]
    shown: Shown
    start: int
    healed: int
    skip: int
    lease: Lease | None = None  # its pages; none while it waits
    computed: int = 0
    cached: int | None = None  # of the prompt, when it first got pages
    picks: list[Pick] = field(default_factory=list)  # behind `start`, one for each token
    worked: int = 0  # prompt tokens that went through the model; more than once if preempted
    generated: int = 0
    guess: Draft = field(default_factory=Draft)  # tokens behind those that are sure
    history: History = field(default_factory=History)
    drafted: int = 0
    accepted: int = 0
    preempted: int = 0
    scores: list[dict[int, float]] = field(default_factory=list)  # of the prompt, but its first
    unshown: list[tuple[bytes, Pick]] = field(default_factory=list)  # accepted, and `show` is next
    ending: Ending | None = None  # how the accepted tokens end it, whatever their text says
    heir: "Sequence | None" = None  # that adopted it, and takes what is under way for it
    began: float | None = None  # seconds of the monotonic clock, as all times here
    first_token: float | None = None
    _right: int = 0  # guessed tokens among those to be shown

    @classmethod
    def of(cls, request: Request, tokenizer: Tokenizer, healing_depth: int) -> "Sequence":
        healed = heal(tokenizer, request.prompt, healing_depth)
        limits = request.limits
        own = {} if limits.ignore_eos else tokenizer.stop_ids
        return cls(
            request=request,
            tokens=list(healed.ids),
            draft=healed.draft,
            required=healed.required,
            sampler=Sampler(request.sampling, len(healed.ids)),
            ends={i: own.get(i, f"token {i}") for i in (*own, *limits.stop_ids)},
            shown=Shown(request),
            start=len(healed.ids),
            healed=len(healed.draft),
            skip=len(healed.required),
        )

    @property
    def current(self) -> "Sequence":
        """Itself, or who has adopted it."""
        return self if self.heir is None else self.heir.current

    @property
    def pending(self) -> int:
        """Tokens whose keys and values are still to be computed."""
        return len(self.tokens) - self.computed

    @property
    def late(self) -> bool:
        """Whether its time is over."""
        budget = self.request.limits.budget_ms
        return budget is not None and time.monotonic() > self.request.arrived + budget / 1e3

    @property
    def unscored(self) -> bool:
        """Whether its prompt is to be scored yet."""
        return self.request.prompt.scored and self.first_token is None

    def start_on(self, lease: Lease, cached: int) -> None:
        """It has pages, which hold `cached` of its tokens."""
        self.lease, self.computed = lease, cached
        if self.unscored:
            self.scores.clear()
        if self.cached is None:
            self.cached, self.began = cached, time.monotonic()

    def forbidden(self, ahead: int) -> frozenset[int]:
        """Ids that must not come next, `ahead` tokens later: those that would end it too early."""
        early = self.generated + ahead < self.request.limits.min_tokens
        return frozenset(self.ends) if early else frozenset()

    def accept(self, picks: list[Pick], context: int, tokenizer: Tokenizer, right: int = 0) -> None:
        """Count `picks`, which are in `tokens` already; `right` of them were guessed."""
        limits = self.request.limits
        if picks and self.first_token is None:
            self.first_token = time.monotonic()
        self._right = right
        for pick in picks:
            self.picks.append(pick)
            if pick.token in self.ends:
                self.ending = "stop", self.ends[pick.token]
                return
            data = tokenizer.piece_bytes[pick.token]
            if not data and limits.show_special:
                data = tokenizer.render([pick.token]).encode()
            passed = min(self.skip, len(data))
            self.skip -= passed
            if passed and passed == len(data):
                continue  # wholly inside the healed text: the user typed it
            self.generated += 1
            self.unshown.append((data[passed:], pick))
            if self.generated >= limits.max_tokens:
                self.ending = "length", "max_tokens"
                return
        # Healed text may come back as more tokens than it was, so max_tokens is no bound on this.
        if len(self.tokens) >= context:
            self.ending = "length", "context"
        elif self.late:
            self.ending = "length", "time"

    def show(self) -> Ending | None:
        """Make text of what was accepted; how it ended, if it has."""
        unshown, self.unshown = self.unshown, []
        if self.scores and self.first_token is not None:
            prompt = tuple(self.tokens[: self.start])
            self.request.deliver(PromptEvent(prompt, ({}, *self.scores)))
            self.scores = []
        for i, (data, pick) in enumerate(unshown):
            self.shown.feed(data, pick)
            if self.shown.hit is not None:
                self.ending = "stop", self.shown.hit
                self.generated -= len(unshown) - i - 1
                unshown = unshown[: i + 1]
                break
        self.accepted += max(0, min(self._right, len(unshown)))
        self._right = 0
        return self.ending

    def adopts(self, old: "Sequence", tokenizer: Tokenizer) -> bool:
        """Whether what `old` has done is what this one, not yet begun, would do first.

            old.tokens | kept of the old prompt | generated since              |
            tokens     | kept of the new prompt          | required ~ the rest |

        The new text must extend the old one, the ids kept of the new prompt must be there already,
        and what was generated behind them must agree with the text it requires. Then each of those
        tokens was the likeliest of more than this one would have allowed itself, so that greedy
        results are those of a fresh one.
        """
        ours, theirs, kept = self.request, old.request, len(self.tokens)
        alike = ours.sampling == theirs.sampling and self.ends == old.ends
        free = not ours.limits.min_tokens and not theirs.limits.min_tokens
        text, old_text = (
            tokenizer.to_bytes(request.prompt.ids[old.start :]) for request in (ours, theirs)
        )
        if ours.prompt.scored or theirs.prompt.scored:
            return False
        if not (alike and free and old.start <= kept and old.tokens[:kept] == self.tokens):
            return False
        if not text.startswith(old_text):
            return False
        produced = tokenizer.to_bytes(old.tokens[kept:])
        return produced.startswith(self.required) or self.required.startswith(produced)

    def adopt(self, old: "Sequence", tokenizer: Tokenizer, context: int) -> Ending | None:
        """Go on where `old` is; what it has generated is shown again, as this request sees it.

        What is under way for `old` goes on, too, unless it may not be what this one requires.
        """
        kept = len(self.tokens)
        picks = old.picks[kept - old.start :]
        if picks:
            produced = tokenizer.to_bytes(old.tokens[kept:])
            self.draft, self.required = [], self.required[len(produced) :]
        self.tokens, self.computed, self.lease = old.tokens, old.computed, old.lease
        self.sampler, self.history = old.sampler, old.history
        self.cached, self.began = min(kept, old.computed), time.monotonic()
        old.lease = None
        if not self.required:
            old.heir, self.guess = self, old.guess
        self.accept(picks, context, tokenizer)
        return self.show()

    def end(self, ending: Ending) -> FinishEvent:
        """Deliver what is left of the text; the event that is to follow."""
        self.show()
        self.shown.finish()
        self.shown.deliver()
        return self.account(ending)

    def account(self, ending: Ending) -> FinishEvent:
        """What it took until now."""
        now, request = time.monotonic(), self.request
        began = self.began or now
        first = self.first_token or now
        usage = Usage(
            prompt=len(request.prompt.ids),
            cached=self.cached or 0,
            computed=self.worked,
            healed=self.healed,
            generated=self.generated,
            drafted=self.drafted,
            accepted=self.accepted,
            dropped=request.prompt.dropped,
            preempted=self.preempted,
        )
        timings = Timings(
            queue_ms=(began - request.arrived) * 1e3,
            prefill_ms=(first - began) * 1e3,
            decode_ms=(now - first) * 1e3,
        )
        return FinishEvent(*ending, usage, timings)
