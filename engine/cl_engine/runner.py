"""Runs one step of one sequence: prefill, verification of a draft and decode are the same thing."""

from torch import Tensor

from .models.llama import Llama
from .sampling import Pick
from .scheduler import Sequence
from .tokenizer import Tokenizer

PREFILL_CHUNK = 256  # tokens; between two chunks others get their turn and a cancel is seen


class Runner:
    def __init__(self, llama: Llama, tokenizer: Tokenizer):
        self._llama, self._tokenizer = llama, tokenizer

    def step(self, sequence: Sequence) -> list[Pick]:
        """Compute what is pending, and the draft behind it; returns the tokens this yields.

        None while the prompt is not through; else the draft's accepted beginning and one more.
        """
        pending = sequence.tokens[sequence.computed :]
        chunk = pending[:PREFILL_CHUNK]
        through = len(chunk) == len(pending)
        draft = sequence.draft if through else []
        logits = self._llama.forward(
            chunk + draft, sequence.computed, sequence.slot.kv, rows=through + len(draft)
        )
        sequence.computed += len(chunk)
        new: list[Pick] = []
        for row, guess in zip(logits, [*draft, None], strict=False):
            new.append(self._pick(sequence, row, len(new)))
            sequence.tokens.append(new[-1].token)
            if new[-1].token != guess:
                break
        if new:
            sequence.draft = []
            sequence.computed += (
                len(new) - 1
            )  # the accepted draft is in the cache, the last one not
        return new

    def _pick(self, sequence: Sequence, logits: Tensor, ahead: int) -> Pick:
        pick = sequence.sampler.pick
        if not sequence.required:
            return pick(logits, sequence.tokens, forbidden=sequence.forbidden(ahead))
        allowed = self._tokenizer.continuations(sequence.required)
        picked = pick(logits, sequence.tokens, allowed)
        passed = len(self._tokenizer.piece_bytes[picked.token])
        sequence.required = sequence.required[passed:]
        return picked
