"""GenerationConfig: every knob of a generation by the name that lmdeploy's users know.

Values are checked where they are written; the engine's own types are made of it when a request is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .errors import InvalidRequest
from .request import Limits
from .sampling import SamplingParams
from .tokenizer import Tokenizer

DEFAULT_MAX_NEW_TOKENS = 512
MIN_PROMPT = 16  # tokens of the context that the new ones must leave
MAX_LOGPROBS = 20


@dataclass(frozen=True)
class GenerationConfig:
    """How an answer is generated. Raises InvalidRequest, by the field's name, for a bad value.

    Source of names and defaults: InternLM/lmdeploy `lmdeploy/messages.py`, `GenerationConfig`; of
    the definitions: huggingface/transformers `generation/logits_process.py`, in whose order they
    apply.

    n: Answers to each prompt; with a `random_seed` s they have the seeds s, s+1, …
    max_new_tokens: The most tokens of an answer. None: 512, or half of a context smaller
        than 1,024.
    do_sample: False: the likeliest token each time (greedy), whatever the next five fields
        say.
    top_p: Sample among the fewest likeliest tokens whose probabilities reach this sum
        (nucleus sampling, arXiv 1904.09751); 1: among all.
    top_k: Sample among so many of the likeliest tokens (arXiv 1805.04833); 0: among all.
    min_p: Leave out tokens less likely than this share of the likeliest one (arXiv
        2407.01082).
    temperature: Logits are divided by it; 0 is greedy too. At most 2.
    random_seed: Equal seeds give equal answers, whatever else the engine does. None:
        another each time.
    repetition_penalty: Positive logits of tokens that were there before, in prompt or
        answer, are divided by it, negative ones multiplied (CTRL, arXiv 1909.05858); 1:
        none.
    ignore_eos: The model's end tokens (EOS, `▁<EOT>`) do not end the answer.
    stop_words: Texts that end the answer; they are not part of it.
    bad_words: Texts whose tokens never occur in this order, at a word's beginning or inside
        one.
    stop_token_ids: Token ids that end the answer; not part of it.
    bad_token_ids: Token ids that never occur.
    min_new_tokens: Until there are so many tokens, none is chosen that would end it. Stop
        words still do.
    skip_special_tokens: False: control tokens that do not end the answer show in its text.
    logprobs: Report natural log-probabilities of each chosen token and of so many of the
        likeliest: the model's own, before any of the fields above.
    """

    n: int = 1
    max_new_tokens: int | None = None
    do_sample: bool = False
    top_p: float = 1.0
    top_k: int = 50
    min_p: float = 0.0
    temperature: float = 0.8
    random_seed: int | None = None
    repetition_penalty: float = 1.0
    ignore_eos: bool = False
    stop_words: Sequence[str] | None = None
    bad_words: Sequence[str] | None = None
    stop_token_ids: Sequence[int] | None = None
    bad_token_ids: Sequence[int] | None = None
    min_new_tokens: int | None = None
    skip_special_tokens: bool = True
    logprobs: int | None = None

    def __post_init__(self) -> None:
        integers = (
            ("n", 1, 64),
            ("max_new_tokens", 1, None),
            ("top_k", 0, None),
            ("random_seed", -(2**63), 2**63 - 1),
            ("min_new_tokens", 0, None),
            ("logprobs", 0, MAX_LOGPROBS),
        )
        for name, low, high in integers:
            self._whole(name, low, high)
        for name, low, high in (("top_p", 0, 1), ("min_p", 0, 1), ("temperature", 0, 2)):
            self._number(name, low, high)
        self._number("repetition_penalty", 0, math.inf)
        if self.repetition_penalty == 0:
            raise InvalidRequest("repetition_penalty: 0 is not above 0")
        for name in ("do_sample", "ignore_eos", "skip_special_tokens"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidRequest(f"{name}: {getattr(self, name)!r} is not True or False")
        for name, kind in (("stop_words", str), ("bad_words", str)):
            self._list(name, kind, "texts")
        for name in ("stop_token_ids", "bad_token_ids"):
            self._list(name, int, "token ids")
        if (self.min_new_tokens or 0) > (self.max_new_tokens or math.inf):
            raise InvalidRequest(
                f"min_new_tokens: {self.min_new_tokens} is above max_new_tokens, "
                f"{self.max_new_tokens}"
            )

    def _whole(self, name: str, low: int, high: int | None) -> None:
        value = getattr(self, name)
        if value is None and type(self).__dataclass_fields__[name].default is None:
            return
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidRequest(f"{name}: {value!r} is not a whole number")
        if value < low or (high is not None and value > high):
            most = "" if high is None else f" and at most {high}"
            raise InvalidRequest(f"{name}: {value} is not at least {low}{most}")

    def _number(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InvalidRequest(f"{name}: {value!r} is not a number")
        if not low <= value <= high or math.isinf(value):
            most = "" if math.isinf(high) else f" to {high}"
            raise InvalidRequest(f"{name}: {value} is not in {low}{most}")

    def _list(self, name: str, kind: type, what: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        if not listed or not all(type(item) is kind for item in value):
            raise InvalidRequest(f"{name}: {value!r} is not a list of {what}")
        if any(item == "" or (isinstance(item, int) and item < 0) for item in value):
            raise InvalidRequest(f"{name}: {value!r} holds an empty text or a negative id")

    @property
    def max_tokens(self) -> int:
        return self.max_new_tokens or DEFAULT_MAX_NEW_TOKENS

    def within(self, context: int) -> "GenerationConfig":
        """With max_new_tokens settled."""
        return replace(self, max_new_tokens=self.max_new_tokens or default_new_tokens(context))

    def limits(self, tokenizer: Tokenizer, stop_words: Sequence[str] = ()) -> Limits:
        """Where it ends. Raises InvalidRequest for an id that the vocabulary lacks."""
        return Limits(
            max_tokens=self.max_tokens,
            min_tokens=self.min_new_tokens or 0,
            stops=(*stop_words, *(self.stop_words or ())),
            stop_ids=frozenset(_known("stop_token_ids", self.stop_token_ids, tokenizer)),
            ignore_eos=self.ignore_eos,
            show_special=not self.skip_special_tokens,
        )

    def sampling(self, tokenizer: Tokenizer) -> SamplingParams:
        """How tokens are chosen. Raises InvalidRequest for an id that the vocabulary lacks."""
        bad = {(i,) for i in _known("bad_token_ids", self.bad_token_ids, tokenizer)}
        for word in self.bad_words or ():
            bad |= {tuple(tokenizer.encode(word)), tuple(tokenizer.encode_infilling(word))}
        return SamplingParams(
            temperature=self.temperature if self.do_sample else 0.0,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            seed=self.random_seed,
            bad=tuple(sorted(bad)),
            logprobs=self.logprobs or 0,
        )


def default_new_tokens(context: int) -> int:
    """How many an answer may have if nobody says."""
    return min(DEFAULT_MAX_NEW_TOKENS, context // 2)


def prompt_room(context: int, new_tokens: int, field: str) -> int:
    """Tokens that a prompt may have. Raises InvalidRequest, by `field`, if that is next to none."""
    if context - new_tokens < MIN_PROMPT:
        raise InvalidRequest(
            f"{field}: {new_tokens} leaves no room for a prompt in a context of {context}"
        )
    return context - new_tokens


def _known(name: str, ids: Sequence[int] | None, tokenizer: Tokenizer) -> Sequence[int]:
    for token in ids or ():
        if token >= tokenizer.size:
            raise InvalidRequest(f"{name}: {token} is not below {tokenizer.size}")
    return ids or ()
