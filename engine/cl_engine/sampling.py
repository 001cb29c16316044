"""The next token from a row of logits: one distribution, defined step by step, and a draw from it.

The steps and their order are those of transformers' generate (`generation/logits_process.py`), so
that its users get what they know: forbidden tokens, repetition penalty, temperature, top-k, top-p,
min-p; bias, frequency and presence penalty, which are OpenAI's, come first. A machine that chooses
by itself is given a `Choice`.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy
import torch

MOST = 1e30  # of a penalised logit: divided by the lowest temperature it is still finite
GREEDY = 1e-4  # a lower temperature would overflow, and picks the likeliest token anyway


@dataclass(frozen=True)
class SamplingParams:
    """How one request chooses its tokens; the defaults are greedy. `api.GenerationConfig` has the
    definitions."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0  # OpenAI's: off a logit for each time it was generated
    presence_penalty: float = 0.0  # once, if it was
    bias: tuple[tuple[int, float], ...] = ()  # (id, what is added to its logit)
    seed: int | None = None
    bad: tuple[tuple[int, ...], ...] = ()  # sequences of ids that are never completed
    logprobs: int = 0  # so many of the likeliest are reported with the chosen one


class Pick(NamedTuple):
    """A chosen token and, if asked for, natural log-probabilities: the model's own, untempered."""

    token: int
    logprobs: dict[int, float] | None = None


class Choice(NamedTuple):
    """How a machine with a sampler of its own chooses a token, without a sight of the logits.

    `seed` is the request's: with the token's position it says everything about the draw. `allowed`:
    a bool for each id, [vocab]; None: all are.
    """

    params: SamplingParams
    seed: int
    allowed: numpy.ndarray | None


class Sampler:
    """One request's sampler: its own random state, so that other requests change nothing.

    `start`: where in its tokens those begin that are generated, or healed.
    """

    def __init__(self, params: SamplingParams, start: int = 0):
        self.params, self._start = params, start
        seed = random.getrandbits(63) if params.seed is None else params.seed
        self.seed = (seed + 2**63) % 2**64 - 2**63  # 64 bits: the seeds s, s+1, … may pass them
        self._random = torch.Generator().manual_seed(self.seed)
        self._plain = Choice(params, self.seed, None)

    @property
    def needs_logits(self) -> bool:
        """Whether only `pick` will do: what it takes is not in a `Choice`."""
        p = self.params
        return bool(p.logprobs or p.bias or self._penalised)

    @property
    def _penalised(self) -> bool:
        p = self.params
        return bool(p.repetition_penalty != 1 or p.frequency_penalty or p.presence_penalty)

    def choice(
        self,
        vocab: int,
        tokens: Callable[[], list[int]],
        allowed: numpy.ndarray | None,
        forbidden: frozenset[int],
    ) -> Choice:
        """What `pick` is told, without the logits; `allowed` as bools; `tokens` if they matter."""
        if allowed is None and not forbidden and not self.params.bad:
            return self._plain
        banned = forbidden | (self._banned(tokens()) if self.params.bad else set())
        if not banned:
            return Choice(self.params, self.seed, allowed)
        left = numpy.ones(vocab, bool) if allowed is None else allowed.copy()
        left[list(banned)] = False
        return Choice(self.params, self.seed, left if left.any() else allowed)

    def pick(
        self,
        logits: torch.Tensor,
        tokens: list[int],
        allowed: list[int] | None = None,
        forbidden: frozenset[int] = frozenset(),
    ) -> Pick:
        """One id out of `logits` [vocab]: one of `allowed`, if given, and none of `forbidden`.

        `tokens` are the ids so far, prompt included. If nothing is left, `forbidden` gives way.
        """
        logits = logits.float().cpu()
        scores = self.scores(logits, tokens, forbidden)
        if allowed is not None:
            ids = torch.tensor(allowed)
            kept = scores[ids]
            token = int(ids[self._draw(kept if kept.isfinite().any() else logits[ids])])
        else:
            token = self._draw(scores if scores.isfinite().any() else logits)
        return Pick(token, self.report(logits, token) if self.params.logprobs else None)

    def scores(
        self, logits: torch.Tensor, tokens: list[int], forbidden: frozenset[int]
    ) -> torch.Tensor:
        """`logits` [vocab], penalised; -inf for what must not come next."""
        p = self.params
        banned = forbidden | self._banned(tokens)
        if banned or p.bias or self._penalised:
            logits = logits.clone()
        for token, bias in p.bias:
            logits[token] += bias
        if p.frequency_penalty or p.presence_penalty:
            counts = Counter(tokens[self._start :])
            times = torch.tensor(list(counts.values()), dtype=logits.dtype)
            off = p.frequency_penalty * times + p.presence_penalty
            logits[list(counts)] -= off
        if p.repetition_penalty != 1:
            seen = torch.tensor(sorted(set(tokens)))
            old = logits[seen]
            new = torch.where(old < 0, old * p.repetition_penalty, old / p.repetition_penalty)
            logits[seen] = new.clamp(-MOST, MOST)
        if banned:
            logits[list(banned)] = -torch.inf
        return logits

    def _banned(self, tokens: list[int]) -> set[int]:
        """Ids that would complete a bad sequence."""
        return {
            word[-1]
            for word in self.params.bad
            if len(word) == 1 or tuple(tokens[1 - len(word) :]) == word[:-1]
        }

    def _draw(self, scores: torch.Tensor) -> int:
        p = self.params
        if p.temperature < GREEDY:
            return int(scores.argmax())
        k = min(p.top_k or len(scores), len(scores))
        ordered, order = (scores / p.temperature).topk(k)
        weights = ordered.softmax(-1)
        before = weights.cumsum(-1) - weights  # probability of all that is likelier than this one
        cut = (before >= p.top_p) | (weights < p.min_p * weights[0])
        cut[0] = False
        weights = weights.masked_fill(cut, 0.0)
        return int(order[torch.multinomial(weights, 1, generator=self._random)])

    def report(self, logits: torch.Tensor, token: int) -> dict[int, float]:
        """Natural log-probabilities of `token` and of the likeliest ones."""
        logs = logits.log_softmax(-1)
        best = logs.topk(min(self.params.logprobs, len(logs)))
        likeliest = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return {token: float(logs[token]), **dict(likeliest)}
