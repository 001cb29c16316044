"""Several models in one daemon: loaded when asked for, unloaded when others need the memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
import torch
from cl_engine.errors import EngineError, NoRoom, UnknownModel
from cl_engine.http import create_app
from cl_engine.registry import Options, Registry

from tests.checkpoints import make_checkpoint

GIB = 1 << 30


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [str(make_checkpoint(folder / name)) for name in "abc"]


class Memory:
    """So many of `registry`'s models fit at once, whatever this machine has."""

    registry: Registry

    def __init__(self, models: int):
        self.models = models

    def free(self, device: torch.device) -> int:
        registry = self.registry
        need = registry.need(registry.default)
        taken = sum(registry.need(e.model_name).size for e in registry.engines)
        return self.models * need.size - taken


@contextlib.contextmanager
def registry(model: str, fits: int, **options: object) -> Iterator[Registry]:
    memory = Memory(fits)
    made = Registry(model, Options("cpu"), free=memory.free, **options)  # type: ignore[arg-type]
    memory.registry = made
    try:
        yield made
    finally:
        made.stop()


@contextlib.asynccontextmanager
async def app(made: Registry) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(create_app(made))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine") as http:
        yield http


def held(made: Registry) -> list[str]:
    return [engine.model_name for engine in made.engines]


async def say(http: httpx2.AsyncClient, **body: object) -> httpx2.Response:
    asked = {"prompt": "a", "max_tokens": 2, "temperature": 0} | body
    return await http.post("/v1/completions", json=asked)


async def test_the_least_recently_used_makes_room(models: list[str]) -> None:
    a, b, c = models
    with registry(a, 2, others=True) as made:
        async with app(made) as http:
            for model in (a, b, a):
                assert (await say(http, model=model)).json()["model"] == model
            assert held(made) == [a, b]
            assert (await say(http, model=c)).status_code == 200
            assert held(made) == [a, c]  # b was used before a
            assert (await say(http)).json()["model"] == a
            status = (await http.get("/status")).json()
            assert [m["id"] for m in status["models"]] == [a, c]
            assert status["models"][0]["recent"]["completion"]["requests"] == 3
            assert status["models"][0]["memory"]["weights"] > 0
            cards = (await http.get("/v1/models")).json()["data"]
            states = {card["id"]: card["status"] for card in cards}
            assert (cards[0]["id"], states[a], states[c]) == (a, "ok", "ok")
            assert states.get("embedded") == "unloaded"


async def test_what_is_in_use_is_not_unloaded(models: list[str]) -> None:
    a, b, _ = models
    with registry(a, 1, others=True) as made:
        async with made.use(a):
            with pytest.raises(NoRoom, match=f"{b} needs .* and {a} is in use"):
                await made.engine(b)
            assert held(made) == [a]
            assert not await made.unload(a)
        # Nobody uses it any more.
        async with made.use(b) as (engine, loaded):
            assert loaded.name == engine.model_name == b
        assert held(made) == [b]


async def test_a_model_that_can_never_fit_unloads_nothing(models: list[str]) -> None:
    a, _, _ = models
    with registry(a, 1, others=True) as made:
        async with made.use(a):
            pass
        with pytest.raises(NoRoom, match="embedded needs"):
            await made.engine("embedded")
        assert held(made) == [a]


async def test_only_its_own_models_where_others_can_ask(models: list[str]) -> None:
    a, b, c = models
    with registry(a, 9, chat_model=b) as made:
        assert made.name_of(None) == a and made.name_of(None, "chat") == b
        with pytest.raises(UnknownModel, match="this server serves"):
            made.name_of(c)
        async with app(made) as http:
            for name in (
                "~0",
                "x" * 5000,
                "a/" + "x" * 5000,
                "a%00b",
                "%F0%90%80%80" * 99,
            ):  # no file's name
                assert (await http.get(f"/v1/models/{name}")).status_code == 404
            unknown = await say(http, model=c)
            assert (unknown.status_code, unknown.json()["error"]["code"]) == (
                404,
                "model_not_found",
            )
            assert (await http.post("/models/load", json={"model": c})).status_code == 404
            cards = (await http.get("/v1/models")).json()["data"]
            assert [card["id"] for card in cards] == [a, b]
            status = (await http.get("/status")).json()["models"]
            assert [(m["id"], m["status"]) for m in status] == [(a, "unloaded"), (b, "unloaded")]
            # A model that cannot chat refuses by its own name.
            chat = {"messages": [{"role": "user", "content": "hi"}]}
            refusal = await http.post("/v1/chat/completions", json=chat)
            assert refusal.status_code == 400
        assert held(made) == []  # nothing was loaded to be refused


async def test_a_model_is_loaded_once_for_all_who_ask(models: list[str]) -> None:
    a, b, _ = models
    with registry(a, 9, others=True) as made:
        engines = await asyncio.gather(*(made.engine(b) for _ in range(5)))
        assert len({id(engine) for engine in engines}) == 1
        assert await made.engine(made.name_of(b + "/")) is engines[0]


async def test_idle_models_are_unloaded_and_come_back(models: list[str]) -> None:
    a, b, _ = models
    with registry(a, 9, others=True) as made:
        async with app(made) as http:
            first = (await say(http)).json()["choices"][0]["text"]
            threads = [engine._thread for engine in made.engines]
            await made.unload_idle(60)
            assert held(made) == [a]
            await made.unload_idle(0)
            assert held(made) == []
            assert not any(thread.is_alive() for thread in threads)
            health = (await http.get("/health")).json()
            assert (health["status"], health["models"]) == ("unloaded", {})
            assert (await say(http)).json()["choices"][0]["text"] == first
            assert held(made) == [a]
            assert (await http.post("/models/load", json={"model": b})).json() == {"success": True}
            await made.engines[-1].model()
            assert held(made) == [a, b]
            assert (await http.post("/models/unload", json={"model": b})).json() == {
                "success": True
            }
            again = await http.post("/models/unload", json={"model": b})
            assert again.status_code == 400 and "unloaded" in again.json()["error"]["message"]
            assert held(made) == [a]


async def test_one_that_failed_is_tried_again(tmp_path: Path, models: list[str]) -> None:
    broken = make_checkpoint(tmp_path / "m")
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(b"no")
    with registry(models[0], 9, others=True) as made:
        with pytest.raises(EngineError, match="unreadable"):
            async with made.use(str(broken)):
                pass
        assert made.state(str(broken)) == "failed"
        (broken / "model.safetensors").write_bytes(weights)
        async with made.use(str(broken)) as (engine, _):
            assert engine.state == "ok"
