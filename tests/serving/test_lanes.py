"""Who goes first: keys before completions before chats."""

from collections import Counter
from typing import Any

import pytest
from cl_engine.loader import LoadedModel, load_model
from cl_engine.prompt import completion_prompt
from cl_engine.request import LANES, Event, FinishEvent, Lane, Limits, Request
from cl_engine.runner import Runner
from cl_engine.sampling import SamplingParams
from cl_engine.scheduler import Scheduler
from cl_engine.slots import Slots
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import make_checkpoint
from tests.vocabularies import UNTIMED


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(make_checkpoint(tmp_path_factory.mktemp("lanes"))), device="cpu")


class Bench:
    """A scheduler and its runner, a step at a time."""

    def __init__(self, model: LoadedModel, slots: int):
        self.model, self.ended = model, list[Request]()
        caches = Slots([model.llama.new_cache() for _ in range(slots)])
        self.scheduler = Scheduler(model.tokenizer, caches, model.llama.config.context)
        self.runner = Runner(model.llama, model.tokenizer)

    def ask(self, lane: Lane, text: str = "x = ", n: int = 6) -> Request:
        prompt = completion_prompt(self.model.tokenizer, text, 400)

        def deliver(event: Event) -> None:
            if isinstance(event, FinishEvent):
                self.ended.append(request)

        limits = Limits(n, ignore_eos=True)
        request = Request(prompt, limits, SamplingParams(), deliver, lane)
        self.scheduler.add(request)
        return request

    def step(self) -> Request | None:
        if (sequence := self.scheduler.next()) is None:
            return None
        self.scheduler.advance(sequence, self.runner.step(sequence))
        return sequence.request


def test_a_key_takes_the_next_step_whatever_runs(model: LoadedModel) -> None:
    bench = Bench(model, slots=3)
    chats = [bench.ask("chat", f"chat {i} ", n=50) for i in range(4)]
    for _ in range(10):
        bench.step()
    key = bench.ask("inline", "def f(", n=5)
    while key not in bench.ended:
        assert bench.step() is key
    # A long prefill of a completion gives way between two chunks, too.
    plain = bench.ask("completion", "value = 1\n" * 130, n=20)
    assert bench.step() is plain
    key = bench.ask("inline", "def g(", n=2)
    while key not in bench.ended:
        assert bench.step() is key
    while bench.step() is not None:
        pass
    assert {*bench.ended} >= {plain, *chats}


def test_a_slot_is_left_for_the_next_key_where_there_is_another(model: LoadedModel) -> None:
    bench = Bench(model, slots=4)
    for i in range(5):
        bench.ask("chat", f"chat {i} ", n=20)
    stepped = Counter(bench.step() for _ in range(8))
    assert len(stepped) == 2 and max(stepped.values()) == 4  # in turns
    plain = [bench.ask("completion", f"plain {i} ", n=20) for i in range(3)]
    assert {bench.step() for _ in range(4)} == {plain[0]}
    key = bench.ask("inline")
    assert bench.step() is key
    alone = Bench(model, slots=1)
    chat = alone.ask("chat")
    assert alone.step() is chat


@UNTIMED
@given(st.data())
def test_no_step_is_taken_before_one_of_an_earlier_lane(model: LoadedModel, data: Any) -> None:
    bench = Bench(model, slots=data.draw(st.integers(1, 3)))
    asked: list[Request] = []
    for _ in range(data.draw(st.integers(1, 12))):
        if data.draw(st.booleans()) or not asked:
            lane: Lane = data.draw(st.sampled_from(LANES))
            asked.append(bench.ask(lane, f"{len(asked)} = ", n=data.draw(st.integers(1, 4))))
        elif data.draw(st.booleans()):
            bench.scheduler.cancel(gone := data.draw(st.sampled_from(asked)))
            asked = [request for request in asked if request is not gone]
        stepped = bench.step()
        if stepped is not None:
            running = [s.request for s in bench.scheduler._running]
            assert all(LANES.index(stepped.lane) <= LANES.index(r.lane) for r in running)
        asked = [request for request in asked if request not in bench.ended]
    while bench.step() is not None:
        pass
    assert bench.scheduler.idle and all(request in bench.ended for request in asked)
