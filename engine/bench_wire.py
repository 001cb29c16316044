"""What the way to the engine and back costs beside the engine: a measurement of `bench.py`.

`wire` asks as an editor does, with its client, a daemon in a process of its own. It is the user's,
embedded model and all, but for its steps: `bench_wire.py SOCKET STAMPS STEP` is it, and STEP the
seconds that each takes.
"""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench_peers import Lab, Result
from bench_texts import TYPING, Place, files, held_out
from cl_engine import __main__ as command_line
from cl_engine import loop, serve
from cl_engine.facts import read_facts
from cl_engine.machine import Rows
from cl_engine.models.llama import Span
from cl_engine.ngram import by_row
from cl_engine.prompt import infilling_prompt
from cl_engine.sampling import Choice
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from cl_lsp.client import EngineClient, opaque
from cl_lsp.context import Windows
from cl_lsp.exchange import Chunk, CompletionRequest
from cl_lsp.wire import Address

START_S = 60  # seconds; a daemon that takes longer is an error
ROOM = 4096  # tokens of a prompt; more than there are


@dataclass(frozen=True)
class Script:
    """A machine that knows the token of each position, and needs `step_s` seconds for a step.

    While it is waited for the other thread has its turn, as with a machine that computes.
    """

    ids: Sequence[int]
    step_s: float
    kind = "a script"
    chooses = ahead = True
    draft_cost = staticmethod(by_row)

    def launch(self, spans: list[Span], choices: Sequence[Choice | None]) -> Callable[[], Rows]:
        due = time.perf_counter() + self.step_s
        rows: Rows = []
        for span in spans:
            if span.rows:  # what was healed comes again as it was typed
                rows += span.ids[len(span.ids) - span.rows + 1 :]
                rows.append(self.ids[span.end % len(self.ids)])
        assert len(rows) == len(choices)

        def wait() -> Rows:
            time.sleep(max(0.0, due - time.perf_counter()))
            return rows

        return wait


def script(step_s: float) -> Script:
    """Code of a held-out file, in one line, so that no rule ends an answer."""
    line = " ".join(files()[TYPING].split())
    return Script(read_facts("embedded").tokenizer.encode_infilling(line), step_s)


class Stamped:
    """The ASGI application, and of each answer when it was called and when it told its first event.

    The clock is one for all processes (CLOCK_MONOTONIC).
    """

    def __init__(self, app: FastAPI):
        self._app, self.stamps = app, list[tuple[float, float]]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        called, told = time.perf_counter(), False

        async def stamped(message: Message) -> None:
            nonlocal told
            if scope.get("path") == "/v1/completions" and message.get("body") and not told:
                told = True
                self.stamps.append((called, time.perf_counter()))
            await send(message)

        await self._app(scope, receive, stamped)


def daemon(uds: str, stamps: str, step_s: str) -> None:
    """Serve until told to stop, and leave the stamps in that file."""
    made: list[Stamped] = []

    def create_app(*arguments: Any) -> Stamped:
        made.append(Stamped(create(*arguments)))
        return made[0]

    machine, create = script(float(step_s)), serve.create_app
    sys.argv[1:] = ["serve", "embedded", "--no-drafts", "--uds", uds]
    with (
        patch.object(loop, "machine_for", lambda *_: lambda *_: machine),
        patch.object(serve, "create_app", create_app),
    ):
        command_line.main()
    Path(stamps).write_text(json.dumps(made[0].stamps))


@contextlib.contextmanager
def served(folder: Path, step_s: float) -> Iterator[Path]:
    """The daemon's socket. At its end the stamps are in `folder`."""
    uds, log = folder / "e.sock", folder / "log"
    command = [sys.executable, __file__, str(uds), str(folder / "stamps"), str(step_s)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + START_S
        while "serving " not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.02)
        yield uds
    finally:
        process.terminate()
        process.wait(START_S)


@dataclass(frozen=True)
class Answered:
    """Seconds of the clock: when it was asked for, and each event that had text; and its end."""

    began: float
    events: list[float]
    end: Chunk

    @property
    def first_ms(self) -> float:
        return (self.events[0] - self.began) * 1e3

    @property
    def engine_first_ms(self) -> float:
        """From the request's arrival at the engine's inbox to its first token."""
        timings = self.end.timings or {}
        return timings["queue_ms"] + timings["prefill_ms"]

    @property
    def added_first_ms(self) -> float:
        return self.first_ms - self.engine_first_ms

    @property
    def token_ms(self) -> float:
        """Of each after the first; nothing is taken off, as engine and wire work side by side."""
        return (self.events[-1] - self.events[0]) * 1e3 / (len(self.events) - 1)


