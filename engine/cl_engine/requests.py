"""What clients ask for on the wire: OpenAI's two requests, llama.cpp's `/infill`, and token ids.

Each checks itself and says what it means to the engine; nothing runs here. A field that is not
named is ignored, one that would change the answer and cannot be had is refused.
"""

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, Field, field_validator, model_validator

from .generation import MAX_LOGPROBS
from .prompt import Order
from .request import Lane, Limits, Origin
from .sampling import SamplingParams
from .structure import Rule, StopRules

MAX_NAME = 256  # characters of what clients call themselves and their requests
MAX_ANSWERS = 128  # of one request: prompts times n
DEFAULT_COMPLETION = 16  # tokens, OpenAI's own default of this endpoint
Token = Annotated[int, Field(ge=0)]


class StreamOptions(BaseModel):
    include_usage: bool = False


class GenerationRequest(BaseModel):
    """What all kinds of requests have; of the fields from `top_k` on only `user` is OpenAI's."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, ge=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    n: int = Field(default=1, ge=1, le=MAX_ANSWERS)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    logit_bias: dict[Token, Annotated[float, Field(ge=-100, le=100)]] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    top_k: int = Field(default=0, ge=0, description="0 keeps all")
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    min_tokens: int = Field(default=0, ge=0)
    ignore_eos: bool = False
    lane: Lane = "completion"
    user: str = Field(default="", max_length=MAX_NAME)
    document: str = Field(default="", max_length=MAX_NAME)
    request_id: str = Field(default="", max_length=MAX_NAME)
    follows: str = Field(default="", max_length=MAX_NAME)
    time_budget_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @property
    def biased(self) -> list[int]:
        return list(self.logit_bias or {})

    @property
    def reported(self) -> int | None:
        """How many of the likeliest tokens are told beside each chosen one; None: nothing is."""
        raise NotImplementedError

    def limits(self, max_tokens: int, more_stops: tuple[str, ...] = ()) -> Limits:
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Limits(
            max_tokens,
            self.min_tokens,
            (*more_stops, *stop),
            ignore_eos=self.ignore_eos,
            structure=self.structure(),
            budget_ms=self.time_budget_ms,
        )

    def structure(self) -> StopRules | None:
        """Where the text ends by itself; only what completes a text has such rules."""
        return None

    def origin(self) -> Origin:
        return Origin(self.user, self.document, self.request_id, self.follows)

    def sampling(self, answer: int = 0) -> SamplingParams:
        """Of the answer of this number to one prompt: a seed s becomes s, s+1, …"""
        return SamplingParams(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            bias=tuple(sorted((self.logit_bias or {}).items())),
            seed=None if self.seed is None else self.seed + answer,
            logprobs=0 if self.reported is None else max(1, self.reported),
        )


class Snippet(BaseModel):
    """A piece of another file, as llama.cpp's clients send it."""

    text: str
    filename: str = ""


class CompletionRequest(GenerationRequest):
    """`/v1/completions` as OpenAI defines it. With a `suffix` it is an infilling request."""

    prompt: str | list[str] | list[Token] | list[list[Token]]
    suffix: str | None = None
    best_of: int | None = Field(default=None, ge=1)
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)
    order: Order | None = Field(default=None, description="of an infilling prompt")
    input_extra: list[Snippet] = Field(default=[], description="with a suffix: other files' text")
    stop_at: list[Rule] = []
    language: str = Field(default="", max_length=MAX_NAME)

    @field_validator("prompt", mode="before")
    @classmethod
    def _some(cls, prompt: Any) -> Any:
        several = prompt if isinstance(prompt, list) else [prompt]
        if {type(one) for one in several} not in ({str}, {int}, {list}) or prompt in (0, []):
            raise ValueError("give a text, a list of texts, token ids, or lists of token ids")
        if [] in several:
            raise ValueError("an empty list is no prompt")
        if isinstance(prompt, int):
            raise ValueError("give token ids as a list")
        return prompt

    @model_validator(mode="after")
    def _consistent(self) -> "CompletionRequest":
        if self.best_of not in (None, self.n):
            raise ValueError("best_of must be n: no more answers are made than are returned")
        if len(self.prompts) * self.n > MAX_ANSWERS:
            raise ValueError(f"prompts times n must be at most {MAX_ANSWERS}")
        if self.echo and self.suffix is not None:
            raise ValueError("echo: not with a suffix")
        one = self.prompts[0]
        if self.suffix is not None and not (isinstance(one, str) and len(self.prompts) == 1):
            raise ValueError("suffix: the prompt must be one text")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or more texts, or lists of token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]  # pyright: ignore[reportReturnType]
        return list(self.prompt)  # pyright: ignore[reportReturnType]

    @property
    def reported(self) -> int | None:
        return self.logprobs

    @property
    def scored(self) -> bool:
        """Whether the log-probabilities of the prompt's own tokens are told."""
        return self.echo and self.logprobs is not None

    def structure(self) -> StopRules | None:
        one = self.prompts[0]
        if not self.stop_at or not isinstance(one, str):
            return None
        return StopRules(frozenset(self.stop_at), one, self.suffix or "", self.language)


