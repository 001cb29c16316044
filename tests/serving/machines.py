"""A machine that works as the kernels' does, in plain torch: it chooses, and is launched ahead."""

from collections.abc import Callable, Sequence

import torch
from cl_engine.machine import Rows, TorchMachine
from cl_engine.models.llama import Span
from cl_engine.sampling import Choice, Sampler


class Chooser(TorchMachine):
    """A step's results exist when it is waited for, not before; each launch is waited for once."""

    chooses = ahead = True

    def launch(self, spans: list[Span], choices: Sequence[Choice | None]) -> Callable[[], Rows]:
        logits = self._llama.forward(spans, self._pool)
        assert len(logits) == len(choices)
        positions = [p for span in spans for p in range(span.end - span.rows, span.end)]
        rows = list(zip(logits, choices, positions, strict=True))
        return lambda: [row if c is None else choose(row, c, p) for row, c, p in rows]


def choose(logits: torch.Tensor, choice: Choice, position: int) -> int:
    """A function of the choice and the position, and of nothing that was chosen before."""
    if choice.allowed is not None:
        logits = logits.masked_fill(~torch.from_numpy(choice.allowed), -torch.inf)
    sampler = Sampler(choice.params)
    sampler._random.manual_seed((choice.seed * 100_003 + position) % 2**63)
    return sampler.pick(logits, []).token
