"""Who goes first, who waits, who gives way; and that none of it changes an answer."""

import time
from collections import Counter

import pytest
from cl_engine.errors import EngineError, Overloaded
from cl_engine.loader import LoadedModel, load_model
from cl_engine.request import Request
from cl_engine.scheduler import MAX_RUNNING, OPEN_EVERY
from cl_engine.waiting import MAX_WAITING

from tests.checkpoints import make_checkpoint
from tests.serving.stepping import Bench, alone

ONE_SECOND = 1000.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(make_checkpoint(tmp_path_factory.mktemp("lanes"))), device="cpu")


def test_a_key_takes_the_next_step_whatever_runs(model: LoadedModel) -> None:
    bench = Bench(model)
    chats = [bench.ask("chat", f"chat {i} ", n=50) for i in range(4)]
    for _ in range(10):
        assert len(bench.step()) == 4  # together
    key = bench.ask("inline", "def f(", n=5)
    for _ in range(4):
        assert bench.step()[0] is key.request
    # A long prefill of a completion gives way between two chunks, too.
    bench.run(until=lambda: key.end is not None)
    plain = bench.ask("completion", "value = 1\n" * 130, n=20)
    assert bench.step()[0] is plain.request and plain.events == []
    key = bench.ask("inline", "def g(", n=2)
    assert bench.step()[0] is key.request
    bench.run()
    assert all(asked.end for asked in (plain, key, *chats))


def test_one_step_of_some_is_open_to_all_so_that_nobody_starves(model: LoadedModel) -> None:
    bench = Bench(model, speculate=False)
    chat = bench.ask("chat", n=40)
    bench.step()
    keys = [bench.ask("inline", f"key {i}", n=60) for i in range(2)]
    stepped = Counter(request for _ in range(5 * OPEN_EVERY) for request in bench.step())
    assert stepped[chat.request] == 5
    assert stepped[keys[0].request] == stepped[keys[1].request] == 5 * OPEN_EVERY


def test_all_of_a_lane_share_a_step_and_the_rest_waits(model: LoadedModel) -> None:
    bench = Bench(model)
    many = [bench.ask("chat", f"chat {i} ", n=20) for i in range(MAX_RUNNING + 3)]
    for _ in range(8):
        bench.step()
    assert bench.scheduler.lengths == (3, MAX_RUNNING)
    key = bench.ask("inline")  # no place is free: the newest chat gives up its own
    assert bench.step()[0] is key.request and bench.scheduler.lengths == (4, MAX_RUNNING)
    bench.run()
    assert key.end and all(asked.end for asked in many)
    assert sum(asked.end.usage.preempted for asked in many if asked.end) == 1
    for i, asked in enumerate(many):
        assert asked.ids == alone(model, f"chat {i} ", 20)


def test_the_queue_is_bounded_and_says_so(model: LoadedModel) -> None:
    bench = Bench(model)
    many = [bench.ask("chat", n=2) for _ in range(MAX_WAITING + 2)]
    errors = [asked.error for asked in many if asked.error]
    assert len(errors) == 2 and all(isinstance(error, Overloaded) for error in errors)
    assert str(errors[0]) == f"{MAX_WAITING} requests are waiting already; try again"
    bench.run()
    assert sum(asked.end is not None for asked in many) == MAX_WAITING


def test_nobody_fills_the_queue_for_others(model: LoadedModel) -> None:
    bench = Bench(model)
    many = [bench.ask("chat", n=1, client="a") for _ in range(MAX_WAITING)]
    other, key = bench.ask("chat", n=1, client="b"), bench.ask("inline", n=1, client="a")
    assert isinstance(many[-1].error, Overloaded) and isinstance(many[-2].error, Overloaded)
    bench.run()
    assert other.end and key.end and all(asked.end for asked in many[:-2])


def test_a_client_that_asks_much_leaves_the_others_their_share(model: LoadedModel) -> None:
    bench = Bench(model)
    greedy = [bench.ask("completion", f"a{i} " * 60, n=1, client="a") for i in range(30)]
    modest = [bench.ask("completion", f"b{i} " * 60, n=1, client="b") for i in range(3)]
    bench.run(until=lambda: all(asked.end for asked in modest))
    # Both get half of the time, so about as many of the first have been answered by now.
    assert 2 <= sum(asked.end is not None for asked in greedy) <= 6
    bench.run()
    assert all(asked.end for asked in greedy)
    # One who was away has no credit from it, and who worked alone owes nothing.
    late = [bench.ask("completion", f"c{i} " * 60, n=1, client="c") for i in range(3)]
    again = [bench.ask("completion", f"d{i} " * 60, n=1, client="a") for i in range(3)]
    bench.run(until=lambda: all(asked.end for asked in late))
    assert sum(asked.end is not None for asked in again) >= 1
    bench.run()