async def type_line(uds: Path, place: Place, rounds: int, tokens: int) -> list[list[Answered]]:
    """The answers to each round's keys."""
    client, windows = EngineClient(Address(uds=uds)), Windows()

    async def ask(key: int) -> Answered:
        request = CompletionRequest(
            prompt=windows.before(place.prefix + place.typed[:key]),
            suffix=windows.after(place.suffix),
            model="embedded",
            max_tokens=tokens,
            document=opaque("file:///work/testing.py"),
            language="python",
            stop_at=("line", "suffix"),
            request_id=f"key {key}",
        )
        began, events, end = time.perf_counter(), list[float](), Chunk()
        async for chunk in client.complete(request):
            if chunk.text:
                events.append(time.perf_counter())
            end = chunk
        if len(events) != tokens:  # then a time per event is none per token
            raise RuntimeError(f"{len(events)} events of {tokens} tokens, ended by {end}")
        return Answered(began, events, end)

    try:
        keys = range(len(place.typed) + 1)
        return [[await ask(key) for key in keys] for _ in range(rounds)]
    finally:
        await client.close()


def wire(lab: Lab) -> Result:
    """Beside steps that cost nothing; and beside longer ones, while which the cores sleep."""
    return {
        **beside(0, lab.scale.sessions, 4 * lab.scale.rounds),
        "beside_steps_of_5_ms": beside(0.005, 1, lab.scale.rounds),
    }


def beside(step_s: float, sessions: int, rounds: int, keys: int = 24, tokens: int = 32) -> Result:
    """A line typed again and again into 2,000 tokens, each key answered before the next.

    `added_first_ms` is what the client sees until the first token, less what the engine says it
    took; `token_ms` is all that a token takes. `best` is the lowest median of a round. Each session
    has a daemon of its own.
    """
    place = held_out(TYPING, 5900, 2000, keys)
    found: list[list[Answered]] = []
    parts: list[dict[str, float]] = []
    for _ in range(sessions):
        with tempfile.TemporaryDirectory(prefix="clb") as name:
            with served(Path(name), step_s) as uds:
                typed = asyncio.run(type_line(uds, place, 1 + rounds, tokens))
            stamps = iter(json.loads((Path(name) / "stamps").read_text()))
        told = [[parts_of(answer, *next(stamps)) for answer in each] for each in typed]
        # The first round warms up, and a round's first key follows none.
        found += [each[1:] for each in typed[1:]]
        parts += [part for each in told[1:] for part in each[1:]]
    end = found[-1][-1].end
    assert end.usage is not None
    return {
        "prompt_tokens": end.usage["prompt_tokens"],
        "new_tokens": tokens,
        "answers": len(parts),
        "first_ms": spread([[a.first_ms for a in each] for each in found]),
        "added_first_ms": spread([[a.added_first_ms for a in each] for each in found]),
        "parts_of_added_ms": {name: ms(part[name] for part in parts) for name in parts[0]},
        "token_ids_ms": ms(token_ids(place, rounds)),
        "token_ms": spread([[a.token_ms for a in each] for each in found]),
    }


def parts_of(answer: Answered, called: float, told: float) -> dict[str, float]:
    """Until the daemon's application is called; in it, but for the engine; on to the text."""
    return {
        "asking": (called - answer.began) * 1e3,
        "daemon": (told - called) * 1e3 - answer.engine_first_ms,
        "reading": (answer.events[0] - told) * 1e3,
    }


def token_ids(place: Place, rounds: int) -> list[float]:
    """Milliseconds from each key's texts to its ids, which the daemon's part includes."""
    tokenizer, took = read_facts("embedded").tokenizer, list[float]()
    for _ in range(1 + rounds):
        for key in range(len(place.typed) + 1):
            began = time.perf_counter()
            infilling_prompt(tokenizer, place.prefix + place.typed[:key], place.suffix, ROOM)
            took.append((time.perf_counter() - began) * 1e3)
    return took[1 + len(place.typed) :]  # the lines were not known in the first round


def spread(rounds: list[list[float]]) -> Result:
    values = sorted(value for each in rounds for value in each)
    return {
        "median": ms(values),
        "p95": round(values[int(len(values) * 0.95)], 3),
        "best": min(map(ms, rounds)),
    }


def ms(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)


if __name__ == "__main__":
    daemon(*sys.argv[1:])
