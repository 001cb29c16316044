"""Drafts without a second model: what followed the last time these tokens stood here.

Code repeats itself, and the document is in the prompt. A draft is verified in one step with the
next token and changes no result; how long it may be is decided by what earlier drafts came to.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_MATCH = 6  # tokens; a longer match is no better a sign
MAX_DRAFT = 8
# On a CPU a drafted token makes a step longer by this share: of the embedded model, at 2,300
# tokens, 1 row takes 6.8 ms, 2 take 8.9, 4 take 10.8, 9 take 20.6.
ROW_COST = 0.25
Cost = Callable[[int], float]  # by what share a draft of so many tokens makes a step longer
PRIOR = {2: 0.4, 3: 0.5, 4: 0.6, 5: 0.7, 6: 0.8}  # acceptance by match length, before any is known
LEARNING_RATE = 0.05
RETRY_EVERY = 16  # of the matches that are not worth a draft, so many pass before one is tried
# What drafts may have cost, in steps: at most CREDIT, and of later steps the share ALLOWANCE.
CREDIT, ALLOWANCE = 1.5, 0.01
RECENT = 8192  # tokens kept of the last generations
LEAD = 8  # tokens before a generation that are kept with it, to be matched
BARRIER = -1  # no token: nothing matches or is drafted across it


@dataclass(frozen=True)
class Draft:
    tokens: list[int] = field(default_factory=list)
    match: int = 0  # how many tokens before it are as they were at its source


def by_row(tokens: int) -> float:
    """What a draft costs on a CPU."""
    return tokens * ROW_COST


class Acceptance:
    """How often drafted tokens were right, by the length of their match; for the whole engine."""

    def __init__(self, cost: Cost = by_row) -> None:
        self._cost = cost
        self.rates = dict(PRIOR)
        self._passed = 0
        self._credit = CREDIT

    def length(self, match: int, most: int) -> int:
        """The length of draft that promises the most tokens for a step's time; 0: none is worth it.

        With rate r a draft of k tokens gives 1 + r + … + r^k tokens in 1 + cost(k) steps.
        Whatever the rates promise, drafts that were wrong too often end, but for ALLOWANCE.
        """
        self._credit = min(CREDIT, self._credit + ALLOWANCE)
        if self._credit <= 0:
            return 0
        rate = self.rates[match]
        best, best_yield, expected, power = 0, 1.0, 1.0, 1.0
        for k in range(1, most + 1):
            power *= rate
            expected += power
            if expected / (1 + self._cost(k)) > best_yield:
                best, best_yield = k, expected / (1 + self._cost(k))
        if best == 0 and most > 0:
            self._passed += 1
            return int(self._passed % RETRY_EVERY == 0)
        return best

    def learn(self, match: int, drafted: int, accepted: int) -> None:
        """What became of a draft; the tokens behind the first wrong one say nothing."""
        self._credit = min(CREDIT, self._credit + accepted - self._cost(drafted))
        for i in range(min(accepted + 1, drafted)):
            self.rates[match] += LEARNING_RATE * ((i < accepted) - self.rates[match])


class History:
    """Tokens packed into bytes, 4 each, in which a search runs at the speed of `bytes.rfind`."""

    def __init__(self) -> None:
        self._packed = bytearray()

    def __len__(self) -> int:
        return len(self._packed) // 4

    def extend(self, tokens: list[int]) -> None:
        self._packed += array("i", tokens).tobytes()

    def forget(self, keep: int) -> None:
        """All but the last `keep` tokens."""
        del self._packed[: max(0, len(self._packed) - 4 * keep)]

    def cut(self, keep: int) -> None:
        """All but the first `keep` tokens."""
        del self._packed[4 * keep :]

    def find(self, tail: bytes, before: int) -> int:
        """Place (in tokens) behind the last `tail` that ends no later than `before`; 0: none."""
        end = 4 * before
        while (at := self._packed.rfind(tail, 0, end)) % 4 and at >= 0:
            end = at + len(tail) - 1  # across the bounds of tokens
        return (at + len(tail)) // 4 if at >= 0 else 0

    def tail(self, n: int) -> bytes:
        return bytes(self._packed[-4 * n :])

    def after(self, place: int, n: int) -> list[int]:
        """At most `n` tokens from `place` on, none of them behind a BARRIER."""
        found = array("i", bytes(self._packed[4 * place : 4 * (place + n)])).tolist()
        return found[: found.index(BARRIER)] if BARRIER in found else found


class Speculator:
    """Drafts for every sequence of an engine, from its own tokens and the last generations'."""

    def __init__(self, cost: Cost = by_row) -> None:
        self.acceptance = Acceptance(cost)
        self._recent = History()

    def remember(self, tokens: list[int], start: int) -> None:
        """Keep what was generated, `tokens[start:]`: the next key often asks for it again."""
        self._recent.extend([*tokens[max(0, start - LEAD) :], BARRIER])
        self._recent.forget(RECENT)

    def propose(self, history: History, tokens: list[int], most: int) -> Draft:
        """At most `most` tokens that may follow `tokens`; an empty draft if nothing promises to.

        `history` holds tokens of the same sequence, and all of `tokens` afterwards.
        """
        history.cut(len(tokens))
        history.extend(tokens[len(history) :])
        match, source, place = 0, history, 0
        for n in range(2, min(LONGEST_MATCH, len(tokens) - 1) + 1):
            tail = history.tail(n)
            if at := history.find(tail, len(tokens) - 1):
                match, source, place = n, history, at
            elif at := self._recent.find(tail, len(self._recent)):
                match, source, place = n, self._recent, at
            else:
                break
        length = self.acceptance.length(match, min(most, MAX_DRAFT)) if match else 0
        return Draft(source.after(place, length), match) if length else Draft()
