"""Events of an infilling in llama.cpp's JSON, as its editor plugins read it.

Source: ggml-org/llama.cpp `tools/server/README.md`, `POST /completion` and `POST /infill`.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from .envelope import Answer, Numbered, data, error_body
from .errors import EngineError
from .request import FinishEvent

STOP_TYPES = {"eot": "eos", "eos": "eos", "max_tokens": "limit", "context": "limit"} | {
    "memory": "limit",
    "time": "limit",
}  # all else is a stop word, or the end of the text's structure


class InfillEnvelope:
    """`silent`: only the prompt was to be read, the text is not told."""

    def __init__(self, model: str, silent: bool = False):
        self._model, self._silent = model, silent

    async def whole(self, events: AsyncIterator[Numbered], answers: int) -> dict[str, Any]:
        answer = Answer()
        async for _, event in events:
            answer.add(event)
        return self._end(answer)

    async def chunks(
        self, events: AsyncIterator[Numbered], answers: int, with_usage: bool
    ) -> AsyncGenerator[bytes]:
        """Server-sent events, the last with `stop` true. There is no `[DONE]`."""
        answer = Answer()
        try:
            async for _, event in events:
                answer.add(event)
                if answer.end is not None:
                    yield data(self._end(answer))
                elif answer.text:
                    yield data({"index": 0, **self._content(answer), "stop": False})
                    answer = Answer()
        except EngineError as error:
            yield data(error_body(error))

    def _content(self, answer: Answer) -> dict[str, Any]:
        shown = Answer() if self._silent else answer
        return {"content": shown.text, "tokens": shown.tokens, "id_slot": -1}

    def _end(self, answer: Answer) -> dict[str, Any]:
        counts = _counts(answer.end, self._silent) if answer.end else {}
        return {"index": 0, **self._content(answer), "stop": True, "model": self._model, **counts}


def _counts(end: FinishEvent, silent: bool) -> dict[str, Any]:
    usage, timings = end.usage, end.timings
    generated = 0 if silent else usage.generated
    kind = STOP_TYPES.get(end.stop, "eos" if end.stop.startswith("token ") else "word")

    def rate(name: str, n: int, ms: float) -> dict[str, float]:
        return {
            f"{name}_n": n,
            f"{name}_ms": round(ms, 3),
            f"{name}_per_token_ms": round(ms / max(n, 1), 4),
            f"{name}_per_second": round(1e3 * n / max(ms, 1e-3), 2),
        }

    return {
        "stop_type": kind,
        "stopping_word": end.stop if kind == "word" else "",
        "tokens_predicted": generated,
        "tokens_evaluated": usage.prompt,
        "tokens_cached": usage.cached,
        "truncated": usage.dropped > 0,
        "timings": {
            "cache_n": usage.cached,
            **rate("prompt", usage.computed, timings.prefill_ms),
            **rate("predicted", generated, timings.decode_ms),
        },
    }
