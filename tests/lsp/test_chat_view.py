"""The request `cl-lsp/chat`, on which plugins build views of their own."""

import asyncio
from typing import Any

import pytest

from tests.lsp.client import URI, LspClient, LspError
from tests.lsp.fake_engine import FakeEngine

TEXT = "class A:\n    def f(self, x):\n        return x\n"
ASK = [{"role": "user", "content": "What is it?"}]
AT = {"start": {"line": 1, "character": 0}, "end": {"line": 2, "character": 4}}


async def test_it_streams_and_answers(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    client.open(TEXT)
    engine.text = "It is:\n```python\nx\n```\n"
    params: dict[str, Any] = {"messages": ASK, "uri": URI, "range": AT}
    tokens = {"partialResultToken": "p", "workDoneToken": 7}
    found = await client.request("cl-lsp/chat", params | tokens)
    assert found == {
        "text": engine.text,
        "blocks": [{"language": "python", "text": "x\n"}],
        "notes": [],
    }
    told = [n["params"] for n in client.notifications if n["method"] == "$/progress"]
    pieces = [p["value"]["text"] for p in told if p["token"] == "p"]
    assert "".join(pieces) == engine.text and len(pieces) > 1 and all(pieces)
    work = [p["value"]["kind"] for p in told if p["token"] == 7]
    assert work[0] == "begin" and work[-1] == "end"
    content = engine.requests[-1]["messages"][-1]["content"]
    assert content.endswith("```python\n    def f(self, x):\n        return x\n```\n\nWhat is it?")
    assert "class A:" in content

    history = [{"role": "system", "content": "Be brief."}, *ASK]
    plain = await client.request("cl-lsp/chat", {"messages": history})
    assert plain["text"] == engine.text and engine.requests[-1]["messages"] == history


@pytest.mark.parametrize("by", ["request", "progress"])
async def test_it_is_cancelled(client: LspClient, engine: FakeEngine, by: str) -> None:
    await client.initialize()
    engine.delay_s = 20
    request = client.request("cl-lsp/chat", {"messages": ASK, "workDoneToken": "w"})
    while not engine.requests:
        await asyncio.sleep(0.02)
    if by == "request":
        client.notify("$/cancelRequest", {"id": request.ident})  # type: ignore[attr-defined]
    else:
        client.notify("window/workDoneProgress/cancel", {"token": "w"})
    with pytest.raises(LspError) as error:
        await asyncio.wait_for(request, 5)
    assert error.value.code == -32800


async def test_what_cannot_be_asked_is_an_error(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    engine.error = "fake cannot do chat"
    with pytest.raises(LspError, match="fake cannot do chat") as failed:
        await client.request("cl-lsp/chat", {"messages": ASK})
    assert failed.value.code == -32803
    wrong: list[Any] = [
        None,
        {},
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "dog", "content": "x"}, *ASK]},
        {"messages": ASK, "uri": URI, "range": {"start": 1}},
        {"messages": ASK, "partialResultToken": [1]},
    ]
    for params in wrong:
        with pytest.raises(LspError) as error:
            await client.request("cl-lsp/chat", params)
        assert error.value.code == -32602, params
