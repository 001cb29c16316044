"""What the HTTP side asks of the engine, and what comes back: data that crosses threads."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from .errors import EngineError
from .prompt import Prompt
from .sampling import SamplingParams

FinishReason = Literal["stop", "length"]
# Who goes first: while anyone types, nothing else takes a step.
Lane = Literal["inline", "completion", "chat"]
LANES: tuple[Lane, ...] = get_args(Lane)


@dataclass(frozen=True)
class Usage:
    """Token counts of one request. Computed in prefill = prompt - cached - healed."""

    prompt: int = 0
    cached: int = 0
    healed: int = 0
    generated: int = 0
    drafted: int = 0  # tokens guessed from earlier text, and how many of them were right
    accepted: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Timings:
    """Milliseconds: waiting for the engine, until the first token, from then to the end."""

    queue_ms: float
    prefill_ms: float
    decode_ms: float


@dataclass(frozen=True)
class TextEvent:
    """Text that is certain now, and the tokens since the last such event.

    Either may lag behind the other: a token may end inside a character or a possible stop string.
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[dict[int, float], ...] = ()  # one for each token, if asked for


@dataclass(frozen=True)
class FinishEvent:
    """The last event of a request that went well. `stop`: the string or token that ended it."""

    reason: FinishReason
    stop: str | None
    usage: Usage
    timings: Timings


@dataclass(frozen=True)
class ErrorEvent:
    error: EngineError


Event = TextEvent | FinishEvent | ErrorEvent


@dataclass(frozen=True)
class Limits:
    """Where a generation ends. The model's own end tokens count unless `ignore_eos`."""

    max_tokens: int
    min_tokens: int = 0  # until then no token is chosen that would end it
    stops: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    show_special: bool = False  # control tokens appear in the text, by their piece


@dataclass(frozen=True, eq=False)
class Request:
    """One generation. `deliver` is called from the engine's thread, once per event."""

    prompt: Prompt
    limits: Limits
    sampling: SamplingParams
    deliver: Callable[[Event], None]
    lane: Lane = "completion"
    arrived: float = field(default_factory=time.monotonic)
