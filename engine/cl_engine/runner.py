"""Runs one step of several sequences: prefill, verification of a draft and decode are the same."""

from torch import Tensor

from .errors import EngineError
from .models.llama import KVPool, Llama, Span
from .sampling import Pick
from .scheduler import Part
from .sequence import Sequence
from .tokenizer import Tokenizer


class Runner:
    def __init__(self, llama: Llama, pool: KVPool, tokenizer: Tokenizer):
        self._llama, self._pool, self._tokenizer = llama, pool, tokenizer

    def step(self, parts: list[Part]) -> list[list[Pick] | EngineError]:
        """Compute all parts at once; of each the tokens that it yields, appended to its sequence.

        None while a prompt is not through; else the draft's accepted beginning and one more. A
        part whose tokens cannot be chosen gets an error of its own.
        """
        spans = [_span(part) for part in parts]
        logits = self._llama.forward(spans, self._pool).cpu()
        rows = logits.split([part.rows for part in parts])
        return [self._choose(part, own) for part, own in zip(parts, rows, strict=True)]

    def _choose(self, part: Part, logits: Tensor) -> list[Pick] | EngineError:
        try:
            return self._verify(part.sequence, part.draft, logits)
        except Exception as error:  # one request must not take the others with it
            wrong = EngineError(f"the engine failed: {error}")
            wrong.__cause__ = error
            return wrong

    def _verify(self, sequence: Sequence, draft: list[int], logits: Tensor) -> list[Pick]:
        new: list[Pick] = []
        for row, guess in zip(logits, [*draft, None], strict=False):
            new.append(self._pick(sequence, row, len(new)))
            sequence.tokens.append(new[-1].token)
            if new[-1].token != guess:
                break
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


def _span(part: Part) -> Span:
    sequence = part.sequence
    assert sequence.lease is not None
    return Span(part.ids + part.draft, sequence.computed, sequence.lease.pages, part.rows)
