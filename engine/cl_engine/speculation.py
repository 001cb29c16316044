"""Drafts for sequences: what is guessed for the next step, and what was learnt from the last.

What a guess is made from is `ngram.py`'s business; here it meets healed text, limits and counts.
"""

from .ngram import Cost, Draft, Speculator
from .sequence import Sequence
from .tokenizer import Tokenizer


class Speculation:
    """`context` is the most tokens of a sequence; `cost` says what a draft costs."""

    def __init__(self, tokenizer: Tokenizer, context: int, enabled: bool, cost: Cost):
        self._tokenizer, self._context, self._enabled = tokenizer, context, enabled
        self._speculator = Speculator(cost)

    def guess(self, sequence: Sequence) -> None:
        """Guess what comes next.

        Where healed text is required, a guess that begins with it is better than the tokens taken
        off, whose last is often half a word; else the guess comes behind those.
        """
        sequence.guess = Draft()
        if not self._enabled:
            return
        left = sequence.request.limits.max_tokens - sequence.generated
        most = min(left, self._context - len(sequence.tokens) - len(sequence.draft)) - 1
        propose, history = self._speculator.propose, sequence.history
        guess = propose(history, sequence.tokens, most)
        if sequence.required:
            if self._tokenizer.to_bytes(guess.tokens).startswith(sequence.required):
                sequence.draft = []
            elif sequence.draft:
                guess = propose(history, sequence.tokens + sequence.draft, most)
            else:
                guess = Draft()
        sequence.guess = guess

    def learn(self, sequence: Sequence, guessed: int, accepted: int) -> None:
        """Of `guessed` tokens the first `accepted` were right; below 0: they were not reached."""
        if guessed > 0 and accepted >= 0:
            sequence.drafted += guessed
            self._speculator.acceptance.learn(sequence.guess.match, guessed, accepted)

    def remember(self, sequence: Sequence) -> None:
        """Its tokens are drafts for others: the next key often asks for the same."""
        if self._enabled and sequence.picks:
            self._speculator.remember(sequence.tokens, sequence.start)
