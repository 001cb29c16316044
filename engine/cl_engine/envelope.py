"""Events of a generation in OpenAI's JSON, whole or as server-sent events; its errors too."""

import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import EngineError
from .request import Event, FinishEvent, PromptEvent, TextEvent, Timings, Usage
from .tokenizer import Tokenizer

Numbered = tuple[int, Event]  # whose event it is, of the answers that one call wants
Logprobs = dict[int, float]  # of a token: the chosen one first, then the likeliest


def error_body(error: EngineError, field: str | None = None) -> dict[str, Any]:
    """`field` of the request is what was wrong."""
    body = {"message": str(error), "type": error.kind, "param": field, "code": error.code}
    return {"error": body}


@dataclass
class Answer:
    """What there is of one answer. `bare`: its first piece has a space that its text has not."""

    text: str = ""
    bare: bool = False
    tokens: list[int] = field(default_factory=list)
    logprobs: list[Logprobs] = field(default_factory=list)
    end: FinishEvent | None = None

    def add(self, event: Event) -> None:
        if isinstance(event, PromptEvent):
            self.tokens += event.tokens
            self.logprobs += event.logprobs
        elif isinstance(event, TextEvent):
            self.text += event.text
            self.tokens += event.tokens
            self.logprobs += event.logprobs
        elif isinstance(event, FinishEvent):
            self.end = event


