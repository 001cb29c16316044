"""Typing through a suggestion: what is left of it is there at once, and nobody is asked."""

import asyncio
import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_lsp.answers import Answer, Answers
from cl_lsp.brackets import merge_closers
from cl_lsp.cache import Cache
from cl_lsp.completion import Suggestion
from cl_lsp.documents import Snapshot
from tests.lsp.client import URI, LspClient
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.typist import until

TEXT = "def f(x):\n    re\n\nf(1)\n"


def snapshot(before: str, after: str) -> Snapshot:
    return Snapshot(URI, 0, "python", before + after, len(before))


def suggested(written: str, closers: str = "") -> Suggestion:
    text = merge_closers(written, closers) if closers else written
    return Suggestion(text, len(closers), "line", written=written)


async def test_typing_through_asks_once(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    client.open(TEXT)
    assert (await client.inline(1, 6))["items"][0]["insertText"] == "turn x"
    for n, character in enumerate("turn "):
        client.insert(character, 1, 6 + n)
        [item] = (await client.inline(1, 7 + n))["items"]
        assert item["insertText"] == "turn x"[n + 1 :]
        assert item["range"]["start"] == {"line": 1, "character": 7 + n}
    assert len(engine.requests) == 1
    client.insert("x", 1, 11)  # the line is finished, and nobody has to be asked for that either
    assert (await client.inline(1, 12))["items"] == []
    assert len(engine.requests) == 1


async def test_what_still_runs_is_stopped(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    client.open(TEXT)
    await client.inline(1, 6)
    engine.delay_s = 5
    client.insert("s", 1, 6)
    pending = client.inline(1, 7)
    while len(engine.requests) < 2:
        await client.code_actions((0, 0), (0, 0))
    at = {"start": {"line": 1, "character": 6}, "end": {"line": 1, "character": 7}}
    change = {"range": at, "text": "t"}  # it was a slip
    document = {"uri": URI, "version": 9}
    client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})
    assert (await client.inline(1, 7))["items"][0]["insertText"] == "urn x"
    assert await pending is None
    for _ in range(100):
        if not engine.open:
            break
        await client.code_actions((0, 0), (0, 0))
    assert engine.ends == ["line", "cancelled"]


@pytest.mark.parametrize(
    ("made", "written", "now", "left"),
    [
        (("a = ", "\nb"), "f(x)", ("a = f", "\nb"), "(x)"),
        (("a = ", "\nb"), "f(x)", ("a = f(", ")\nb"), "x)"),  # the editor closed it
        (("a = ", "\nb"), "f(x)", ("a = f(x", ")\nb"), ")"),
        (("g(", ")\nb"), "f(x)", ("g(f(", "))\nb"), "x))"),
        (("g(", ")\nb"), "f(x)", ("g(", ")\nb"), "f(x))"),
        (("def f():", "\nb"), "\n    x\n    y", ("def f():\n    ", "\nb"), "x\n    y"),
        (("a = ", "\nb"), "f(x)", ("a = f(x)", "\nb"), ""),  # all of it: the line is finished
        (("a = ", "\nb"), "f(x) ", ("a = f(x)", "\nb"), None),
        (("a = ", "\nb"), "f(x)", ("a = g", "\nb"), None),  # something else
        (("a = ", "\nb"), "f(x)", ("a =", "\nb"), None),  # deleted
        (("a = ", "\nb"), "f(x)", ("b = f", "\nb"), None),  # changed above
        (("a = ", "\nb"), "f(x)", ("a = f", "\nc"), None),  # below
        (("a = ", "\nb"), "f(x)", ("a = f", " + 1\nb"), None),  # or on the line
    ],
)
def test_what_is_left(
    made: tuple[str, str], written: str, now: tuple[str, str], left: str | None
) -> None:
    cache = Cache()
    closers = made[1].partition("\n")[0]
    cache.put(snapshot(*made), suggested(written, closers))
    found = cache.get(snapshot(*now))
    assert (found and found.text) == left
    if found is not None:
        assert found.replaced == len(now[1].partition("\n")[0])
        assert found.stop_reason == ("typed" if left else "line")
    cache.forget(URI)
    assert cache.get(snapshot(*made)) is None


def test_going_back_finds_the_one_before() -> None:
    cache = Cache()
    cache.put(snapshot("a", ""), suggested("bcd"))
    cache.put(snapshot("ax", ""), suggested("yz"))
    for before, left in (("axy", "z"), ("ab", "cd"), ("a", "bcd"), ("ax", "yz"), ("b", None)):
        found = cache.get(snapshot(before, ""))
        assert (found and found.text) == left


def test_an_answer_that_two_methods_share_is_kept_once() -> None:
    cache = Cache()
    for before, written in (("a", "bcd"), ("ax", "yz"), ("ap", "qr")):
        found = suggested(written)
        for _ in ("inline", "completion"):
            cache.put(snapshot(before, ""), found)
    assert [cache.get(snapshot(before, "")) is not None for before in ("a", "ax", "ap")] == [
        True
    ] * 3