class ChatRequest(GenerationRequest):
    """`/v1/chat/completions` as OpenAI defines it, text only."""

    messages: list[dict[str, Any]]
    lane: Lane = "chat"
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _possible(self) -> "ChatRequest":
        if self.tools or self.functions:
            raise ValueError("tools: Code Llama was not trained to call any")
        if self.response_format and self.response_format.get("type", "text") != "text":
            raise ValueError("response_format: only text can be had")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: only with logprobs true")
        return self

    @property
    def reported(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None


class InfillRequest(BaseModel):
    """llama.cpp's `/infill`, as its editor plugins use it; what only steers its sampler is ignored.

    Source: ggml-org/llama.cpp `tools/server/README.md`, ggml-org/llama.vim.
    """

    model: str | None = None
    input_prefix: str = ""
    input_suffix: str = ""
    input_extra: list[Snippet] = []
    prompt: str = Field(default="", description="what stands between prefix and cursor")
    n_predict: int = Field(
        default=128, ge=-1, validation_alias=AliasChoices("n_predict", "max_tokens")
    )
    temperature: float = Field(default=0.0, ge=0)
    top_k: int = Field(default=40, ge=0)
    top_p: float = Field(default=0.95, ge=0, le=1)
    min_p: float = Field(default=0.05, ge=0, le=1)
    seed: int = Field(default=-1, ge=-1, lt=2**63)
    stop: list[str] = []
    t_max_predict_ms: float = Field(default=0, ge=0, allow_inf_nan=False)
    stream: bool = False
    id_slot: int = -1

    def completion(self) -> CompletionRequest:
        """The same as a request of OpenAI's kind."""
        return CompletionRequest(
            prompt=self.input_prefix + self.prompt,
            suffix=self.input_suffix,
            max_tokens=max(1, self.n_predict) if self.n_predict >= 0 else 128,  # 0: only read
            temperature=min(self.temperature, 2.0),
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            seed=None if self.seed < 0 else self.seed,
            stop=self.stop,
            time_budget_ms=self.t_max_predict_ms or None,
            input_extra=self.input_extra,
            lane="inline",
            user="infill",
            stream=self.stream,
        )


class ModelRequest(BaseModel):
    """llama.cpp's router's: one of its models."""

    model: str


class TokenizeRequest(BaseModel):
    """llama.cpp's `content`, or vLLM's `prompt`."""

    model: str | None = None
    content: str | None = None
    prompt: str | None = None
    add_special: bool = Field(
        default=False,
        validation_alias=AliasChoices("add_special", "add_special_tokens"),
        description="BOS before the text",
    )
    with_pieces: bool = False

    @model_validator(mode="after")
    def _one(self) -> "TokenizeRequest":
        if (self.content is None) == (self.prompt is None):
            raise ValueError("give either content or prompt, a text")
        return self


class DetokenizeRequest(BaseModel):
    model: str | None = None
    tokens: list[Token]
