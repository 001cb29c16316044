"""Chat code actions on the wire, with a scripted engine behind the language server."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from cl_lsp.chat import MAX_SELECTION
from tests.lsp.client import LspClient, LspError
from tests.lsp.fake_engine import FakeEngine

TEXT = "import os\n\ndef f(x):\n    return x\n\nf(1)\n"
KINDS: dict[str, Any] = {"codeActionKind": {"valueSet": ["source"]}}
ABLE: dict[str, Any] = {
    "codeAction": {"codeActionLiteralSupport": KINDS, "disabledSupport": True},
}


def shown(client: LspClient) -> str:
    requests = [n for n in client.notifications if n["method"] == "window/showDocument"]
    return Path(unquote(urlparse(requests[-1]["params"]["uri"]).path)).read_text()


async def run(client: LspClient, action: dict) -> None:
    command = action["command"]
    params = {"command": command["command"], "arguments": command["arguments"]}
    await client.request("workspace/executeCommand", params)


async def test_an_explanation_is_shown_as_a_document(client: LspClient, engine: FakeEngine) -> None:
    capabilities = await client.initialize(more=ABLE)
    assert capabilities["codeActionProvider"]["codeActionKinds"] == ["source.explain"]
    assert "cl-lsp.chat" in capabilities["executeCommandProvider"]["commands"]
    client.open(TEXT)
    [action] = await client.code_actions((2, 0), (3, 12))
    assert action["title"] == "cl-lsp: Explain this code" and "disabled" not in action
    await run(client, action)
    code = "```python\ndef f(x):\n    return x\n```"
    assert shown(client) == f"# Explain this code\n\n{code}\n\nturn x\n"
    [message] = engine.requests[-1]["messages"]
    assert message["role"] == "user" and message["content"].endswith(code)


async def test_without_a_selection_it_is_the_paragraph(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize(more=ABLE)
    client.open(TEXT)
    [action] = await client.code_actions((3, 6), (3, 6))
    await run(client, action)
    assert "def f(x):\n    return x\n```" in engine.requests[-1]["messages"][0]["content"]
    assert "import os" not in engine.requests[-1]["messages"][0]["content"]


async def test_a_long_selection_is_cut_at_a_line_and_says_so(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize(more=ABLE)
    lines = "".join(f"value_{i} = {i}\n" for i in range(1000))
    client.open(lines)
    [action] = await client.code_actions((0, 0), (1000, 0))
    await run(client, action)
    sent = engine.requests[-1]["messages"][0]["content"]
    assert MAX_SELECTION * 0.9 < len(sent) < MAX_SELECTION + 200
    assert sent.endswith("\n```") and lines.startswith(sent.split("```python\n")[1][:-3])
    assert f"of {len(lines):,} characters" in shown(client)


async def test_a_model_that_cannot_chat_shows_the_action_disabled(
    client: LspClient, engine: FakeEngine
) -> None:
    reason = "fake cannot do chat. These models can: codellama/CodeLlama-7b-Instruct-hf"
    engine.refused = {"chat": reason}
    await client.initialize(more=ABLE)
    client.open(TEXT)
    [action] = await client.code_actions((2, 0), (3, 12))
    assert action["disabled"] == {"reason": reason} and "command" not in action
    assert await client.code_actions((2, 0), (3, 12), only=["source.explain"]) == [action]
    assert await client.code_actions((2, 0), (3, 12), only=["quickfix"]) == []
    engine.refused, engine.status = {}, "loading"
    [action] = await client.code_actions((2, 0), (3, 12))
    assert "disabled" not in action  # another model by now, which is asked when it is there


@pytest.mark.parametrize(
    "able", [{}, {"codeAction": {}}, {"codeAction": {"codeActionLiteralSupport": KINDS}}]
)
async def test_a_client_gets_only_what_it_can_show(
    client: LspClient, engine: FakeEngine, able: dict
) -> None:
    engine.refused = {"chat": "no"}
    await client.initialize(more=able)
    client.open(TEXT)
    assert await client.code_actions((2, 0), (3, 12)) == []


async def test_what_goes_wrong_is_said(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize(more=ABLE)
    client.open(TEXT)
    [action] = await client.code_actions((2, 0), (3, 12))
    engine.error = "out of cheese"
    await run(client, action)
    assert client.messages()[-1] == "cl-lsp: out of cheese"
    client.notify("textDocument/didClose", {"textDocument": {"uri": "file:///work/a.py"}})
    await run(client, action)
    assert client.messages()[-1] == "cl-lsp: file:///work/a.py is not open"


@pytest.mark.parametrize("by", ["request", "progress"])
async def test_a_cancelled_question_stops_the_work(
    client: LspClient, engine: FakeEngine, by: str
) -> None:
    engine.delay_s = 5
    await client.initialize(more=ABLE)
    client.open(TEXT)
    [action] = await client.code_actions((2, 0), (3, 12))
    command = action["command"]
    params = {"command": command["command"], "arguments": command["arguments"]}
    request = client.request("workspace/executeCommand", params)
    while not engine.requests or not (begun := begins(client)):
        await asyncio.sleep(0.02)
    if by == "request":
        client.notify("$/cancelRequest", {"id": request.ident})  # type: ignore[attr-defined]
    else:
        client.notify("window/workDoneProgress/cancel", {"token": begun[-1]["token"]})
    with pytest.raises(LspError) as error:
        await asyncio.wait_for(request, 3)
    assert error.value.code == -32800
    for _ in range(100):
        if engine.cancelled:
            break
        await asyncio.sleep(0.02)
    assert engine.cancelled == 1


def begins(client: LspClient) -> list[dict]:
    """What began with a button to cancel it."""
    sent = [n["params"] for n in client.notifications if n["method"] == "$/progress"]
    return [params for params in sent if params["value"].get("cancellable")]


async def test_a_command_that_makes_no_sense_is_refused(client: LspClient) -> None:
    await client.initialize(more=ABLE)
    for arguments in (None, [], ["dance", "file:///work/a.py", [0, 0, 0, 0]], ["explain", "x"]):
        params = {"command": "cl-lsp.chat", "arguments": arguments}
        with pytest.raises(LspError) as error:
            await client.request("workspace/executeCommand", params)
        assert error.value.code == -32602
