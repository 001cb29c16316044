"""What computes a step: the model in plain torch, or in kernels of our own on a GPU."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from .errors import DeviceLost
from .models.llama import KVPool, Llama, Span
from .ngram import Cost, by_row
from .sampling import Choice

Rows = list[int | Tensor]  # a token that the machine chose, or logits [vocab] on the CPU


class Machine(Protocol):
    """Computes a step of several sequences, and chooses tokens if it `chooses`.

    `kind` is its name for people. `ahead`: it works while the host does something else, so that
    the next step is to be launched before the last one's text is made.
    """

    kind: str
    chooses: bool
    ahead: bool
    draft_cost: Cost

    def launch(self, spans: list[Span], choices: Sequence[Choice | None]) -> Callable[[], Rows]:
        """Begin a step; what is returned waits for it and gives all rows that the spans ask for.

        Of a row that has no choice the logits are returned.
        """
        ...


def is_memory(error: BaseException) -> bool:
    """Whether memory is short: torch's allocator says so, or CUDA or Triton, which have no type."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)


def raise_if_lost(error: BaseException) -> None:
    """Raises DeviceLost if `error` is one that CUDA goes on to give for whatever is asked next."""
    if isinstance(error, torch.AcceleratorError) and not is_memory(error):
        raise DeviceLost(f"the device failed ({error}); restart the daemon") from error


class TorchMachine:
    """`Llama.forward` as it is, on any device."""

    kind = "plain PyTorch"
    chooses = ahead = False
    draft_cost = staticmethod(by_row)

    def __init__(self, llama: Llama, pool: KVPool):
        self._llama, self._pool = llama, pool

    def launch(self, spans: list[Span], choices: Sequence[Choice | None]) -> Callable[[], Rows]:
        rows: Rows = list(self._llama.forward(spans, self._pool).cpu())
        return lambda: rows