async def test_what_is_made_ahead_is_made_once_and_waits_for_another_state() -> None:
    made: list[str] = []

    async def make(answer: Answer) -> str:
        made.append(answer.snapshot.before)
        await asyncio.sleep(0.02)
        return answer.snapshot.before

    answers, sources = Answers(make), []
    now, then = snapshot("a", ""), snapshot("ab", "")
    assert await answers.get(now, "inline", sources.append) == "a"
    answers.prefetch(then)
    await asyncio.sleep(0.01)
    assert await answers.get(now, "completion", sources.append) == "a"
    answers.prefetch(then)
    assert await answers.get(then, "inline", sources.append) == "ab"
    assert made == ["a", "ab"] and sources == ["engine", "shared", "prefetched"]
    await answers.close()


@given(st.text("ab()\n ", min_size=1, max_size=12), st.integers(0, 12))
def test_typed_and_left_are_what_was_written(written: str, n: int) -> None:
    cache = Cache()
    cache.put(snapshot("x", "\nz"), suggested(written))
    found = cache.get(snapshot("x" + written[:n], "\nz"))
    if written[n:].strip():
        assert found is not None and written[:n] + found.text == written
    else:
        assert found is None or not found.text


async def test_what_follows_is_there_when_it_is_accepted(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.stop_reason = "max_tokens"  # or the next request of use were the one after Enter
    await client.initialize(options={"completion": {"prefetch": True}})
    client.open(TEXT)
    assert (await client.inline(1, 6))["items"][0]["insertText"] == "turn x"
    while len(engine.ends) < 2 or engine.open:
        await client.code_actions((0, 0), (0, 0))
    assert [r["lane"] for r in engine.requests] == ["inline", "completion"]
    assert engine.requests[1]["prompt"] == "def f(x):\n    return x"
    client.insert("turn x", 1, 6)
    assert (await client.inline(1, 12))["items"][0]["insertText"] == "turn x"
    assert [r["lane"] for r in engine.requests].count("inline") == 1


async def test_what_is_on_its_way_is_waited_for_or_given_up(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.stop_reason = "max_tokens"  # or the next request of use were the one after Enter
    await client.initialize(options={"completion": {"prefetch": True}})
    client.open(TEXT)
    await client.inline(1, 6)
    engine.delay_s = 0.3
    client.insert("s", 1, 6)  # something else: the next two have time to be made
    await client.inline(1, 7)
    while len(engine.requests) < 4:
        await client.code_actions((0, 0), (0, 0))
    client.insert("turn x", 1, 7)
    assert (await client.inline(1, 13))["items"][0]["insertText"] == "turn x"
    assert [r["lane"] for r in engine.requests[2:4]] == ["inline", "completion"]
    assert engine.requests[3]["prompt"].endswith("resturn x")
    client.insert("=", 1, 13)
    await client.inline(1, 14)
    while len(engine.requests) < 7:
        await client.code_actions((0, 0), (0, 0))
    client.insert("?", 1, 14)
    await client.inline(1, 15)
    # What was made ahead of the accepted one, and of "=", was for nothing.
    assert [engine.ends[n] for n in (4, 5, 6)] == ["cancelled", "max_tokens", "cancelled"]


async def test_who_waits_for_it_is_overtaken_by_the_next_key(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.stop_reason = "max_tokens"  # or the next request of use were the one after Enter
    await client.initialize(options={"completion": {"prefetch": True}})
    client.open(TEXT)
    engine.delay_s = 0.4
    await client.inline(1, 6)
    while len(engine.requests) < 2:
        await client.code_actions((0, 0), (0, 0))
    client.insert("turn x", 1, 6)
    first = client.inline(1, 12)
    await client.code_actions((0, 0), (0, 0))
    client.insert("?", 1, 12)
    second = client.inline(1, 13)
    assert await first is None
    assert (await second)["items"][0]["insertText"] == "turn x"
    prompts = [request["prompt"] for request in engine.requests]
    assert prompts.count("def f(x):\n    return x") == 1  # it did not ask for what is past


@pytest.mark.alone
async def test_it_takes_no_time(client: LspClient, engine: FakeEngine) -> None:
    """Bar: 1 ms, in a document of 5,000 lines."""
    lines = [f"value_{i} = {i}\n" for i in range(5000)]
    lines[2500] = "x\n"
    engine.text = "".join(map(str, range(100)))
    await client.initialize()
    client.open("".join(lines))
    await client.inline(2500, 1)
    took = []
    for n in range(1, 100):
        client.insert(engine.text[n - 1], 2500, n)
        began = time.perf_counter()
        assert (await client.inline(2500, n + 1))["items"]
        took.append((time.perf_counter() - began) * 1e3)
    print(f"\n{statistics.median(took):.2f} ms")
    assert len(engine.requests) == 1
    assert min(statistics.median(took[i : i + 33]) for i in (0, 33, 66)) <= 1


async def test_a_finished_line_needs_no_engine_and_what_follows_enter_is_there(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.text = "return 1"
    await client.initialize(options={"completion": {"prefetch": True}})
    client.open("def f(x):\n\t")
    assert (await client.inline(1, 1))["items"][0]["insertText"] == "return 1"
    await until(lambda: engine.finished == 2)
    assert engine.requests[1]["prompt"] == "def f(x):\n\treturn 1\n"  # one step back
    client.insert("return 1", 1, 1)
    assert (await client.inline(1, 9))["items"] == []
    client.insert("\n", 1, 9)
    assert (await client.inline(2, 0))["items"][0]["insertText"] == "return 1"
    source = [one["source"] for one in (await client.request("cl-lsp/trace", {}))["requests"]]
    assert source == ["engine", "typed", "prefetched"]
