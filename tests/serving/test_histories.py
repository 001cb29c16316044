"""Requests, cancels and steps at random, with and without enough memory: answers stay the same."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from cl_engine.loader import LoadedModel, load_model
from cl_engine.machine import TorchMachine
from cl_engine.request import LANES
from cl_engine.sampling import SamplingParams
from cl_engine.scheduler import OPEN_EVERY
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import make_checkpoint
from tests.serving.audit import check_everything
from tests.serving.machines import Chooser
from tests.serving.stepping import Asked, Bench, alone
from tests.vocabularies import UNTIMED


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(make_checkpoint(tmp_path_factory.mktemp("histories"))), device="cpu")


@UNTIMED
@given(st.data())
def test_whatever_happens_answers_are_those_of_a_fresh_engine(
    model: LoadedModel, data: Any
) -> None:
    """Histories of requests, cancels and steps, with and without enough memory."""
    history(model, data.draw)


@pytest.mark.soak
def test_many_histories(model: LoadedModel) -> None:
    for seed in range(10_000):
        rng = random.Random(seed)

        def draw(strategy: Any, rng: random.Random = rng) -> Any:
            return strategy(rng)

        history(model, draw, plain=True)


def history(model: LoadedModel, draw: Callable[[Any], Any], plain: bool = False) -> None:
    def integers(low: int, high: int) -> int:
        return draw((lambda r: r.randint(low, high)) if plain else st.integers(low, high))

    machine = (TorchMachine, Chooser)[integers(0, 1)]
    bench = Bench(model, pages=(None, 40, 9)[integers(0, 2)], machine=machine)
    starts = ["a = ", "a = b\n", "def f(x):\n    return x\n\n" * 3, "value = 1\n" * 20]
    asked: list[tuple[Asked, str, int, SamplingParams]] = []
    for _ in range(integers(1, 12)):
        action = integers(0, 5)
        if action <= 2 or not asked:
            text = starts[integers(0, 3)] + "xyz"[: integers(0, 3)]
            n, lane = integers(1, 12), LANES[integers(0, 2)]
            seed = integers(0, 1)
            sampling = SamplingParams(temperature=0.7 * seed, top_k=5, seed=seed)
            client = "ab"[integers(0, 1)]
            new = bench.ask(lane, text, n, client, "d" * integers(0, 1), sampling)
            asked.append((new, text, n, sampling))
        elif action == 3:
            gone = asked.pop(integers(0, len(asked) - 1))[0]
            bench.scheduler.cancel(gone.request)
            known = len(gone.events)
            bench.step()
            assert len(gone.events) == known  # nothing more comes
        else:
            for _ in range(integers(1, 6)):
                stepped = bench.step()
                lanes = {LANES.index(request.lane) for request in stepped}
                open_to_all = bench.scheduler._steps % OPEN_EVERY == 0
                assert len(lanes) <= 1 or open_to_all or machine.ahead
    bench.run()
    check_everything(bench.scheduler._tree, [])
    assert bench.scheduler.idle
    for one, text, n, sampling in asked:
        assert one.end, one.error
        key = (text, n, sampling, machine.chooses)
        if key not in ANSWERS:
            ANSWERS[key] = alone(model, text, n, machine, sampling=sampling)
        ids = one.ids
        assert ids == ANSWERS[key][: len(ids)]
        assert len(ids) == n or one.end.stop in ("context", "memory")
        u = one.end.usage
        assert u.preempted or u.prompt == u.cached + u.computed + u.healed
        assert 0 <= u.accepted <= u.drafted


ANSWERS: dict[tuple[str, int, SamplingParams, bool], list[int]] = {}