def test_of_a_document_the_newest_goes_first(model: LoadedModel) -> None:
    bench, order = Bench(model), list[Request]()
    full = [bench.ask("inline", f"run {i} ", n=3 + 3 * i) for i in range(MAX_RUNNING)]
    bench.step()
    waiting = [bench.ask("inline", f"wait {i} ", n=1, document="d") for i in range(3)]
    other = bench.ask("inline", "other ", n=1, document="e")
    while any(asked.end is None for asked in (*full, *waiting, other)):
        order += [request for request in bench.step() if request not in order]
    own = [request for request in order if request in [asked.request for asked in waiting]]
    assert own == [asked.request for asked in reversed(waiting)]


def test_with_little_memory_who_came_last_gives_way_and_goes_on_later(model: LoadedModel) -> None:
    bench = Bench(model, pages=12)  # 192 tokens
    texts = [f"chat {i} = {i}\n" * 9 for i in range(4)]  # 50 tokens and more each
    chats = [bench.ask("chat", text, n=40) for text in texts]
    plain = bench.ask("completion", "value = 1\n" * 8, n=30)
    for _ in range(25):
        bench.step()
    key = bench.ask("inline", "def f(x):\n    return " * 4, n=10)
    assert bench.step()[0] is key.request
    bench.run()
    for asked, text, n in [
        *((chat, text, 40) for chat, text in zip(chats, texts, strict=True)),
        (plain, "value = 1\n" * 8, 30),
        (key, "def f(x):\n    return " * 4, 10),
    ]:
        assert asked.end and asked.end.stop == "max_tokens"
        assert asked.ids == alone(model, text, n)
    assert sum(asked.end.usage.preempted for asked in chats if asked.end) >= 2


def test_who_goes_on_may_find_less_cached_than_at_first(model: LoadedModel) -> None:
    text = "value = 1\n" * 30
    bench = Bench(model, pages=16)
    first = bench.ask("completion", text, n=1)
    bench.run()
    again = bench.ask("completion", text, n=30)
    for _ in range(3):
        bench.step()
    key = bench.ask("inline", "def f(x):\n    return " * 20, n=20)
    bench.run()
    assert first.end and key.end and again.end
    assert again.end.usage.cached > 100 and again.end.usage.preempted
    assert again.ids == alone(model, text, 30)


def test_the_engine_survives_a_fault_of_its_own(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(model)
    asked, waiting = bench.ask("inline", n=20), bench.ask("chat", n=3)
    bench.step()

    def fail(*_: object) -> None:
        raise KeyError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(bench.scheduler._tree, "extend", fail)
        bench.core.step()
    assert str(asked.error) == str(waiting.error) == "the engine failed: 'lost'"
    bench.scheduler = bench.core.scheduler
    after = bench.ask("inline", n=20)
    bench.run()
    assert after.ids == alone(model, "x = ", 20)


def test_one_page_of_memory(model: LoadedModel) -> None:
    bench = Bench(model, pages=1)
    small, large = bench.ask("inline", "x", n=40), bench.ask("inline", "y = 1\n" * 20, n=5)
    bench.run()
    assert small.end and small.end.stop in ("context", "memory") and small.end.reason == "length"
    assert 8 < len(small.ids) < 16 and small.ids == alone(model, "x", 40)[: len(small.ids)]
    assert isinstance(large.error, EngineError)
    assert "the KV cache has no room for" in str(large.error)
    after = bench.ask("inline", "x", n=4)
    bench.run()
    assert after.ids == small.ids[:4]


def test_a_time_budget_ends_a_request_wherever_it_is(model: LoadedModel) -> None:
    bench = Bench(model)
    running = bench.ask("inline", n=300, budget_ms=ONE_SECOND / 20)
    began = time.monotonic()
    bench.run()
    assert running.end and (running.end.reason, running.end.stop) == ("length", "time")
    assert 0 < len(running.ids) < 300 and time.monotonic() - began < 1
    assert running.ids == alone(model, "x = ", 300)[: len(running.ids)]
    waiting = bench.ask("chat", n=300, budget_ms=1)
    time.sleep(0.01)
    bench.run()
    assert waiting.end and waiting.end.stop == "time" and waiting.ids == []
    assert waiting.end.usage.cached == waiting.end.usage.generated == 0


def test_a_request_that_cannot_be_sampled_fails_alone(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(model)
    good, bad = bench.ask("inline", n=20), bench.ask("inline", "y = ", n=20)
    bench.step()
    (wrong,) = [s for s in bench.scheduler._running if s.request is bad.request]

    def fail(*_: object, **__: object) -> None:
        raise ValueError("no such token")

    monkeypatch.setattr(wrong.sampler, "pick", fail)
    bench.run()
    assert str(bad.error) == "the engine failed: no such token"
    assert good.ids == alone(model, "x = ", 20)
