"""What the HTTP side asks of the engine, and what comes back: data that crosses threads."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from .errors import EngineError
from .prompt import Prompt
from .sampling import SamplingParams
from .structure import StopRules

FinishReason = Literal["stop", "length"]
# Who goes first: while anyone types, nothing else takes a step.
Lane = Literal["inline", "completion", "chat"]
LANES: tuple[Lane, ...] = get_args(Lane)


@dataclass(frozen=True)
class Usage:
    """Token counts of one request. prompt = cached + healed + what had to be computed."""

    prompt: int = 0
    cached: int = 0
    computed: int = 0  # prompt tokens that went through the model; twice if it was preempted
    healed: int = 0
    generated: int = 0
    drafted: int = 0  # tokens guessed from earlier text, and how many of them were right
    accepted: int = 0
    dropped: int = 0
    preempted: int = 0  # times that it had to give its pages to another


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
class PromptEvent:
    """Before all text: a scored prompt's tokens, and what each was given; nothing of the first."""

    tokens: tuple[int, ...]
    logprobs: tuple[dict[int, float], ...]


@dataclass(frozen=True)
class FinishEvent:
    """The last event of a request that went well. `stop` names what ended it.

    A stop string, or of the model's tokens `eot`, `eos`, `step`, `control` or `token N`, or of the
    text's structure `line`, `block`, `suffix`, or `max_tokens`, `context`, `memory`, `time`, or
    `adopted`, `superseded` if another request followed it.
    """

    reason: FinishReason
    stop: str
    usage: Usage
    timings: Timings


@dataclass(frozen=True)
class ErrorEvent:
    error: EngineError


Event = PromptEvent | TextEvent | FinishEvent | ErrorEvent


@dataclass(frozen=True)
class Limits:
    """Where a generation ends. The model's own end tokens count unless `ignore_eos`."""

    max_tokens: int
    min_tokens: int = 0  # until then no token is chosen that would end it
    stops: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    show_special: bool = False  # control tokens appear in the text, by their piece
    structure: StopRules | None = None
    budget_ms: float | None = None  # from its arrival; it ends with what there is


@dataclass(frozen=True)
class Origin:
    """Whose request it is, and what became before it; all are any text, "" says nothing.

    client: Whose turn it takes: the engine's time is shared fairly between clients.
    document: Of the requests that wait for one client and document the newest goes first.
    name: What a later request of the client may call it by.
    follows: The name of the one it follows at the same cursor, to be taken over or ended.
    """

    client: str = ""
    document: str = ""
    name: str = ""
    follows: str = ""


@dataclass(frozen=True, eq=False)
class Request:
    """One generation. `deliver` is called from the engine's thread, once per event."""

    prompt: Prompt
    limits: Limits
    sampling: SamplingParams
    deliver: Callable[[Event], None]
    lane: Lane = "completion"
    origin: Origin = field(default_factory=Origin)
    arrived: float = field(default_factory=time.monotonic)
