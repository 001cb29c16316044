"""What is read before the first key, and when."""

import asyncio
from typing import Any

from tests.lsp.client import URI, LspClient
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.typist import until

TEXT = "".join(f"x{n} = {n}\n" for n in range(200))
ABLE: dict[str, Any] = {
    "codeAction": {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}}}
}
WARM = {"completion": {"warming": True}}


async def test_a_jump_is_read_and_small_steps_are_not(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize(options=WARM, more=ABLE)
    client.open(TEXT)
    await until(lambda: len(engine.requests) == 1)  # opened
    await client.code_actions((100, 3), (100, 3))
    await until(lambda: len(engine.requests) == 2)
    warm = engine.requests[1]
    assert warm["prompt"].endswith("x99 = 99\nx10") and warm["suffix"].startswith("0 = 100\n")
    assert (warm["max_tokens"], warm["lane"]) == (1, "completion")
    await client.code_actions((110, 3), (110, 3))
    await client.inline(199, 0)  # says where one is, too
    await until(lambda: len(engine.requests) == 3)
    await client.code_actions((180, 3), (180, 3))
    client.notify("textDocument/didSave", {"textDocument": {"uri": URI}})
    await until(lambda: len(engine.requests) == 4)
    assert engine.requests[3]["prompt"] == engine.requests[2]["prompt"]
    assert [r["lane"] for r in engine.requests] == [
        *("completion", "completion", "inline", "completion")
    ]


async def test_a_key_goes_first_and_who_wants_none_gets_none(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize(options=WARM, more=ABLE)
    client.open(TEXT)
    found = client.inline(199, 0)
    await found
    await asyncio.sleep(0.5)  # longer than one would wait for the place to be quiet
    assert [r["lane"] for r in engine.requests] == ["inline"]
    off = {"settings": {"completion": {"warming": False}}}
    client.notify("workspace/didChangeConfiguration", off)
    await client.code_actions((100, 3), (100, 3))
    await asyncio.sleep(0.5)
    assert len(engine.requests) == 1


async def test_a_closed_document_is_not_read(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize(options=WARM)
    engine.models_s = 0.2
    client.open(TEXT)
    await until(lambda: engine.models_asked)
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    await asyncio.sleep(0.4)
    assert engine.requests == []
    client.open(TEXT)  # it is read anew
    await until(lambda: len(engine.requests) == 1)