class Envelope:
    """Events in OpenAI's JSON, plus `stop_reason` and `timings`. Subclasses shape the choices.

    reported: How many of the likeliest tokens are told beside each chosen one; None: nothing is.
    each: So many answers belong to one prompt, one after the other.
    echo: Texts that the answers of each prompt begin with.
    """

    prefix, whole_object, chunk_object = "", "", ""

    def __init__(
        self,
        model: str,
        tokenizer: Tokenizer,
        reported: int | None = None,
        each: int = 1,
        echo: Sequence[str] = (),
    ):
        self._tokenizer, self._reported, self._each, self._echo = tokenizer, reported, each, echo
        self._common = {
            "id": f"{self.prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def content(self, text: str) -> dict[str, Any]:
        """Where the text of a whole answer stands in its choice."""
        raise NotImplementedError

    def delta(self, text: str, first: bool) -> dict[str, Any]:
        """Where a piece of it stands in a chunk's choice."""
        return self.content(text)

    def report(self, answer: Answer, offset: int) -> dict[str, Any]:
        """Log-probabilities of its tokens, whose text begins at `offset` of the whole answer."""
        raise NotImplementedError

    def _piece(self, token: int) -> str:
        return self._tokenizer.render([token])

    def _pieces(self, answer: Answer) -> list[str]:
        pieces = [self._piece(token) for token in answer.tokens]
        if answer.bare and pieces:
            pieces[0] = pieces[0].removeprefix(" ")
        return pieces

    def _likeliest(self, logprobs: Logprobs) -> list[tuple[int, float]]:
        ranked = sorted(logprobs.items(), key=lambda pair: -pair[1])
        return ranked[: self._reported]

    def _choice(
        self, number: int, content: dict[str, Any], answer: Answer, offset: int
    ) -> dict[str, Any]:
        told, end = self._reported is not None, answer.end
        return {
            "index": number,
            **content,
            "logprobs": self.report(answer, offset) if told else None,
            "finish_reason": end.reason if end else None,
            "stop_reason": end.stop if end else None,
        }

    def _begin(self, number: int) -> tuple[Answer, int]:
        """An answer, and where its first token's text will begin: a prompt that is told is scored
        if anything is."""
        text = self._echo[number // self._each] if self._echo else ""
        return Answer(text), 0 if self._reported is not None else len(text)

    def _shown(self, event: Event, answer: Answer) -> Event:
        """Of a text its BOS is no part."""
        if isinstance(event, PromptEvent):
            bos = self._tokenizer.bos
            answer.bare = event.tokens[0] == bos and not answer.text.startswith(self._piece(bos))
            if answer.bare:
                return PromptEvent(event.tokens[1:], event.logprobs[1:])
        return event

    async def whole(self, events: AsyncIterator[Numbered], answers: int) -> dict[str, Any]:
        got, offsets = zip(*map(self._begin, range(answers)), strict=True)
        async for number, event in events:
            got[number].add(self._shown(event, got[number]))
        choices = [
            self._choice(number, self.content(answer.text), answer, offsets[number])
            for number, answer in enumerate(got)
        ]
        # No end: the client has gone.
        body = self._common | {"object": self.whole_object, "choices": choices}
        return body | _counts([answer.end for answer in got if answer.end], self._each)

    async def chunks(
        self, events: AsyncIterator[Numbered], answers: int, with_usage: bool
    ) -> AsyncGenerator[bytes]:
        """Server-sent events; an error after the first one ends the stream as an `error` object."""
        told = self._reported is not None
        pending, offsets = map(list, zip(*map(self._begin, range(answers)), strict=True))
        begun: set[int] = set()
        ends: list[FinishEvent] = []
        try:
            async for number, event in events:
                answer = pending[number]
                answer.add(self._shown(event, answer))
                if not (answer.text or answer.end or (told and answer.tokens)):
                    continue
                content = self.delta(answer.text, number not in begun)
                yield self._data([self._choice(number, content, answer, offsets[number])])
                begun.add(number)
                if told:
                    offsets[number] += len("".join(self._pieces(answer)))
                if answer.end is not None:
                    ends.append(answer.end)
                pending[number] = Answer()
            if with_usage and ends:
                yield self._data([], _counts(ends, self._each))
        except EngineError as error:
            yield data(error_body(error))
        yield b"data: [DONE]\n\n"

    def _data(self, choices: list[dict[str, Any]], more: dict[str, Any] | None = None) -> bytes:
        fields = {"object": self.chunk_object, "choices": choices}
        return data(self._common | fields | (more or {}))


class TextEnvelope(Envelope):
    prefix, whole_object, chunk_object = "cmpl", "text_completion", "text_completion"

    def content(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def report(self, answer: Answer, offset: int) -> dict[str, Any]:
        pieces, offsets = self._pieces(answer), list[int]()
        for piece in pieces:
            offsets.append(offset)
            offset += len(piece)
        told = list(zip(answer.tokens, answer.logprobs, strict=True))
        return {
            "tokens": pieces,
            # Nothing came before a prompt's first token, which has none.
            "token_logprobs": [own.get(i) for i, own in told],
            "top_logprobs": [
                {self._piece(i): value for i, value in self._likeliest(own)} if own else None
                for _, own in told
            ],
            "text_offset": offsets,
        }


class ChatEnvelope(Envelope):
    prefix, whole_object = "chatcmpl", "chat.completion"
    chunk_object = "chat.completion.chunk"

    def content(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def delta(self, text: str, first: bool) -> dict[str, Any]:
        content = {"content": text} if text else {}
        return {"delta": ({"role": "assistant"} if first else {}) | content}

    def report(self, answer: Answer, offset: int) -> dict[str, Any]:
        def one(token: int, value: float) -> dict[str, Any]:
            raw = list(self._tokenizer.to_bytes([token]))
            return {"token": self._piece(token), "logprob": value, "bytes": raw}

        content = [
            one(chosen, own[chosen])
            | {"top_logprobs": [one(i, value) for i, value in self._likeliest(own)]}
            for chosen, own in zip(answer.tokens, answer.logprobs, strict=True)
        ]
        return {"content": content, "refusal": None}


def data(fields: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def total(ends: list[FinishEvent], each: int) -> tuple[Usage, Timings]:
    """Of all answers together: the sum of what was used, and the longest of each phase.

    A prompt counts once, however many answers it has, as OpenAI counts it.
    """
    usage = {name: sum(getattr(end.usage, name) for end in ends) for name in asdict(Usage())} | {
        "prompt": sum(end.usage.prompt for end in ends) // each
    }
    names = ("queue_ms", "prefill_ms", "decode_ms")
    timings = {name: max(getattr(end.timings, name) for end in ends) for name in names}
    return Usage(**usage), Timings(**timings)


def _counts(ends: list[FinishEvent], each: int) -> dict[str, Any]:
    if not ends:
        return {}
    usage, timings = total(ends, each)
    return {
        "usage": {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.generated,
            "total_tokens": usage.prompt + usage.generated,
            "prompt_tokens_details": {
                "cached_tokens": usage.cached,
                "computed_tokens": usage.computed,
                "healed_tokens": usage.healed,
                "dropped_characters": usage.dropped,
            },
            "completion_tokens_details": {
                "accepted_prediction_tokens": usage.accepted,
                "rejected_prediction_tokens": usage.drafted - usage.accepted,
            },
        },
        "timings": {name: round(ms, 2) for name, ms in asdict(timings).items()},
    }
