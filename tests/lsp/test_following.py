"""A request that goes on where another one was: who is followed, and when each stream is closed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from lsprotocol import types

from cl_lsp.client import EngineClient
from cl_lsp.daemon import user_address
from cl_lsp.documents import Snapshot
from cl_lsp.exchange import CompletionRequest
from cl_lsp.server import ClLsp
from tests.lsp.client import URI, LspClient
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.typist import AFTER, Typist, shown, until

TYPED = "total_tokens = sum(len(ids) for ids in rows)"


@pytest.fixture
async def typist(engine: FakeEngine) -> AsyncIterator[Typist]:
    engine.delay_s, engine.whole = 0.5, TYPED + "\n"
    typist = Typist(ClLsp(), engine)
    yield typist
    await until(typist.at_rest)
    for answers in typist.ls.suggesting.answers._of.values():
        assert [answer.follows for answer in answers] in ([], [None])
    await typist.ls.close()


async def test_what_is_followed_stays_open_until_the_engine_answers(
    typist: Typist, engine: FakeEngine
) -> None:
    first = await typist.ask("total")
    await asyncio.sleep(0.05)
    engine.headers_s = 0.15
    second = await typist.ask("total_t")
    assert await first is None
    stream, newer = engine.streams
    assert newer.beside == [stream]
    assert newer.body["follows"] == stream.body["request_id"]
    await until(lambda: stream.end)
    assert stream.end == "adopted"
    assert newer.end is None
    assert await shown(second) == TYPED.removeprefix("total_t")


async def test_typing_something_else_is_followed_too(typist: Typist, engine: FakeEngine) -> None:
    engine.whole, engine.text = "", "turn x"
    await typist.ask("re")
    engine.text = "lease()"
    second = await typist.ask("re.")
    assert await shown(second) == "lease()"
    assert engine.ends == ["superseded", "line"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("tota", AFTER),  # deleted
        ("totem", AFTER),  # other text
        ("total_t", "\n" + AFTER),  # something below it
        ("x\ntotal", AFTER),  # something above it
        ("", "\ntotal" + AFTER),  # jumped
    ],
)
async def test_elsewhere_is_no_following_and_closes_at_once(
    typist: Typist, engine: FakeEngine, before: str, after: str
) -> None:
    engine.whole, engine.text = "", "turn x"
    first = await typist.ask("total")
    await asyncio.sleep(0.05)
    engine.headers_s = 0.3
    second = await typist.ask(before, after)
    assert await first is None
    stream, newer = engine.streams
    assert "follows" not in newer.body
    await until(lambda: stream.end, 0.2)
    assert (stream.end, newer.end) == ("cancelled", None)
    assert await shown(second) == "turn x"


async def test_one_that_another_method_waits_for_goes_on(
    typist: Typist, engine: FakeEngine
) -> None:
    first = Snapshot(URI, 0, "python", "total" + AFTER, 5)
    plain = asyncio.create_task(typist.ls.suggesting.one("completion", first))
    inline = asyncio.create_task(typist.ls.suggesting.one("inline", first))
    await until(lambda: engine.open)
    second = await typist.ask("total_t")
    assert "follows" not in engine.requests[-1]
    assert await inline is None
    assert await shown(plain) == TYPED.removeprefix("total")
    assert await shown(second) == TYPED.removeprefix("total_t")


async def test_what_was_not_sent_is_not_followed(typist: Typist, engine: FakeEngine) -> None:
    await typist.ask("tota")
    engine.models_s = 0.05
    typist.client().forget()
    typist.ask_soon("total")
    await asyncio.sleep(0.01)
    assert await shown(await typist.ask("total_")) == TYPED.removeprefix("total_")
    first, newer = engine.requests
    assert (newer["prompt"], newer["follows"]) == ("total_", first["request_id"])


@pytest.mark.parametrize("headers_s", [0.0, 0.1])
async def test_jumps_in_quick_succession_do_not_interrupt_closing(
    typist: Typist, engine: FakeEngine, headers_s: float
) -> None:
    engine.whole, engine.headers_s = "", headers_s
    await typist.ask("total")
    await asyncio.sleep(0.05)
    for n in range(20):
        typist.ask_soon(f"{n}")
        await asyncio.sleep(0)
    assert await shown(typist.ask_soon("at last")) == engine.text


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.005, 0.05, 0.25, 0.4])
async def test_a_cancel_in_any_phase_leaves_nothing(
    typist: Typist, engine: FakeEngine, after_s: float, follows: bool
) -> None:
    if follows:
        await typist.ask("tota")
    # Until 0.1 s it asks what the model can do, until 0.3 s it waits for the headers.
    engine.models_s, engine.headers_s = 0.1, 0.2
    typist.client().forget()
    task = typist.ask_soon("total")
    await asyncio.sleep(after_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(typist.at_rest, 0.5)
    assert engine.finished == 0


@pytest.mark.parametrize("status", [400, 429, 503])
async def test_a_follower_that_is_refused_closes_what_it_follows(
    typist: Typist, engine: FakeEngine, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def started(role: str, uri: str) -> None:
        engine.error = None

    monkeypatch.setattr(typist.ls.engines, "ready", started)
    engine.forgets = True
    await typist.ask("total")
    await asyncio.sleep(0.05)
    engine.error, engine.error_status = "the queue is full", status
    found = await (await typist.ask("total_t"))
    assert found is not None
    if status == 503:  # the one error that is worth another try
        assert found.text == TYPED.removeprefix("total_t")
    else:
        assert (found.text, typist.said) == ("", ["the queue is full"])
    await until(lambda: engine.ends[:2] == ["cancelled", "refused"], 0.2)
    engine.error = None
    assert await shown(await typist.ask("total_to"))


async def test_an_engine_that_dies_is_asked_again_for_the_newest_only(
    typist: Typist, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def started(role: str, uri: str) -> None:
        await asyncio.sleep(0.01)

    monkeypatch.setattr(typist.ls.engines, "ready", started)
    engine.forgets = True
    await typist.ask("total")
    await asyncio.sleep(0.05)
    engine.headers_s = 0.1
    second = await typist.ask("total_t")
    engine.break_off = True  # whoever is next to say something; the first, with nobody left
    await until(lambda: engine.streams[0].end)
    engine.break_off = True
    assert await shown(second) == TYPED.removeprefix("total_t")
    assert engine.ends == ["broken", "broken", "line"]
    assert len(typist.said) == 1 and "starting it again" in typist.said[0]


async def test_closing_the_document_ends_the_work(typist: Typist, engine: FakeEngine) -> None:
    engine.headers_s = 0.2
    await typist.ask("total")
    second = await typist.ask("total_t")
    typist.ls.suggesting.answers.forget(URI)
    assert await second is None
    await until(typist.at_rest, 0.1)
    assert engine.finished == 0
    assert await shown(await typist.ask("total_t"))


@pytest.mark.parametrize("becomes", ["closed", "changed", "same"])
async def test_what_waits_for_the_settings_is_asked_only_if_it_is_still_wanted(
    typist: Typist, engine: FakeEngine, becomes: str
) -> None:
    ls = typist.ls
    ls.documents.open(types.TextDocumentItem(URI, "python", 1, "total" + AFTER))
    ls.settled.clear()
    asked = typist.ask_soon("total")
    await asyncio.sleep(0.01)
    if becomes == "closed":
        ls.documents.close(URI)
        ls.suggesting.forget(URI)
    elif becomes == "changed":
        ls.documents.open(types.TextDocumentItem(URI, "python", 2, "totals" + AFTER))
    ls.settled.set()
    found = await asked
    assert (found is None, len(engine.requests)) == ((False, 1) if becomes == "same" else (True, 0))
    [record] = ls.trace.shown()
    assert record["reason"] == (None if becomes == "same" else becomes)


async def test_shutting_down_ends_the_work(typist: Typist, engine: FakeEngine) -> None:
    await typist.ask("total")
    second = await typist.ask("total_t")
    await typist.ls.suggesting.answers.close()
    assert typist.work() == []
    assert await second is None


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("headers_s", [0.0, 0.04])
async def test_many_quick_keys_leave_one_stream(
    typist: Typist, engine: FakeEngine, forgets: bool, headers_s: float
) -> None:
    engine.forgets, engine.headers_s, engine.delay_s = forgets, headers_s, 1
    engine.whole = "x = " + TYPED
    tasks, most = [], 0
    for n in range(20):
        tasks.append(typist.ask_soon("x = " + TYPED[: n + 1]))
        await asyncio.sleep(0.01)
        most = max(most, len(engine.open))
    await until(lambda: len(engine.open) == 1, 0.5)
    [stream] = engine.open
    assert stream.body["prompt"] == "x = " + TYPED[:20]
    assert most <= 4
    *overtaken, last = await asyncio.gather(*tasks)
    assert overtaken == [None] * 19
    assert last is not None and last.text == TYPED[20:]


async def test_quick_keys_on_the_wire(client: LspClient, engine: FakeEngine) -> None:
    engine.delay_s, engine.whole = 0.5, TYPED
    await client.initialize()
    client.open(AFTER)
    await asyncio.sleep(0.1)
    replies = []
    for n in range(20):
        client.insert(TYPED[n], 0, n)
        replies.append(client.inline(0, n + 1))
        await asyncio.sleep(0.01)
    *overtaken, last = await asyncio.gather(*replies)
    assert overtaken == [None] * 19
    assert last["items"][0]["insertText"] == TYPED[20:]
    assert engine.open == [] and engine.ends[-1] == "line"
    assert "adopted" in engine.ends and "superseded" not in engine.ends
    client.insert("x", 0, 0)
    pending = client.inline(0, 1)
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert await asyncio.wait_for(pending, 0.3) in (None, {"items": []})


async def test_why_there_is_no_suggestion_is_logged(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    client.open("def f(x):\n    re\n\ng(x)\n")
    answers = ("", "time"), ("  ", "max_tokens")
    for column, (engine.text, engine.stop_reason) in enumerate(answers, 6):
        client.insert("t", 1, column)
        assert (await client.inline(1, column + 1))["items"] == []
    assert (await client.inline(1, 6))["items"] == []
    engine.text = "\n    y\n\ng(x)"
    assert (await client.inline(0, 9))["items"]
    engine.text = "g(x)"
    assert (await client.inline(3, 0))["items"] == []
    await client.shutdown()
    logged = [n for n in client.notifications if n["method"] == "window/logMessage"]
    said = [n["params"]["message"].removeprefix("no suggestion at a.py:") for n in logged]
    assert [one.partition(" (")[0] for one in said] == [
        *("2:8: time", "2:9: max_tokens", "2:7: mid-word", "4:1: suffix")
    ]
    assert said[3].endswith("(all that the model wrote stands after the cursor already)")
    assert client.messages() == []


async def test_a_stream_is_closed_if_its_reader_is_gone(engine: FakeEngine) -> None:
    engine.delay_s = 1
    client, received = EngineClient(user_address()), []
    request = CompletionRequest("x", None, None, 8, URI, "python", ("line",), "1")
    chunks = client.complete(request, lambda: received.append(len(engine.open)))
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            assert (chunk.text, received) == ("t", [1])
            break
    await until(lambda: engine.ends == ["cancelled"], 0.2)
    await client.close()
