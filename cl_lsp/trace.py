"""What became of the last requests: what was asked, where the answer came from, why there was none.

A record keeps what is there anyway and computes nothing: a key is not to wait for it.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .completion import Suggestion
from .documents import Snapshot, name_of
from .reasons import sentence

KEPT = 50  # requests; each holds at most the windows that were sent


@dataclass(slots=True, eq=False)
class Record:
    """One request. `source` is who answered: "typed" is the cache, "none" nobody was asked."""

    method: str
    uri: str
    line: int | None  # from 0
    language: str
    at: float = field(default_factory=time.time)
    began: float = field(default_factory=time.perf_counter)
    source: str = "none"
    reason: str = ""  # why there is nothing
    detail: str = ""  # what an error said
    total_ms: float = 0.0
    found: Suggestion | None = None

    def told(self, source: str) -> None:
        self.source = source

    def ends(self, found: Suggestion | None, reason: str = "", detail: str = "") -> None:
        self.total_ms = (time.perf_counter() - self.began) * 1e3
        self.found, self.reason, self.detail = found, reason, detail

    def shown(self, text: bool = False) -> dict[str, Any]:
        """For the wire. `text`: with what was sent and what came, not only their lengths."""
        found = self.found or Suggestion()
        usage, timings, asked = found.usage, found.timings, found.request
        prompt = asked and {
            "prefix": len(asked.prompt),
            "suffix": len(asked.suffix or ""),
            "snippets": {name: len(code) for name, code in asked.input_extra},
        }
        shown = {
            "at": time.strftime("%H:%M:%S", time.localtime(self.at)),
            "method": self.method,
            "document": self.uri,
            "line": None if self.line is None else self.line + 1,
            "language": self.language,
            "source": self.source,
            "characters": len(found.text),
            "reason": self.reason or None,
            "why": self.detail or (sentence(self.reason) if self.reason else None),
            "ended_by": found.stop_reason or None,
            "filters": list(found.filters),
            "rules": list(asked.stop_at) if asked else [],
            "prompt": prompt,
            "prompt_tokens": usage.get("prompt_tokens"),
            "cached_tokens": (usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
            "completion_tokens": usage.get("completion_tokens"),
            "ms": {"total": round(self.total_ms, 2)} | _spent(timings),
        }
        # Of a shared or prefetched answer most was over before the request came.
        if self.source == "engine" and timings:
            shown["ms"]["wait"] = round(max(0.0, self.total_ms - sum(_spent(timings).values())), 2)
        if text:
            shown["text"] = found.text
            shown["sent"] = asked and {
                "prefix": asked.prompt,
                "suffix": asked.suffix,
                "snippets": dict(asked.input_extra),
            }
        return shown


def _spent(timings: dict[str, float]) -> dict[str, float]:
    return {name.removesuffix("_ms"): ms for name, ms in timings.items() if name.endswith("_ms")}


class Trace:
    """The last requests, the newest last."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=KEPT)

    def begin(self, method: str, snapshot: Snapshot) -> Record:
        return self.add(Record(method, snapshot.uri, snapshot.line, snapshot.language))

    def add(self, record: Record) -> Record:
        self._records.append(record)
        return record

    def shown(self, text: bool = False) -> list[dict[str, Any]]:
        return [record.shown(text) for record in self._records]


def markdown(requests: list[dict[str, Any]]) -> str:
    """For people: a table, the newest first; below it each silence in a sentence, and texts."""
    return "\n".join(_lines(requests[::-1])) + "\n"


def _lines(requests: list[dict[str, Any]]) -> Iterator[str]:
    yield "# cl-lsp: the last requests\n"
    if not requests:
        yield "There was none yet."
        return
    yield "| at | place | by | shown | from | prompt characters | tokens (cached) | ms | end |"
    yield "| --- | --- | --- | --: | --- | --- | --- | --- | --- |"
    for one in requests:
        cells = [one["at"], _place(one), one["method"], one["characters"] or "–", one["source"]]
        end = one["reason"] or one["ended_by"] or ""
        cut = f" (cut by {', '.join(one['filters'])})" if one["filters"] else ""
        cells += [_prompt(one), _tokens(one), _times(one), end + cut]
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
    whys = {one["reason"]: one["why"] for one in requests if one["reason"]}
    if whys:
        yield "\n## Why there was nothing\n"
        yield from (f"- `{reason}`: {why}" for reason, why in whys.items())
    for one in requests:
        if one.get("sent"):
            yield f"\n## {one['at']} {_place(one)}\n"
            parts = [("prefix", one["sent"]["prefix"]), ("suffix", one["sent"]["suffix"] or "")]
            for name, code in (*one["sent"]["snippets"].items(), *parts, ("answer", one["text"])):
                # A fence that the text cannot close.
                yield f"{name}:\n~~~~~~~~\n{code}\n~~~~~~~~"


def _place(one: dict[str, Any]) -> str:
    name = name_of(one["document"])
    return name if one["line"] is None else f"{name}:{one['line']}"


def _prompt(one: dict[str, Any]) -> str:
    if (prompt := one["prompt"]) is None:
        return ""
    snippets = prompt["snippets"]
    more = f" + {sum(snippets.values())} in {len(snippets)} snippets" if snippets else ""
    return f"{prompt['prefix']} + {prompt['suffix']}{more}"


def _tokens(one: dict[str, Any]) -> str:
    if one["prompt_tokens"] is None:
        return ""
    return f"{one['prompt_tokens']} ({one['cached_tokens'] or 0}) → {one['completion_tokens']}"


def _times(one: dict[str, Any]) -> str:
    parts = {name: value for name, value in one["ms"].items() if name != "total"}
    inner = ", ".join(f"{name} {value:.1f}" for name, value in parts.items())
    return f"{one['ms']['total']:.1f}" + (f" ({inner})" if inner else "")
