"""A core driven step by step, and what came of each request."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cl_engine.core import Core
from cl_engine.errors import EngineError
from cl_engine.loader import LoadedModel
from cl_engine.machine import Machine, TorchMachine
from cl_engine.prompt import completion_prompt
from cl_engine.request import (
    ErrorEvent,
    Event,
    FinishEvent,
    Lane,
    Limits,
    Origin,
    PromptEvent,
    Request,
    TextEvent,
)
from cl_engine.sampling import SamplingParams


@dataclass(eq=False)
class Asked:
    """A request, and what came of it."""

    request: Request = field(init=False)
    events: list[Event] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextEvent))

    @property
    def ids(self) -> list[int]:
        return [i for event in self.events if isinstance(event, TextEvent) for i in event.tokens]

    @property
    def scores(self) -> list[float | None]:
        """Log-probabilities of the prompt's tokens."""
        told = [e for e in self.events if isinstance(e, PromptEvent)]
        return [own.get(i) for e in told for i, own in zip(e.tokens, e.logprobs, strict=True)]

    @property
    def end(self) -> FinishEvent | None:
        last = self.events[-1] if self.events else None
        return last if isinstance(last, FinishEvent) else None

    @property
    def error(self) -> EngineError | None:
        last = self.events[-1] if self.events else None
        return last.error if isinstance(last, ErrorEvent) else None


class Bench:
    """A core, a step at a time."""

    def __init__(self, model: LoadedModel, pages: int | None = None, **settings: Any):
        self.model, self.core = model, Core(model, pages=pages, **settings)
        self.scheduler = self.core.scheduler

    def ask(
        self,
        lane: Lane,
        text: str = "x = ",
        n: int = 6,
        client: str = "",
        document: str = "",
        sampling: SamplingParams | None = None,
        scored: bool = False,
        **limits: Any,
    ) -> Asked:
        asked = Asked()
        prompt = completion_prompt(self.model.tokenizer, text, 400)
        if scored:
            prompt = replace(prompt, healable=0, scored=True)
        asked.request = Request(
            prompt,
            Limits(n, ignore_eos=True, **limits),
            sampling or SamplingParams(),
            asked.events.append,
            lane,
            Origin(client, document),
        )
        self.scheduler.add(asked.request)
        return asked

    def step(self) -> list[Request]:
        stepped = self.core.step()
        self.scheduler.check_integrity()
        return stepped

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        while not until() and self.step():
            pass


def alone(
    model: LoadedModel, text: str, n: int, machine: type[Machine] = TorchMachine, **settings: Any
) -> list[int]:
    """What an engine without any history and company answers."""
    bench = Bench(model, speculate=False, machine=machine)
    asked = bench.ask("completion", text, n, **settings)
    bench.run()
    return asked.ids
