"""What a status line is told, and the trace of the last requests."""

import asyncio
from pathlib import Path
from typing import Any

from cl_lsp.reasons import Reason
from tests.lsp.client import URI, LspClient
from tests.lsp.fake_engine import FakeEngine

TEXT = "def f(x):\n    re\n\nf(1)\n"
ASKS = {"experimental": {"clLsp": {"status": True}}}


def names(client: LspClient) -> list[str]:
    return [state["state"] for state in client.states()]


async def test_a_status_line_hears_each_change(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize(able=ASKS, options={"engine": {"model": "fake"}})
    client.open(TEXT)
    await client.inline(1, 6)
    *before, last = client.states()
    assert ("thinking", "asking the model") in [(s["state"], s["message"]) for s in before]
    assert last["state"] == "idle" and last["model"] == "fake" and last["last_ms"] > 0
    assert {"loading", "thinking", "idle"} >= set(names(client)) and "loading" in names(client)
    told = len(client.states())
    client.insert("t", 1, 6)
    await client.inline(1, 7)  # typed through: nobody is asked
    assert set(names(client)[told:]) <= {"idle"}
    assert all(a != b for a, b in zip(client.states(), client.states()[1:], strict=False))
    engine.text, engine.stop_reason = "", "eos"
    client.insert("x", 0, 0)
    assert (await client.inline(1, 7))["items"] == []
    assert client.states()[-1]["reason"] == "eos"
    assert await client.shutdown() == 0


async def test_only_what_somebody_waits_for_is_thinking(
    client: LspClient, engine: FakeEngine
) -> None:
    ahead = {"completion": {"prefetch": True, "warming": True}}
    engine.delay_s, engine.stop_reason = 0.3, "max_tokens"
    await client.initialize(able=ASKS, options=ahead)
    client.open(TEXT)
    await client.told(lambda: engine.open)  # it reads what stands around the cursor
    assert "thinking" not in names(client)
    asked = client.inline(1, 6)
    await client.told(lambda: names(client)[-1] == "thinking")
    await asked
    await client.told(lambda: [r["lane"] for r in engine.requests][-2:] == ["inline", "completion"])
    told = len(names(client))
    client.insert("turn x", 1, 6)
    assert engine.open and names(client)[-1] == "idle"
    await client.inline(1, 12)  # it has been asked for, and is now waited for
    assert names(client)[told] == "thinking" and names(client)[-1] == "idle"
    await client.told(lambda: len(engine.requests) == 4 and not engine.open)
    told = len(names(client))
    client.insert("turn x", 1, 12)
    await client.inline(1, 18)  # it is there
    assert "thinking" not in names(client)[told:]


async def test_the_time_shown_is_that_of_the_engine(client: LspClient, engine: FakeEngine) -> None:
    engine.delay_s = 0.2
    await client.initialize(able=ASKS)
    client.open(TEXT)
    await client.inline(1, 6)
    took = client.states()[-1]["last_ms"]
    client.insert("t", 1, 6)
    await client.inline(1, 7)  # typed through
    assert (await client.inline(99, 0))["items"] == []  # a silence
    client.insert("u", 1, 7)
    await client.inline(1, 8)
    status = await client.command("cl-lsp.status")
    assert took == status["last_ms"] == client.states()[-1]["last_ms"] > 100


async def test_an_error_stays_until_something_works(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize(able=ASKS)
    client.open(TEXT)
    engine.error = "no key"
    for _ in range(2):  # shown once, logged each time
        await client.inline(1, 6)
    last = client.states()[-1]
    assert (last["state"], last["message"], last["reason"]) == ("error", "no key", "engine-refused")
    assert client.messages() == ["cl-lsp: no key"]
    logged = [one for one in client.logged() if "engine-refused (no key)" in one]
    assert len(logged) == 2
    engine.error = None
    await client.inline(1, 6)
    assert (client.states()[-1]["state"], client.states()[-1]["reason"]) == ("idle", None)


async def test_off_is_paused_or_disabled(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize(able=ASKS)
    await client.command("cl-lsp.pause")
    assert client.states()[-1]["state"] == "off"
    assert client.states()[-1]["message"] == Reason.PAUSED.sentence
    await client.command("cl-lsp.resume")
    assert names(client)[-1] != "off"
    settings = {"completion": {"enabled": False}}
    client.notify("workspace/didChangeConfiguration", {"settings": settings})
    await client.told(lambda: names(client)[-1] == "off")
    shown = await client.command("cl-lsp.status")
    assert shown["state"] == "off" and "completion.enabled is false" in client.messages()[-1]


async def test_who_does_not_ask_hears_nothing(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize(able={"experimental": {"clLsp": True}})
    client.open(TEXT)
    await client.inline(1, 6)
    await client.command("cl-lsp.pause")
    assert client.states() == []


async def test_restart_connects_anew(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    client.open(TEXT)
    await client.inline(1, 6)
    await client.command("cl-lsp.restart")
    assert client.messages() == ["cl-lsp: the engine answers"]
    client.insert("x", 0, 0)
    assert (await client.inline(1, 6))["items"]


async def trace(client: LspClient, **params: Any) -> list[dict]:
    return (await client.request("cl-lsp/trace", params))["requests"]


async def test_the_trace_says_what_became_of_each_request(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize(options={"completion": {"popup": True}})
    assert await trace(client) == []
    client.open(TEXT)
    await client.inline(1, 6)
    await client.completion(1, 6)
    client.insert("t", 1, 6)
    await client.inline(1, 7)
    await client.inline(99, 0)
    engine.text, engine.stop_reason = "", "time"
    await client.inline(3, 0)
    asked, again, typed, lied, silent = await trace(client)
    assert (asked["source"], asked["line"], asked["characters"]) == ("engine", 2, 6)
    assert asked["prompt"] == {"prefix": 16, "suffix": 7, "snippets": {}}
    assert asked["rules"] == ["line", "suffix"] and asked["ended_by"] == "line"
    assert asked["prompt_tokens"] == 3 and asked["ms"]["total"] > 0
    assert (again["method"], again["source"]) == ("completion", "typed")
    assert (typed["source"], typed["reason"], typed["prompt"]) == ("typed", None, None)
    assert (lied["source"], lied["reason"], lied["line"]) == ("none", "no-such-line", 100)
    assert (silent["reason"], silent["why"]) == ("time", Reason.TIME.sentence)
    assert "def f" not in str([asked, again, typed, lied, silent])
    asked, *_ = await trace(client, text=True)
    assert asked["sent"]["prefix"] == "def f(x):\n    re" and asked["text"] == "turn x"
    for _ in range(60):
        await client.inline(99, 0)
    assert len(await trace(client)) == 50


async def test_who_was_overtaken_cancelled_or_closed(client: LspClient, engine: FakeEngine) -> None:
    engine.delay_s = 5
    await client.initialize()
    client.open(TEXT)
    first = client.inline(1, 6)
    client.insert("x", 0, 0)
    second = client.inline(1, 6)
    assert await first is None
    await client.told(lambda: engine.open)
    client.notify("$/cancelRequest", {"id": second.ident})  # type: ignore[attr-defined]
    client.insert("y", 1, 6)
    third = client.inline(1, 7)
    await client.told(lambda: len(engine.streams) >= 2)
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert await third is None
    reasons = [one["reason"] for one in await trace(client)]
    assert reasons == ["overtaken", "cancelled", "closed"]
    second.exception()


async def test_the_trace_is_a_document_in_any_editor(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    client.open(TEXT, "file:///work/a%20%C3%A4|b.py")
    await client.inline(1, 6, "file:///work/a%20%C3%A4|b.py")
    await client.inline(9, 9, "file:///work/a%20%C3%A4|b.py")
    path = Path(await client.command("cl-lsp.trace", {"text": True}))
    shown = [n for n in client.notifications if n["method"] == "window/showDocument"]
    assert shown[0]["params"]["uri"] == path.as_uri()
    text = path.read_text()
    assert "a ä\\|b.py:2 | inline | 6 | engine | 16 + 7 |" in text
    assert f"- `no-such-line`: {Reason.NO_SUCH_LINE.sentence}" in text
    assert "prefix:\n~~~~~~~~\ndef f(x):\n    re\n~~~~~~~~" in text
    assert path.stat().st_mode & 0o077 == 0
    assert "def f" not in Path(await client.command("cl-lsp.trace")).read_text()


def test_every_reason_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs" / "trouble.md").read_text()
    for reason in Reason:
        assert f"| `{reason}` | {reason.sentence} |" in text, reason


async def test_an_edit_that_is_answered_with_nothing_holds_up_nobody(
    client: LspClient, engine: FakeEngine
) -> None:
    workspace = {"workspace": {"applyEdit": True, "workspaceEdit": {"documentChanges": True}}}
    await client.initialize(able=workspace)
    client.open(TEXT)
    at = {"start": {"line": 1, "character": 6}, "end": {"line": 1, "character": 6}}
    asked = client.command("cl-lsp.fill", {"action": "here", "uri": URI, "range": at})
    told = await asyncio.wait_for(asked, 10)  # the test's editor answers applyEdit with null
    assert "did not apply the edit" in str(told)
