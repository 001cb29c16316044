"""Events of a generation in OpenAI's JSON, whole or as server-sent events; its errors too."""

import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from typing import Any

from .errors import EngineError
from .request import Event, FinishEvent, TextEvent


def error_body(error: EngineError) -> dict[str, Any]:
    body = {"message": str(error), "type": error.kind, "param": None, "code": None}
    return {"error": body}


class Envelope:
    """Events in OpenAI's JSON, plus `stop_reason` and `timings`. Subclasses shape the choices."""

    prefix, whole_object, chunk_object = "", "", ""

    def __init__(self, model: str):
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

    def _choice(self, content: dict[str, Any], end: FinishEvent | None) -> dict[str, Any]:
        return {
            "index": 0,
            **content,
            "logprobs": None,
            "finish_reason": end.reason if end else None,
            "stop_reason": end.stop if end else None,
        }

    async def whole(self, events: AsyncIterator[Event]) -> dict[str, Any]:
        text, end = "", None
        async for event in events:
            if isinstance(event, TextEvent):
                text += event.text
            elif isinstance(event, FinishEvent):
                end = event
        choices = [self._choice(self.content(text), end)]
        # No end: the client has gone.
        body = self._common | {"object": self.whole_object, "choices": choices}
        return body | (_counts(end) if end else {})

    async def chunks(self, events: AsyncIterator[Event], with_usage: bool) -> AsyncGenerator[bytes]:
        """Server-sent events; an error after the first one ends the stream as an `error` object."""
        first = True
        try:
            async for event in events:
                if isinstance(event, TextEvent) and event.text:
                    yield self._sse([self._choice(self.delta(event.text, first), None)])
                    first = False
                elif isinstance(event, FinishEvent):
                    yield self._sse([self._choice(self.delta("", first), event)])
                    if with_usage:
                        yield self._sse([], _counts(event))
        except EngineError as error:
            yield _data(error_body(error))
        yield b"data: [DONE]\n\n"

    def _sse(self, choices: list[dict[str, Any]], more: dict[str, Any] | None = None) -> bytes:
        fields = {"object": self.chunk_object, "choices": choices}
        return _data(self._common | fields | (more or {}))


class TextEnvelope(Envelope):
    prefix, whole_object, chunk_object = "cmpl", "text_completion", "text_completion"

    def content(self, text: str) -> dict[str, Any]:
        return {"text": text}


class ChatEnvelope(Envelope):
    prefix, whole_object = "chatcmpl", "chat.completion"
    chunk_object = "chat.completion.chunk"

    def content(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def delta(self, text: str, first: bool) -> dict[str, Any]:
        content = {"content": text} if text else {}
        return {"delta": ({"role": "assistant"} if first else {}) | content}


def _data(fields: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def _counts(end: FinishEvent) -> dict[str, Any]:
    usage = end.usage
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
        "timings": {name: round(ms, 2) for name, ms in asdict(end.timings).items()},
    }
