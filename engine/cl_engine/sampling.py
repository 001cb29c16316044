"""The next token from a row of logits."""

from dataclasses import dataclass

import torch

GREEDY = 1e-4  # a lower temperature would overflow, and picks the likeliest token anyway


@dataclass(frozen=True)
class SamplingParams:
    """`temperature` 0 is greedy; `top_k` 0 and `top_p` 1 keep every token."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None


class Sampler:
    """One request's sampler: its own random state, so that other requests change nothing."""

    def __init__(self, params: SamplingParams):
        self.params = params
        self._random = torch.Generator()
        if params.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(params.seed)

    def pick(self, logits: torch.Tensor, allowed: list[int] | None = None) -> int:
        """One id out of `logits` [vocab], or of those in `allowed`."""
        if allowed is not None:
            ids = torch.tensor(allowed)
            return int(ids[self._pick(logits[ids])])
        return self._pick(logits)

    def _pick(self, logits: torch.Tensor) -> int:
        p = self.params
        if p.temperature < GREEDY:
            return int(logits.argmax())
        ordered, order = (logits / p.temperature).sort(descending=True)
        if p.top_k:
            ordered = ordered[: p.top_k]
        weights = ordered.softmax(-1)
        before = weights.cumsum(-1) - weights  # probability of all that is likelier than this one
        weights = weights.masked_fill(before >= p.top_p, 0.0)
        weights[0] = weights[0].clamp(min=1e-30)
        return int(order[torch.multinomial(weights, 1, generator=self._random)])
