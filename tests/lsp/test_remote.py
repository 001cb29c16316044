"""Servers elsewhere: recognised, asked in their own way, left alone while they do not answer."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cl_engine.export import export

from cl_lsp import breaker
from cl_lsp.answers import Answer
from cl_lsp.completion import Suggestion, suggest
from cl_lsp.config import CompletionConfig, EngineConfig
from cl_lsp.documents import Snapshot
from cl_lsp.errors import EngineBusy, EngineDied, EngineGone, EngineRefused, EngineResting
from cl_lsp.exchange import ChatRequest
from cl_lsp.remote import Remote
from tests.conftest import cl_lsp, wait_for
from tests.lsp.client import language_server
from tests.lsp.foreign import CARDS, CONTROL, Foreign, foreign, tokenize
from tests.lsp.typist import until
from tests.serving.test_engine import unread
from tests.serving.test_openai import free_port

BEFORE, AFTER = "def f(x):\n    re", "\n\nf(1)\n"
EXAMPLE = str(Path(__file__).parents[2] / "examples" / "inventory.py")
AT = ["--line", "28", "--column", "24"]
KINDS = list(CARDS)
KEY = "0123456789abcdef"


async def fill(
    fake: Foreign, before: str = BEFORE, after: str = AFTER, **options: Any
) -> Suggestion:
    remote = Remote(EngineConfig(endpoint=fake.url, **options))
    try:
        return await ask(remote, before, after)
    finally:
        await remote.close()


async def ask(remote: Remote, before: str = BEFORE, after: str = AFTER) -> Suggestion:
    snapshot = Snapshot("file:///a.py", 0, "python", before + after, len(before))
    return await suggest(remote, Answer(snapshot), CompletionConfig())


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_is_recognised_and_fills_in(kind: str) -> None:
    async with foreign(kind) as fake:
        remote = Remote(EngineConfig(endpoint=fake.url))
        assert (await remote.find())[0].kind == kind
        found = await ask(remote)
        assert (found.text, found.stop_reason) == ("turn x", "line")
        [(path, body)] = fake.asked
        assert path == {"llama.cpp": "/infill", "Ollama": "/api/generate"}.get(
            kind, "/v1/completions"
        )
        assert "lane" not in body and "suffix" not in body and body["stream"] is True
        assert ("model" in body) == (kind != "TGI")
        assert fake.headers[-1].get("x-session-id") == (
            None if kind == "Ollama" else fake.headers[-1]["x-smg-routing-key"]
        )
        await remote.close()


async def test_llama_cpp_gets_both_texts_and_says_what_it_reused() -> None:
    async with foreign("llama.cpp", pieces=["turn x", " <EOT>"]) as fake:
        found = await fill(fake)
        assert found.text == "turn x"
        [(_, body)] = fake.asked
        assert (body["input_prefix"], body["input_suffix"]) == (BEFORE, AFTER)
        assert "\n" in body["stop"] and body["cache_prompt"] is True
    async with foreign("llama.cpp", pieces=["turn x"]) as fake:
        found = await fill(fake)
        assert found.usage["prompt_tokens_details"] == {"cached_tokens": 5}
        assert found.timings == {"prefill_ms": 2.0, "decode_ms": 3.0}
        # What it keeps of a prompt is counted from its end: no more is sent.
        long = "x = 1\n" * 2000
        await fill(fake, long + "y")
        await fill(fake, long + "yy")
        sent = [body["input_prefix"] for _, body in fake.asked[-2:]]
        assert len(sent[0]) <= 3600 and sent[1] == sent[0] + "y"


async def test_llama_cpp_without_words_for_infilling_completes() -> None:
    async with foreign("llama.cpp", infills=False) as fake:
        remote = Remote(EngineConfig(endpoint=fake.url))
        with pytest.raises(EngineRefused, match="Infill is not supported"):
            await ask(remote)
        assert (await ask(remote)).text == "turn x"
        assert [path for path, _ in fake.asked] == ["/infill", "/v1/completions"]
        await remote.close()


@pytest.mark.parametrize("kind", ["vLLM", "SGLang"])
async def test_code_llama_is_given_ids_of_the_servers_own_tokenizer(kind: str) -> None:
    async with foreign(kind) as fake:
        remote = Remote(EngineConfig(endpoint=fake.url))
        assert (await ask(remote, BEFORE, ")\n")).text
        [(_, body)] = fake.asked
        suffix = tokenize(")\n")[1:]  # no space before it
        # The bracket is the editor's, and not sent.
        assert body["prompt"] == [1, 3, *tokenize(BEFORE), 4, *suffix[1:], 5]
        assert body["stop_token_ids"] == [CONTROL["▁<EOT>"]]
        before = len(fake.requests)
        await ask(remote, BEFORE + "t", ")\n")
        # All but the prefix is known by now.
        assert [path for path, _ in fake.requests[before:]] == ["/tokenize", "/v1/completions"]
        await remote.close()


@pytest.mark.parametrize(
    ("kind", "prompt"),
    [
        ("lmdeploy", f"▁<PRE> {BEFORE}▁<SUF>{AFTER}▁<MID>"),
        ("transformers", f"▁<PRE> {BEFORE}▁<SUF>{AFTER}▁<MID>"),
        ("OpenAI", f"<PRE> {BEFORE} <SUF>{AFTER} <MID>"),
        ("Ollama", f"<PRE> {BEFORE} <SUF>{AFTER} <MID>"),
    ],
)
async def test_code_llama_as_text(kind: str, prompt: str) -> None:
    async with foreign(kind) as fake:
        await fill(fake)
        assert fake.asked[0][1]["prompt"] == prompt
        await fill(fake, "", AFTER)
        assert fake.asked[1][1]["prompt"] in (
            f"▁<PRE>▁<SUF>{AFTER}▁<MID>",
            f"<PRE> <SUF>{AFTER} <MID>",
        )


async def test_other_families_get_their_own_words() -> None:
    async with foreign("vLLM", model="Qwen/Qwen2.5-Coder-7B") as fake:
        await fill(fake)
        [(_, body)] = fake.asked
        assert body["prompt"] == f"<|fim_prefix|>{BEFORE}<|fim_suffix|>{AFTER}<|fim_middle|>"
        assert "stop_token_ids" not in body


async def test_a_model_that_is_not_known_to_infill_completes() -> None:
    async with foreign("vLLM", model="gpt-4") as fake:
        remote = Remote(EngineConfig(endpoint=fake.url))
        assert "set engine.fim" in (await remote.refusals())["infilling"]
        assert (await ask(remote)).text == "turn x"
        assert fake.asked[0][1]["prompt"] == BEFORE
        await remote.close()
        await fill(fake, fim="starcoder")
        assert fake.asked[1][1]["prompt"].startswith("<fim_prefix>")


async def test_a_block_is_read_to_its_end_and_no_further() -> None:
    body = ["\n    y = x", "\n    return y\n", "\nf(2)\n", "z = 3\n" * 3]
    async with foreign("transformers", pieces=body, delay_s=0.05) as fake:
        found = await fill(fake, "def f(x):", "\n")
        assert found.text == "\n    y = x\n    return y"
        assert found.stop_reason == "block"
        await until(lambda: fake.closed == 1)


async def test_chats() -> None:
    for kind in KINDS:
        async with foreign(kind) as fake:
            remote = Remote(EngineConfig(endpoint=fake.url))
            request = ChatRequest([{"role": "user", "content": "hi"}], None, 9)
            assert "".join([c.text async for c in remote.chat(request)]) == "turn x\ny"
            assert fake.asked[0][0] == "/v1/chat/completions"
            await remote.close()


async def test_the_key_is_sent_and_a_wrong_one_is_said() -> None:
    async with foreign("vLLM", key="k") as fake:
        assert (await fill(fake, api_key="k")).text
        with pytest.raises(EngineRefused, match=r"Unauthorized \(HTTP 401: is the API key right"):
            await fill(fake, api_key="wrong")


async def test_a_model_that_is_not_there_is_said() -> None:
    async with foreign("vLLM") as fake:
        with pytest.raises(EngineRefused, match="serves codellama/CodeLlama-7b-hf, not other"):
            await fill(fake, model="other")


async def test_what_speaks_another_language_is_said() -> None:
    async with foreign("vLLM") as fake:
        remote = Remote(EngineConfig(endpoint=fake.url + "/nowhere"))
        with pytest.raises(EngineRefused, match="/v1/nowhere/v1/models: Method Not Allowed"):
            await remote.find()
        await remote.close()


async def test_while_it_does_not_answer_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "FIRST_S", 0.2)
    async with foreign("vLLM") as fake:
        remote = Remote(EngineConfig(endpoint=fake.url))
        assert (await ask(remote)).text
        fake.status = 503
        for _ in range(3):
            with pytest.raises(EngineBusy):
                await ask(remote)
        asked = len(fake.requests)
        with pytest.raises(EngineResting, match="busy; next try in"):
            await ask(remote)
        assert len(fake.requests) == asked
        fake.status = 200
        await asyncio.sleep(0.25)
        assert (await ask(remote)).text
        # It says itself how long.
        fake.status, fake.retry_after = 429, "0.3"
        with pytest.raises(EngineBusy):
            await ask(remote)
        fake.status = 200
        with pytest.raises(EngineResting):
            await ask(remote)
        await asyncio.sleep(0.35)
        assert (await ask(remote)).text
        await remote.close()


async def test_silence_ends_by_itself() -> None:
    async with foreign("vLLM", delay_s=30) as fake:
        with pytest.raises(EngineDied, match="is silent"):
            await fill(fake, timeout_seconds=0.2)


async def test_an_answer_that_breaks_off_is_no_suggestion() -> None:
    async with foreign("vLLM", broken=True, pieces=["turn"]) as fake:
        with pytest.raises(EngineDied, match="stopped in mid-answer") as error:
            await fill(fake)
        assert not error.value.safe  # so that it is not asked again by itself


async def test_nobody_there() -> None:
    remote = Remote(EngineConfig(endpoint="http://127.0.0.1:9/v1"))
    with pytest.raises(EngineGone, match="no engine answers at http://127.0.0.1:9 "):
        await ask(remote)
    await remote.close()


async def test_leaving_stops_the_server() -> None:
    async with foreign("vLLM", pieces=["a"] * 100, delay_s=0.05) as fake:
        remote = Remote(EngineConfig(endpoint=fake.url))
        task = asyncio.create_task(ask(remote))
        await until(lambda: fake.asked)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: fake.closed == 1)
        await remote.close()


async def test_in_the_editor(home: Path) -> None:
    """Another's key is stopped at once, since it cannot go on with it; no daemon is started."""
    options = {"engine": {}, "chat": {}}
    async with foreign("vLLM", delay_s=0.1) as one, foreign("TGI") as two:
        options["engine"] = {"endpoint": one.url}
        options["chat"] = {"endpoint": two.url}
        async with language_server() as client:
            await client.initialize(options=options)
            client.open("def f(x):\n    re\n\nf(1)\n")
            first = client.inline(1, 6)
            await until(lambda: one.asked)
            client.insert("t", 1, 6)
            second = client.inline(1, 7)
            assert await first is None
            assert (await second)["items"][0]["insertText"] == "turn x"
            await until(lambda: one.closed == 1)
            one.status = 500
            client.insert("u", 1, 7)
            assert (await client.inline(1, 8))["items"] == []
            assert client.messages() == ["cl-lsp: busy"]
            assert await client.shutdown() == 0
    assert not list(home.glob("r/**/*.sock"))


