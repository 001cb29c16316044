"""Who answers in the benchmark: our engine, and transformers' generate() on the same weights.

Both give a `Reply`: which tokens came, and when. Clocks start when the question is put.
"""

import contextlib
import dataclasses
import functools
import os
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from cl_engine.export import export
from cl_engine.loader import LoadedModel
from cl_engine.loop import THREADS, Engine
from cl_engine.prompt import Prompt
from cl_engine.request import (
    ErrorEvent,
    Event,
    FinishEvent,
    Limits,
    Origin,
    Request,
    TextEvent,
    Usage,
)
from cl_engine.sampling import SamplingParams

Result = dict[str, Any]  # of a measurement: names and numbers
ANSWER_S = 120  # seconds; an answer that takes longer is an error


@dataclasses.dataclass(frozen=True)
class Reply:
    """`steps`: (seconds since the question, how many tokens came then), in order.

    `cpu_s`: seconds that the engine's thread worked since its last answer. Unlike the clock's they
    hold nothing of what else runs on the machine, and if there is one thread, all that was done.
    """

    ids: tuple[int, ...]
    steps: tuple[tuple[float, int], ...]
    cpu_s: float = 0.0
    text: str = ""
    usage: Usage = dataclasses.field(default_factory=Usage)

    @property
    def first_s(self) -> float:
        return self.steps[0][0]

    @property
    def whole_s(self) -> float:
        return self.steps[-1][0]

    @property
    def token_s(self) -> float:
        """Per token after the first step's, so that no prefill is in it."""
        return (self.whole_s - self.first_s) / sum(count for _, count in self.steps[1:])

    @property
    def computed(self) -> int:
        """Tokens of the prompt that were neither cached nor taken off to be generated again."""
        return self.usage.prompt - self.usage.cached - self.usage.healed


class Ours:
    """A running engine that any number of threads may ask; greedy, and no token ends an answer."""

    def __init__(self, model: str = "embedded", *, speculate: bool = True):
        self._engine = Engine(model, device="cpu", speculate=speculate)
        self._engine.start()
        self.model: LoadedModel = self._engine.loaded.result()
        self._worked = 0.0

    def __enter__(self) -> "Ours":
        return self

    def __exit__(self, *error: object) -> None:
        self._engine.stop()
        self._engine.forget()

    def ask(
        self,
        prompt: Prompt,
        max_tokens: int,
        *,
        began: float | None = None,
        client: str = "",
        sampling: SamplingParams | None = None,
    ) -> Reply:
        """Returns the answer when it is whole. `began`: when the question was put, if not now.

        Raises what went wrong, or queue.Empty if nothing comes for ANSWER_S.
        """
        events: queue.SimpleQueue[tuple[float, float, Event]] = queue.SimpleQueue()

        def deliver(event: Event) -> None:
            events.put((time.perf_counter(), time.thread_time(), event))

        limits = Limits(max_tokens, ignore_eos=True)
        began = time.perf_counter() if began is None else began
        request = Request(
            prompt, limits, sampling or SamplingParams(), deliver, "inline", Origin(client=client)
        )
        self._engine.submit(request)
        ids: list[int] = []
        steps: list[tuple[float, int]] = []
        text = ""
        while True:
            at, worked, event = events.get(timeout=ANSWER_S)
            if isinstance(event, ErrorEvent):
                raise event.error
            if isinstance(event, FinishEvent):
                cpu_s, self._worked = worked - self._worked, worked
                return Reply(tuple(ids), tuple(steps), cpu_s, text, event.usage)
            assert isinstance(event, TextEvent)
            text += event.text
            if event.tokens:
                ids += event.tokens
                steps.append((at - began, len(event.tokens)))


class _Clock:
    """What generate() calls a streamer: it is given the prompt, then each token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


@dataclasses.dataclass(frozen=True, eq=False)
class Peer:
    """transformers' generate(), greedy, with its KV cache, in one type and so many threads."""

    name: str
    model: Any
    threads: int

    @torch.inference_mode()
    def ask(self, ids: list[int], max_tokens: int) -> Reply:
        clock, prompt = _Clock(), torch.tensor([ids], device=self.model.device)
        with threads(self.threads):
            began = time.perf_counter()
            out = self.model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=max_tokens,
                do_sample=False,
                use_cache=True,
                streamer=clock,
            )
        new = tuple(out[0, len(ids) :].tolist())
        return Reply(new, tuple((at - began, 1) for at in clock.times[1:]))


def peers(folder: Path) -> list[Peer]:
    """Every way in which transformers may be fastest: two types, the engine's threads or all cores.

    `folder` is an exported checkpoint. What it takes to start them is left out everywhere.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    counts = sorted({THREADS, os.cpu_count() or 1})
    found: list[Peer] = []
    for dtype in (torch.float32, torch.bfloat16):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0
        kind = str(dtype).removeprefix("torch.")
        found += [Peer(f"{kind}, {count} threads", model, count) for count in counts]
    return found


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """torch's, of this thread; the engine's own thread keeps what it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is measured. `rounds` is how often the sides of a comparison take turns."""

    rounds: int = 7
    sessions: int = 3  # engines that learn which drafts pay from nothing, each time anew
    peer_every: int = 3  # of the keys typed, transformers answers each n-th
    client_keys: int = 8
    client_checks: int = 8  # of each client's answers so many, the last, are compared
    new_tokens: int = 64  # of an answer with drafts
    compared: int = 4  # of each kind of text so many, whose answers are compared
    kinds: tuple[str, ...] = ("float32", "int8")


SHORT = Scale(
    rounds=2,
    sessions=1,
    peer_every=12,
    client_keys=4,
    client_checks=1,
    new_tokens=40,
    compared=1,
    kinds=("float32",),
)


class Lab:
    """What measurements share, made when first asked for."""

    def __init__(self, scale: Scale, folder: Path):
        self.scale, self._folder = scale, folder

    @functools.cached_property
    def exported(self) -> Path:
        return export("embedded", self._folder / "exported")

    @functools.cached_property
    def peers(self) -> list[Peer]:
        return peers(self.exported)

    def model(self, kind: str) -> str:
        """float32 answers exactly alike in any batch; the shipped one is int8 and bfloat16."""
        return str(self.exported) if kind == "float32" else "embedded"
