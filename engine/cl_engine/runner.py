"""Runs one step of several sequences: prefill, verification of a draft and decode are the same."""

from collections.abc import Callable
from functools import lru_cache

import numpy
from torch import Tensor

from .errors import EngineError
from .machine import Machine, Rows
from .models.llama import Span
from .sampling import Choice, Pick
from .scheduler import Part
from .sequence import Sequence
from .tokenizer import Tokenizer

Results = list[list[Pick] | EngineError]


class Runner:
    def __init__(self, machine: Machine, tokenizer: Tokenizer):
        self._machine, self._tokenizer = machine, tokenizer
        self._continuations = lru_cache(256)(tokenizer.continuations)
        self._mask = lru_cache(256)(self._make_mask)

    def launch(self, parts: list[Part]) -> Callable[[], Results]:
        """Begin to compute all parts at once; what is returned waits for it.

        It gives, of each part, the tokens that it yields, appended to its sequence: none while a
        prompt is not through; else the draft's accepted beginning and one more. A part whose tokens
        cannot be chosen gets an error of its own; one whose sequence has ended meanwhile, nothing.
        """
        spans = [_span(part) for part in parts]
        choices = [choice for part in parts for choice in self._choices(part)]
        wait = self._machine.launch(spans, choices)

        def results() -> Results:
            rows = iter(wait())
            own = [[next(rows) for _ in range(part.rows)] for part in parts]
            return [self._verified(part, values) for part, values in zip(parts, own, strict=True)]

        return results

    def _choices(self, part: Part) -> list[Choice | None]:
        """How each row's token is chosen, if those of the draft before it are right."""
        sampler = part.sequence.sampler
        if not self._machine.chooses or sampler.needs_logits:
            return [None] * part.rows
        found: list[Choice | None] = []
        required = part.sequence.required
        for row in range(part.rows):
            allowed = self._mask(required) if required else None
            before = part.draft[:row]
            forbidden = part.sequence.forbidden(max(0, row - part.healed))
            found.append(
                sampler.choice(
                    self._tokenizer.size,
                    lambda before=before: part.sequence.tokens + before,
                    allowed,
                    forbidden,
                )
            )
            if row < len(part.draft):
                required = required[len(self._tokenizer.piece_bytes[part.draft[row]]) :]
        return found

    def _make_mask(self, required: bytes) -> numpy.ndarray:
        """Of each id, whether it may come where `required` must."""
        mask = numpy.zeros(self._tokenizer.size, bool)
        mask[self._tokenizer.continuations(required)] = True
        return mask

    def _verified(self, part: Part, values: Rows) -> list[Pick] | EngineError:
        sequence = part.sequence.current
        if sequence.lease is None:
            return []
        try:
            return self._verify(sequence, part, values)
        except Exception as error:  # one request must not take the others with it
            wrong = EngineError(f"the engine failed: {error}")
            wrong.__cause__ = error
            return wrong

    def _verify(self, sequence: Sequence, part: Part, values: Rows) -> list[Pick]:
        for row, value in enumerate(values[: part.scored], sequence.computed + 1):
            assert isinstance(value, Tensor)  # what reports log-probabilities chooses here
            sequence.scores.append(sequence.sampler.report(value, sequence.tokens[row]))
        new: list[Pick] = []
        for value, guess in zip(values[part.scored :], [*part.draft, None], strict=False):
            if isinstance(value, Tensor):
                new.append(self._pick(sequence, value, max(0, len(new) - part.healed)))
            else:
                new.append(Pick(value))
            token = new[-1].token
            if sequence.required:
                passed = len(self._tokenizer.piece_bytes[token])
                sequence.required = sequence.required[passed:]
            sequence.tokens.append(token)
            if token != guess:
                break
        return new

    def _pick(self, sequence: Sequence, logits: Tensor, ahead: int) -> Pick:
        allowed = self._continuations(sequence.required) if sequence.required else None
        return sequence.sampler.pick(logits, sequence.tokens, allowed, sequence.forbidden(ahead))


def _span(part: Part) -> Span:
    sequence = part.sequence
    assert sequence.lease is not None
    return Span(part.ids + part.draft, sequence.computed, sequence.lease.pages, part.rows)
