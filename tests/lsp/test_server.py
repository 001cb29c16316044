"""The language server on the wire, with a scripted engine behind it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lsp.client import URI, LspClient, LspError
from tests.lsp.fake_engine import FakeEngine

TEXT = "def f(x):\n    re\n\nf(1)\n"


async def test_a_key_becomes_ghost_text(client: LspClient, engine: FakeEngine) -> None:
    capabilities = await client.initialize()
    assert capabilities["inlineCompletionProvider"] is not None
    assert capabilities["textDocumentSync"]["change"] == 2
    client.open(TEXT)
    items = (await client.inline(1, 6))["items"]
    at = {"line": 1, "character": 6}
    assert items == [{"insertText": "turn x", "range": {"start": at, "end": at}}]
    sent = engine.requests[0]
    assert (sent["prompt"], sent["suffix"]) == ("def f(x):\n    re", "\n\nf(1)\n")
    assert sent["temperature"] == 0.0 and "model" not in sent  # the daemon's own
    assert (sent["stop_at"], sent["language"]) == (["line", "suffix"], "python")
    assert "work" not in sent["document"] and "time_budget_ms" not in sent
    client.insert("s", 1, 6)
    await client.inline(1, 7)
    again = engine.requests[1]
    assert again["prompt"] == "def f(x):\n    res"
    assert (again["user"], again["document"]) == (sent["user"], sent["document"])
    assert again["request_id"] != sent["request_id"]
    assert await client.shutdown() == 0


async def test_a_model_that_cannot_infill_completes_the_prefix(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.refused = {"infilling": "a Python model"}
    await client.initialize()
    client.open(TEXT)
    items = (await client.inline(1, 6))["items"]
    assert items[0]["insertText"] == "turn x"
    assert "suffix" not in engine.requests[0]
    # Asked once; again after an error, for another engine may serve by then.
    engine.refused, engine.error = {}, "another model"
    client.insert("s", 1, 6)
    assert (await client.inline(1, 7))["items"] == []
    engine.error = None
    client.insert("u", 1, 7)
    await client.inline(1, 8)
    assert ["suffix" in request for request in engine.requests] == [False, False, True]


async def test_an_overtaken_request_is_null_and_its_work_stops(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.delay_s = 0.5
    await client.initialize()
    client.open(TEXT)
    first = client.inline(1, 6)
    while not engine.open:
        await asyncio.sleep(0.01)
    client.insert("t", 1, 6)
    second = client.inline(1, 7)
    assert await asyncio.wait_for(first, 0.3) is None
    assert (await second)["items"][0]["insertText"] == "urn x"
    assert engine.ends == ["adopted", "line"]


async def test_other_documents_and_methods_do_not_overtake(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.delay_s = 0.3
    await client.initialize(options={"completion": {"popup": True}})
    other = "file:///work/b.py"
    client.open(TEXT)
    client.open(TEXT, other)
    replies = await asyncio.gather(
        client.inline(1, 6), client.inline(1, 6, other), client.completion(1, 6)
    )
    assert all(reply["items"] for reply in replies)


async def test_both_methods_share_one_generation(client: LspClient, engine: FakeEngine) -> None:
    engine.delay_s = 0.2
    await client.initialize(options={"completion": {"popup": True}})
    client.open(TEXT)
    inline, plain = await asyncio.gather(client.inline(1, 6), client.completion(1, 6))
    assert len(engine.requests) == 1
    assert inline["items"][0]["insertText"] == "turn x"
    item = plain["items"][0]
    assert item["label"] == item["filterText"] == item["textEdit"]["newText"] == "return x"
    assert item["textEdit"]["range"] == {
        "start": {"line": 1, "character": 4},
        "end": {"line": 1, "character": 6},
    }
    await client.completion(1, 6)
    assert len(engine.requests) == 1


async def test_cancelling_one_of_two_keeps_the_other(client: LspClient, engine: FakeEngine) -> None:
    engine.delay_s = 0.4
    await client.initialize(options={"completion": {"popup": True}})
    client.open(TEXT)
    inline, plain = client.inline(1, 6), client.completion(1, 6)
    await asyncio.sleep(0.1)
    client.notify("$/cancelRequest", {"id": inline.ident})  # type: ignore[attr-defined]
    with pytest.raises(LspError) as error:
        await inline
    assert error.value.code == -32800
    assert (await plain)["items"]
    assert (engine.finished, engine.cancelled) == (1, 0)


async def test_cancelling_stops_the_engine(client: LspClient, engine: FakeEngine) -> None:
    engine.delay_s = 2
    await client.initialize()
    client.open(TEXT)
    reply = client.inline(1, 6)
    while not engine.open:
        await asyncio.sleep(0.01)
    client.notify("$/cancelRequest", {"id": reply.ident})  # type: ignore[attr-defined]
    with pytest.raises(LspError):
        await reply
    for _ in range(50):
        await asyncio.sleep(0.02)
        if engine.cancelled:
            break
    assert (engine.finished, engine.cancelled) == (0, 1)


@pytest.mark.parametrize(
    ("inline", "options", "offered"),
    [
        (True, None, False),
        (False, None, True),
        (True, {"completion": {"popup": True}}, True),
        (False, {"completion": {"popup": False}}, False),
    ],
)
async def test_plain_completion_is_for_clients_without_inline(
    client: LspClient, inline: bool, options: dict | None, offered: bool
) -> None:
    capabilities = await client.initialize(inline=inline, options=options)
    assert ("completionProvider" in capabilities) == offered


@pytest.mark.parametrize(("encoding", "column"), [("utf-8", 12), ("utf-16", 9), ("utf-32", 8)])
async def test_every_position_encoding(
    client: LspClient, engine: FakeEngine, encoding: str, column: int
) -> None:
    capabilities = await client.initialize(encodings=[encoding])
    assert capabilities["positionEncoding"] == encoding
    client.open('x\fy = 1\ns = "é😀 , re")\n')  # a form feed ends no line in LSP
    client.insert("", 0, 0)
    items = (await client.inline(1, column))["items"]
    assert engine.requests[0]["prompt"] == 'x\fy = 1\ns = "é😀 '
    assert items[0]["range"]["start"] == {"line": 1, "character": column}
    client.insert("ab", 1, column)
    await client.inline(1, column + 2)
    assert engine.requests[1]["prompt"] == 'x\fy = 1\ns = "é😀 ab'


async def test_closers_right_of_the_cursor_are_replaced(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize()
    client.open("print(f(x)])\n")
    engine.text = "a"
    items = (await client.inline(0, 8))["items"]
    assert engine.requests[0]["suffix"] == "x)])\n"
    engine.text = "y)"
    items = (await client.inline(0, 9))["items"]
    assert engine.requests[1]["suffix"] == "\n"
    assert items[0]["insertText"] == "y)])"
    assert items[0]["range"]["end"] == {"line": 0, "character": 12}


async def test_what_stands_after_the_cursor_is_not_repeated(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize()
    client.open("total = a + b\n")
    engine.text = "first + b"  # would make one word of two
    assert (await client.inline(0, 8))["items"] == []
    engine.text = "x = a + b"
    client.insert("#\n", 0, 0)
    assert (await client.inline(1, 8))["items"][0]["insertText"] == "x = "
    engine.text = " a + b"
    assert (await client.inline(1, 7))["items"] == []


async def test_crlf_is_the_documents_business(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize()
    client.open("a = 1\r\ndef f(x):\r\n\r\nb = 2\r\n")
    engine.text = "\n    y = x\n    return y"
    items = (await client.inline(1, 9))["items"]
    assert items[0]["insertText"] == "\r\n    y = x\r\n    return y"
    sent = engine.requests[0]
    assert (sent["prompt"], sent["suffix"]) == ("a = 1\ndef f(x):", "\n\nb = 2\n")
    assert sent["stop_at"] == ["block", "suffix"]


async def test_a_column_past_the_end_is_clamped_and_a_line_is_none(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize()
    client.open("ab\ncd")
    for line, column in ((0, 99), (1, 99)):
        assert (await client.inline(line, column))["items"]
    assert [r["prompt"] for r in engine.requests] == ["ab", "ab\ncd"]
    for line, column in ((2, 0), (99, 99)):
        assert (await client.inline(line, column))["items"] == []
    assert len(engine.requests) == 2
    assert client.messages() == []
    assert "no suggestion at a.py:100: no-such-line" in client.logged()[-1]


@pytest.mark.parametrize(
    ("text", "reason"), [("x" * 2_100_000, "2,100,000 characters"), ("a\0b", "binary")]
)
async def test_unreadable_documents_are_said_once_and_others_work(
    client: LspClient, engine: FakeEngine, text: str, reason: str
) -> None:
    await client.initialize()
    client.open(text)
    for _ in range(3):
        assert (await client.inline(0, 1))["items"] == []
        client.insert("x", 0, 0)
    client.open(TEXT, "file:///work/b.py")
    assert (await client.inline(1, 6, "file:///work/b.py"))["items"]
    shown = client.messages()
    assert len(shown) == 1
    assert reason in shown[0]


async def test_an_engines_error_is_said_once_and_the_next_request_works(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.error = "no model 'embedded' here: this engine serves 'x'"
    await client.initialize()
    client.open(TEXT)
    for column in (4, 5, 6):
        assert (await client.inline(1, column))["items"] == []
    assert client.messages() == [f"cl-lsp: {engine.error}"]
    engine.error = None
    assert (await client.inline(1, 6))["items"]


async def test_an_answer_that_breaks_off_is_said_once_and_asked_again(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize()
    client.open(TEXT)
    engine.break_off = True
    assert (await client.inline(1, 6))["items"][0]["insertText"] == "turn x"
    shown = client.messages()
    assert len(shown) == 1
    assert "stopped in mid-answer; starting it again" in shown[0]
    client.insert("t", 1, 6)
    assert (await client.inline(1, 7))["items"]
    assert client.messages() == shown


async def test_wrong_options_are_said_and_ignored(client: LspClient, engine: FakeEngine) -> None:
    options = {
        "completion": {"maxTokens": "many", "timeBudgetMs": 300},
        "engine": {"modle": "x", "idleExitMinutes": 5},
        "maxTokens": 9,
    }
    await client.initialize(options=options)
    client.open(TEXT)
    assert (await client.inline(1, 6))["items"]
    sent = engine.requests[0]
    assert sent["max_tokens"] == 48
    [shown] = client.messages()  # one for all that is wrong in one place
    assert shown.startswith("cl-lsp: the editor:\n- ")
    assert "- completion.maxTokens must be a whole number from 1 to 512" in shown
    assert "- engine.modle is unknown; known: model, endpoint, apiKey" in shown
    assert "- maxTokens is unknown" in shown


async def test_suggestions_of_other_settings_are_forgotten(
    client: LspClient, engine: FakeEngine
) -> None:
    def change(**completion: int) -> None:
        settings = {"cl-lsp": {"completion": completion}}
        client.notify("workspace/didChangeConfiguration", {"settings": settings})

    await client.initialize()
    client.open(TEXT)
    for wanted, changes in ((48, {}), (5, {"maxTokens": 5}), (5, {"maxTokens": 5}), (48, {})):
        change(**changes)
        assert (await client.inline(1, 6))["items"]
        assert engine.requests[-1]["max_tokens"] == wanted
    assert len(engine.requests) == 3  # the same settings change nothing


@pytest.mark.parametrize("kind", ["root", "folders"])
async def test_a_cloned_repository_sends_code_nowhere(
    client: LspClient, engine: FakeEngine, tmp_path: Path, kind: str
) -> None:
    evil = '[engine]\nendpoint = "http://127.0.0.1:9"\n[completion]\nmax_tokens = 7\n'
    (tmp_path / "cl-lsp.toml").write_text(evil)
    uri = tmp_path.as_uri()
    await client.initialize(**{"root": uri} if kind == "root" else {"folders": [uri]})  # type: ignore[arg-type]
    client.open(TEXT, f"{uri}/a.py")
    assert (await client.inline(1, 6, f"{uri}/a.py"))["items"]
    assert engine.requests[0]["max_tokens"] == 7
    [said] = client.messages()
    assert said.endswith("engine.endpoint: a workspace's file may not set this; it is ignored")


async def test_nonsense_does_not_take_the_server_down(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize()
    client.open(TEXT)
    client.notify("textDocument/didChange", {"textDocument": {"uri": URI, "version": 9}})
    client.notify("no/such", {"a": 1})
    client.insert("x", 0, 0, "file:///not/open")
    client.write(b"Content-Length: 5\r\n\r\n{]{]{")
    client.write(b"\x00" * 3_000_000 + b"\r\n\r\n")
    with pytest.raises(LspError):
        await client.request("no/such/request", {})
    assert (await client.inline(0, 0, "file:///not/open"))["items"] == []
    assert (await client.inline(1, 6))["items"]
    assert client.messages() == []
    assert "no suggestion at open:1: closed" in client.logged()[0]
    assert await client.shutdown() == 0


COLLECT = """
import gc, time
from cl_lsp import server

def took():
    began = time.perf_counter()
    gc.collect()
    return time.perf_counter() - began

def start(_server):
    here = min(took() for _ in range(3))
    gc.unfreeze()
    print(here / min(took() for _ in range(3)))

server.stdio.start = start
server.main()
"""


def test_no_collection_of_garbage_visits_what_stays() -> None:
    """Which would hold a key up for 30 ms."""
    command = [sys.executable, "-c", COLLECT]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert float(told.stdout) < 0.1