async def test_one_of_ours_elsewhere_is_asked_as_the_daemon_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with unread("embedded", "--port", url.rpartition(":")[2], "--api-key", KEY):
        monkeypatch.setenv("CL_LSP_ENGINE_ENDPOINT", url)
        monkeypatch.setenv("CL_LSP_ENGINE_API_KEY", KEY)
        done = await asyncio.to_thread(cl_lsp, "complete", EXAMPLE, *AT)
        assert done.returncode == 0, done.stderr
        assert "ms[name]" in done.stdout and "ended by line" in done.stdout
        status = await asyncio.to_thread(cl_lsp, "status")
        assert "cl-lsp, model embedded" in status.stdout and "infills: yes" in status.stdout
    gone = await asyncio.to_thread(cl_lsp, "status")
    assert gone.returncode == 1 and "unreachable" in gone.stdout


def test_a_real_server_that_is_not_ours(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`transformers serve`, with the embedded model as plain files."""
    folder, port = export("embedded", tmp_path / "embedded"), free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CL_LSP_ENGINE_ENDPOINT", f"http://127.0.0.1:{port}/v1")
    log = (tmp_path / "log").open("w")
    with log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process:
        try:
            wait_for(lambda: cl_lsp("status").returncode == 0 or process.poll(), 90)
            shown = cl_lsp("status").stdout
            assert "transformers, model" in shown and "infills: no" in shown
            monkeypatch.setenv("CL_LSP_ENGINE_FIM", "codellama")
            assert "infills: yes" in cl_lsp("status").stdout
            # At the end of a word: it heals no tokens.
            source = tmp_path / "inventory.py"
            source.write_text(Path(EXAMPLE).read_text().replace("del self.it", "del self."))
            done = cl_lsp("complete", str(source), "--line", "28", "--column", "22", "--json")
            found = json.loads(done.stdout)
            assert (found["text"], found["stop_reason"]) == ("items[name]", "line")
            wrong = cl_lsp("complete", EXAMPLE, *AT, "--model", "other")
            assert wrong.returncode == 1 and "not other: set engine.model" in wrong.stderr
        finally:
            process.kill()  # it would wait for what nobody reads
