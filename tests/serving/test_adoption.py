"""A request that follows another: taken over where it goes on as typed, ended where it does not.

Greedy answers are a fresh engine's, whatever was typed and however far the old one had come.
"""

import functools
import random
from typing import Any

import pytest
from cl_engine.core import Core
from cl_engine.loader import LoadedModel, load_model
from cl_engine.machine import TorchMachine
from cl_engine.prompt import infilling_prompt
from cl_engine.request import Event, FinishEvent, Limits, Origin, Request, TextEvent
from cl_engine.sampling import SamplingParams
from cl_engine.structure import StopRules

from tests.serving.audit import check_everything
from tests.serving.machines import Chooser

BEFORE = "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, it"
AFTER = "\n\n    def pop(self):\n        return self.items.pop()\n"


@pytest.fixture(scope="module", params=["float32", "int8"])
def model(request: pytest.FixtureRequest) -> LoadedModel:
    """Ours, which writes what a user would type; exactly so in both types."""
    dtype = "auto" if request.param == "int8" else "float32"
    return load_model("embedded", device="cpu", dtype=dtype)


@pytest.fixture(autouse=True, params=[TorchMachine, Chooser])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that are launched before the last one's text is made change no answer."""
    monkeypatch.setitem(globals(), "Core", functools.partial(Core, machine=request.param))


class Asked:
    def __init__(
        self,
        core: Core,
        model: LoadedModel,
        prefix: str,
        name: str,
        follows: str = "",
        n: int = 24,
        **settings: Any,
    ):
        self.events: list[Event] = []
        prompt = infilling_prompt(model.tokenizer, prefix, AFTER, 1000)
        client = settings.pop("client", "me")
        sampling = settings.pop("sampling", SamplingParams())
        self.request = Request(
            prompt,
            Limits(n, **settings),
            sampling,
            self.events.append,
            "inline",
            Origin(client, "doc", name, follows),
        )
        core.scheduler.add(self.request)

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextEvent))

    @property
    def end(self) -> FinishEvent | None:
        last = self.events[-1] if self.events else None
        return last if isinstance(last, FinishEvent) else None

    @property
    def ended_by(self) -> str | None:
        return self.end.stop if self.end else None


def fresh(model: LoadedModel, prefix: str, **settings: Any) -> Asked:
    core = Core(model, pages=80)
    asked = Asked(core, model, prefix, "fresh", **settings)
    core.run()
    return asked


def steps(core: Core, n: int) -> None:
    for _ in range(n):
        core.step()
        core.scheduler.check_integrity()


def test_what_was_produced_is_given_at_once_and_the_rest_goes_on(model: LoadedModel) -> None:
    whole = fresh(model, BEFORE).text
    core = Core(model, pages=80, speculate=False)
    old = Asked(core, model, BEFORE, "1")
    steps(core, 8)
    produced = old.text
    assert len(produced) > 6 and old.end is None
    new = Asked(core, model, BEFORE + produced[:3], "2", "1")
    assert old.ended_by == "adopted" and old.end and old.end.reason == "stop"
    assert new.text == produced[3:]  # before any step
    # A third one follows the second.
    last = Asked(core, model, BEFORE + produced[:5], "3", "2")
    assert new.ended_by == "adopted" and last.text == produced[5:]
    core.run()
    usage = last.end.usage if last.end else None
    assert usage and usage.computed == 0 and usage.prompt == usage.cached + usage.healed
    assert last.text == fresh(model, BEFORE + produced[:5]).text
    assert last.text.startswith(whole[5 : len(whole) - 8])


def test_what_is_not_as_typed_ends_the_old_one(model: LoadedModel) -> None:
    core = Core(model, pages=80)
    old = Asked(core, model, BEFORE, "1")
    steps(core, 4)
    new = Asked(core, model, BEFORE + "()", "2", "1")
    assert old.ended_by == "superseded" and new.events == []
    core.run()
    assert new.text == fresh(model, BEFORE + "()").text


