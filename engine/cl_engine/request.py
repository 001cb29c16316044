"""What the HTTP side asks of the engine, and what comes back: data that crosses threads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from .errors import EngineError
from .prompt import Prompt
from .sampling import SamplingParams

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Usage:
    """Token counts of one request. Computed in prefill = prompt - cached - healed."""

    prompt: int = 0
    cached: int = 0
    healed: int = 0
    generated: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Timings:
    """Milliseconds: waiting for the engine, until the first token, from then to the end."""

    queue_ms: float
    prefill_ms: float
    decode_ms: float


@dataclass(frozen=True)
class TextEvent:
    text: str


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


@dataclass(frozen=True, eq=False)
class Request:
    """One generation. `deliver` is called from the engine's thread, once per event."""

    prompt: Prompt
    max_tokens: int
    sampling: SamplingParams
    stops: tuple[str, ...]
    deliver: Callable[[Event], None]
    arrived: float = field(default=0.0)  # time.monotonic()
