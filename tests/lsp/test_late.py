"""The time budget: what is shown then, and what becomes of the rest."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cl_lsp.server import ClLsp
from tests.lsp.client import LspClient
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.foreign import foreign
from tests.lsp.typist import Typist, shown, until

WHOLE = "total_tokens = sum(len(ids) for ids in rows)"


@pytest.fixture
async def typist(engine: FakeEngine) -> AsyncIterator[Typist]:
    engine.delay_s, engine.whole = 1.0, WHOLE + "\n"
    typist = Typist(ClLsp(), engine)
    limit(typist, 200)
    yield typist
    await typist.ls.close()
    await until(lambda: not engine.open)


def limit(typist: Typist, milliseconds: int, **more: object) -> None:
    completion = {"prefetch": False, "timeBudgetMs": milliseconds}
    typist.ls.scopes.options = {"completion": completion, **more}
    typist.ls.scopes.read()


async def test_the_next_key_goes_on_with_what_was_shown_in_part(
    typist: Typist, engine: FakeEngine
) -> None:
    part = await shown(await typist.ask("total"))
    assert part and WHOLE.startswith("total" + part) and "total" + part != WHOLE
    limit(typist, 0)
    assert await shown(await typist.ask("total_")) == WHOLE.removeprefix("total_")
    first, second = engine.streams
    assert second.body["follows"] == first.body["request_id"]
    assert engine.ends == ["adopted", "line"]


async def test_whoever_asks_again_at_the_same_place_gets_more(
    typist: Typist, engine: FakeEngine
) -> None:
    place, one = typist.snapshot("total"), typist.ls.suggesting.one
    parts = [await shown(asyncio.create_task(one("inline", place))) for _ in range(3)]
    assert len(parts[0]) < len(parts[1]) < len(parts[2])
    assert len(engine.streams) == 1


async def test_the_whole_is_there_at_the_next_key_when_it_has_come(
    typist: Typist, engine: FakeEngine
) -> None:
    part = await shown(await typist.ask("total"))
    await until(typist.at_rest)
    assert engine.ends == ["line"]
    assert await shown(typist.ask_soon("total_")) == WHOLE.removeprefix("total_")
    taken = "total" + part  # as accepted
    assert await shown(typist.ask_soon(taken)) == WHOLE.removeprefix(taken)
    assert len(engine.streams) == 1


@pytest.mark.parametrize("before", ["x", "tota", "total(", ""])
async def test_another_place_or_other_text_ends_it(
    typist: Typist, engine: FakeEngine, before: str
) -> None:
    await shown(await typist.ask("total"))
    engine.whole, engine.delay_s = "", 0
    assert await shown(await typist.ask(before))
    await until(lambda: engine.ends[0] in ("cancelled", "superseded"), 0.3)


async def test_a_known_answer_elsewhere_ends_it_too(typist: Typist, engine: FakeEngine) -> None:
    limit(typist, 0)
    engine.whole, engine.delay_s = "", 0
    await shown(await typist.ask("elsewhere"))
    limit(typist, 200)
    engine.whole, engine.delay_s = WHOLE, 1
    await shown(await typist.ask("total"))
    assert await shown(typist.ask_soon("elsewhere")) == engine.text
    await until(lambda: engine.ends == ["line", "cancelled"], 0.3)


async def test_it_does_not_go_on_for_ever_nor_for_a_closed_document(
    typist: Typist, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.delay_s = 30
    assert await shown(await typist.ask("total")) and len(engine.open) == 1
    typist.ls.suggesting.forget(typist.snapshot("").uri)
    await until(typist.at_rest, 1)
    monkeypatch.setattr("cl_lsp.answers.LATE_S", 0.3)
    assert await shown(await typist.ask("total")) and len(engine.open) == 1
    await until(typist.at_rest, 2)
    assert engine.ends == ["cancelled", "cancelled"]


async def test_a_follower_that_is_late_as_well_goes_on(typist: Typist, engine: FakeEngine) -> None:
    engine.delay_s = 1.5
    typed = "total"
    for key in "_tok":
        await shown(await typist.ask(typed))
        typed += key
    assert engine.ends == ["adopted", "adopted", "adopted", None]
    await until(typist.at_rest)
    assert await shown(typist.ask_soon(typed)) == WHOLE.removeprefix(typed)


async def test_of_an_engine_that_cannot_go_on_the_part_serves_until_the_whole_is_there(
    typist: Typist,
) -> None:
    pieces = ["turn", *(f" x{n}" for n in range(20)), "\n"]
    async with foreign("vLLM", pieces=pieces, delay_s=0.04) as fake:
        limit(typist, 200, engine={"endpoint": fake.url})
        part = await shown(typist.ask_soon("re"))
        assert part.startswith("turn x0") and len(part) < 40
        assert await shown(typist.ask_soon("ret")) == part.removeprefix("t")
        whole = "".join(pieces).strip()
        rest = whole.removeprefix("tur")

        async def asked() -> bool:
            return await shown(typist.ask_soon("retur")) == rest

        async with asyncio.timeout(3):
            while not await asked():
                await asyncio.sleep(0.05)
        assert len(fake.asked) == 1 and fake.closed <= 1


async def test_on_the_wire(client: LspClient, engine: FakeEngine) -> None:
    engine.text, engine.delay_s = "turn some_long_name + 1", 1
    await client.initialize(options={"completion": {"timeBudgetMs": 400}})
    client.open("def f(x):\n    re\n\nf(1)\n")
    [item] = (await client.inline(1, 6))["items"]
    assert engine.text.startswith(item["insertText"]) and item["insertText"] != engine.text
    await until(lambda: not engine.open)
    await asyncio.sleep(0.2)  # until the server has read it
    client.insert("t", 1, 6)
    [item] = (await client.inline(1, 7))["items"]
    assert item["insertText"] == engine.text[1:]
    assert engine.ends == ["line"]


async def test_a_budget_that_is_over_before_the_first_word_waits_for_it(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.headers_s = 0.3
    await client.initialize(options={"completion": {"timeBudgetMs": 100}})
    client.open("def f(x):\n    re\n\nf(1)\n")
    assert (await client.inline(1, 6))["items"][0]["insertText"].startswith("tu")