@pytest.mark.parametrize("change", ["client", "unknown", "sampling", "min_tokens", "ended"])
def test_only_its_own_and_alike_is_adopted(model: LoadedModel, change: str) -> None:
    core = Core(model, pages=80)
    old = Asked(core, model, BEFORE, "1", n=12)
    steps(core, 4)
    more = old.text[:2]
    if change == "ended":
        core.run()
    settings: dict[str, Any] = {
        "client": {"client": "another"},
        "sampling": {"sampling": SamplingParams(repetition_penalty=1.2)},
        "min_tokens": {"min_tokens": 3},
    }.get(change, {})
    follows = "other" if change == "unknown" else "1"
    new = Asked(core, model, BEFORE + more, "2", follows, n=12, **settings)
    gone = {"sampling": "superseded", "min_tokens": "superseded", "ended": "max_tokens"}
    assert old.ended_by == gone.get(change)
    core.run()
    settings.pop("client", None)
    assert new.text == fresh(model, BEFORE + more, n=12, **settings).text
    assert old.end


def test_limits_and_stops_are_the_new_ones(model: LoadedModel) -> None:
    core = Core(model, pages=80, speculate=False)
    old = Asked(core, model, BEFORE, "1", n=40)
    steps(core, 16)
    assert old.end is None and "\n" in old.text
    line = StopRules(frozenset({"line"}), BEFORE + old.text[:2], AFTER, "python")
    new = Asked(core, model, BEFORE + old.text[:2], "2", "1", n=40, structure=line)
    assert new.ended_by == "line" and core.scheduler.idle  # it had produced the line already
    assert new.text == old.text[2:].split("\n")[0]
    old = Asked(core, model, BEFORE, "3", n=40)
    steps(core, 6)
    new = Asked(core, model, BEFORE + old.text[:2], "4", "3", n=3)
    core.run()
    assert (
        new.ended_by == "max_tokens" and new.text == fresh(model, BEFORE + old.text[:2], n=3).text
    )


@pytest.mark.parametrize("seed", range(5))
def test_any_typing_at_any_time_is_answered_as_by_a_fresh_engine(
    model: LoadedModel, seed: int
) -> None:
    trace(model, seed)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
def test_many_traces(model: LoadedModel, part: int) -> None:
    for seed in range(100):
        trace(model, 1000 * part + seed)


WHOLE: dict[tuple[int, str], str] = {}


def trace(model: LoadedModel, seed: int) -> None:
    """Keys, most as the model would go on, some not, with more or fewer steps between them."""
    rng = random.Random(seed)
    core = Core(model, pages=80, speculate=rng.random() < 0.5)
    prefix, name, all_of_it = BEFORE, 0, list[Asked]()
    all_of_it.append(Asked(core, model, prefix, "0"))
    for _ in range(4):
        steps(core, rng.choice([0, 1, 2, 3, 6]))
        likely = all_of_it[-1].text or WHOLE.get((id(model), prefix), "")
        typed = likely[: rng.randint(1, 3)] if rng.random() < 0.8 else rng.choice(["x", "\n", "é"])
        prefix, name = prefix + (typed or "s"), name + 1
        all_of_it.append(Asked(core, model, prefix, str(name), str(name - 1)))
    core.run()
    check_everything(core.scheduler._tree, [])
    assert all(asked.end for asked in all_of_it)
    key = (id(model), prefix)
    if key not in WHOLE:
        WHOLE[key] = fresh(model, prefix).text
    assert all_of_it[-1].text == WHOLE[key]


@pytest.mark.parametrize("done", [0, 1, 2])
def test_less_text_is_another_question(model: LoadedModel, done: int) -> None:
    """The old one was bound to text that is no longer there."""
    core = Core(model, pages=80)
    old = Asked(core, model, BEFORE + "em):\n        self.ite", "1")
    steps(core, done)
    new = Asked(core, model, BEFORE + "em):\n        self.", "2", follows="1")
    core.run()
    assert old.ended_by == "superseded"
    assert new.text == fresh(model, BEFORE + "em):\n        self.").text
