"""What is asked of an engine, and what comes back, whoever it is."""

import secrets
from dataclasses import dataclass
from typing import Any

USER = secrets.token_hex(8)  # one language server is one user of the engine's time


@dataclass(frozen=True)
class CompletionRequest:
    """One completion. With a suffix it is an infilling request.

    `document` and `language` are the document's, `stop_at` the rules that end the text, `follows`
    the `request_id` of the request whose typing this one continues, `input_extra` names and texts
    of pieces of other files; `lane` says how urgent it is, `n` how many answers are wanted.
    """

    prompt: str
    suffix: str | None
    model: str | None
    max_tokens: int
    document: str
    language: str
    stop_at: tuple[str, ...]
    request_id: str
    follows: str | None = None
    temperature: float = 0.0
    input_extra: tuple[tuple[str, str], ...] = ()
    lane: str = "inline"
    n: int = 1
    seed: int | None = None

    def body(self) -> dict[str, Any]:
        """For an engine of ours."""
        fields = {
            "prompt": self.prompt,
            "suffix": self.suffix,
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "lane": self.lane,
            "n": self.n if self.n > 1 else None,
            "seed": self.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
            "user": USER,
            "document": self.document,
            "language": self.language,
            "stop_at": list(self.stop_at),
            "request_id": self.request_id,
            "follows": self.follows,
            "input_extra": [{"filename": n, "text": t} for n, t in self.input_extra] or None,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class ChatRequest:
    """OpenAI's messages, the last one the user's."""

    messages: list[dict[str, str]]
    model: str | None
    max_tokens: int
    temperature: float = 0.0

    def body(self) -> dict[str, Any]:
        """For any engine."""
        fields = {
            "messages": self.messages,
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Chunk:
    """A piece of text, or, as the last one, why it ended, the token counts and the timings.

    `stop_reason` names what ended it; an engine that is not ours may leave it out. `index` is the
    number of the answer, of several.
    """

    text: str = ""
    finish_reason: str | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, float] | None = None
    index: int = 0

    def then(self, more: "Chunk") -> "Chunk":
        """Both as one."""
        return Chunk(
            self.text + more.text,
            more.finish_reason or self.finish_reason,
            more.stop_reason or self.stop_reason,
            more.usage or self.usage,
            more.timings or self.timings,
            self.index,
        )
