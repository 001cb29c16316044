"""`cl-lsp/models` on the wire: the cards of each role's engine, for a picker."""

from tests.lsp.client import LspClient
from tests.lsp.fake_engine import FakeEngine


async def test_the_cards_of_both_roles_and_the_current_model(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.refused = {"chat": "it is no Instruct model"}
    await client.initialize(options={"engine": {"model": "mine"}})
    answer = await client.request("cl-lsp/models", {})
    assert answer["completion"] == {
        "current": "mine",
        "models": [{"id": "fake", "refused": engine.refused}],
        "problem": None,
    }
    assert answer["chat"] == answer["completion"]


async def test_without_a_model_of_ones_own_it_is_the_engines_first(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize()
    assert (await client.request("cl-lsp/models", None))["chat"]["current"] == "fake"


async def test_an_engine_that_cannot_be_asked_is_named(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize(options={"chat": {"endpoint": "http://127.0.0.1:9"}})
    answer = await client.request("cl-lsp/models", {})
    assert answer["chat"]["models"] == [] and "127.0.0.1:9" in answer["chat"]["problem"]
    assert answer["completion"]["models"]
