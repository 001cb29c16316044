"""A step that is launched before the last one's text is made: who is in it, and who has left."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from cl_engine.loader import LoadedModel, load_model
from cl_engine.machine import Rows, TorchMachine
from cl_engine.models.llama import Span
from cl_engine.request import FinishEvent, Request
from cl_engine.sampling import Choice
from cl_engine.sequence import Sequence as Running

from tests.checkpoints import make_checkpoint
from tests.serving.machines import Chooser
from tests.serving.stepping import Asked, Bench

LONG = "def f(a, b, c):\n    return a + b + c\n" * 9


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(make_checkpoint(tmp_path_factory.mktemp("m"))), device="cpu")


class Watched(Chooser):
    """Notes how many rows each launch has; the results of those in `broken` are an error."""

    def __init__(self, *arguments: object):
        super().__init__(*arguments)  # pyright: ignore[reportArgumentType]
        self.launched: list[list[int]] = []
        self.broken: set[int] = set()

    def launch(self, spans: list[Span], choices: Sequence[Choice | None]) -> Callable[[], Rows]:
        number = len(self.launched)
        self.launched.append([len(span.ids) for span in spans])
        wait = super().launch(spans, choices)

        def results() -> Rows:
            if number in self.broken:
                raise RuntimeError("a step that cannot be")
            return wait()

        return results


def watched(model: LoadedModel) -> tuple[Bench, Watched, list[tuple[Request, FinishEvent]]]:
    ends: list[tuple[Request, FinishEvent]] = []
    bench = Bench(model, machine=Watched, report=lambda *end: ends.append(end))
    machine = bench.core._machine
    assert isinstance(machine, Watched)
    return bench, machine, ends


def test_a_key_waits_for_no_more_than_the_step_under_way(model: LoadedModel) -> None:
    bench, machine, _ = watched(model)
    chat = bench.ask("chat", LONG, 4)
    bench.step()
    assert [len(rows) for rows in machine.launched] == [1, 1] and machine.launched[1] == [64]
    asked: list[Asked] = []
    # It comes while the host waits for the second step of the chat's prompt.
    bench.core.step(lambda: asked.append(bench.ask("inline", "x = ", 2)))
    assert len(machine.launched) == 3 and machine.launched[2][0] < 8
    bench.run()
    assert asked[0].end and chat.end


def test_what_has_ended_does_not_fail_afterwards(model: LoadedModel) -> None:
    bench, machine, ends = watched(model)
    gone, other = bench.ask("completion", "a = ", 9), bench.ask("completion", "b = ", 9)
    bench.step()
    bench.scheduler.cancel(gone.request)
    machine.broken.add(1)  # under way, for both
    bench.run()
    assert [end.stop for request, end in ends if request is gone.request] == ["cancelled"]
    assert "a step that cannot be" in str(other.error) and gone.error is None
    assert len(ends) == 2


@pytest.mark.parametrize("machine", [TorchMachine, Chooser])
def test_an_answer_that_has_ended_is_not_late(
    model: LoadedModel, machine: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Bench(model, machine=machine)
    free = first.ask("completion", "x = ", 1)
    first.run()
    bench = Bench(model, machine=machine)
    asked = bench.ask("completion", "x = ", 5, stop_ids=frozenset(free.ids), budget_ms=1e9)
    # Its time is over as soon as its end token has come.
    monkeypatch.setattr(Running, "late", property(lambda self: self.ending is not None))
    bench.run()
    assert asked.end and asked.end.stop == f"token {free.ids[0]}"


@pytest.mark.parametrize("machine", [TorchMachine, Chooser])
def test_healed_text_is_none_of_the_least_tokens(model: LoadedModel, machine: type) -> None:
    """What the user typed comes again first: an end token behind it would be too early."""

    def answer(**limits: Any) -> Asked:
        bench = Bench(model, machine=machine, healing_depth=4)
        asked = bench.ask("completion", "foo bar", 4, **limits)
        bench.run()
        return asked

    likeliest = answer().ids
    for least in (1, 2, 3):
        asked = answer(stop_ids=frozenset(likeliest), min_tokens=least)
        assert asked.end and asked.end.usage.healed and asked.end.usage.generated >= least
