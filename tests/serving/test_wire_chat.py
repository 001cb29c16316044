"""Chats over the wire: who answers them, and what a template decides."""

import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.checkpoints import make_checkpoint
from tests.serving.test_engine import complete, running, start

PORT = 23988


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    for name in ("CodeLlama-7b-Instruct-hf", "CodeLlama-7b-hf", "my-tune"):
        make_checkpoint(folder / name, seed=4)
    return folder


@contextlib.asynccontextmanager
async def client_of(*args: str) -> AsyncIterator[httpx2.AsyncClient]:
    with tempfile.TemporaryDirectory(prefix="clx") as folder:
        uds = Path(folder) / "e.sock"
        with running(*args, "--uds", str(uds)):
            transport = httpx2.AsyncHTTPTransport(uds=str(uds))
            async with httpx2.AsyncClient(transport=transport, base_url="http://e") as client:
                yield client


# Ends in a byte piece, so that no healing makes a plain completion another prompt.
ASKED = "hi\n"
CHAT = {"messages": [{"role": "user", "content": ASKED}], "temperature": 0, "max_tokens": 6}


async def test_an_instruct_model_chats(models: Path) -> None:
    async with client_of(str(models / "CodeLlama-7b-Instruct-hf")) as http:
        reply = (await http.post("/v1/chat/completions", json=CHAT)).json()
        assert reply["object"] == "chat.completion"
        message = reply["choices"][0]["message"]
        assert message["role"] == "assistant"
        assert reply["usage"]["completion_tokens"] > 0
        lines = (await http.post("/v1/chat/completions", json=CHAT | {"stream": True})).text
        chunks = [
            json.loads(line[6:]) for line in lines.split("\n\n") if line.startswith("data: {")
        ]
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert text == message["content"]
        assert chunks[-1]["choices"][0]["finish_reason"] == reply["choices"][0]["finish_reason"]
        wrong = await http.post("/v1/chat/completions", json=CHAT | {"messages": []})
        assert wrong.status_code == 400
        assert "there is none of the user's" in wrong.json()["error"]["message"]
        card = (await http.get("/v1/models")).json()["data"][0]
        assert card["capabilities"] == ["completion", "infilling", "chat"]
        assert "not a Python model" in card["refused"]["python"]


async def test_a_base_model_refuses_a_chat_unless_a_template_decides(models: Path) -> None:
    base = str(models / "CodeLlama-7b-hf")
    async with client_of(base) as http:
        refused = await http.post("/v1/chat/completions", json=CHAT)
        assert refused.status_code == 400
        assert "codellama/CodeLlama-7b-Instruct-hf" in refused.json()["error"]["message"]
        card = (await http.get("/v1/models")).json()["data"][0]
        assert card["refused"]["chat"] == refused.json()["error"]["message"]
        plain = await complete(http, prompt=ASKED, max_tokens=6)
    template = models / "codellama.json"
    template.write_text('{"model_name": "codellama", "capability": "completion"}')
    async with client_of(base, "--chat-template", str(template)) as http:
        answered = (await http.post("/v1/chat/completions", json=CHAT)).json()
        assert answered["choices"][0]["message"]["content"] == plain["choices"][0]["text"]


async def test_a_model_whose_name_says_nothing_chats_only_by_template(models: Path) -> None:
    tune = str(models / "my-tune")
    async with client_of(tune) as http:
        refused = await http.post("/v1/chat/completions", json=CHAT)
        assert refused.status_code == 400
        assert 'a chat template with "capability": "chat" says so' in refused.text.replace("\\", "")
    template = models / "chat.json"
    template.write_text('{"capability": "chat"}')
    async with client_of(tune, "--chat-template", str(template)) as http:
        assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 200
        assert "chat" in (await http.get("/v1/models")).json()["data"][0]["capabilities"]


def test_a_template_that_the_model_cannot_follow_ends_the_start(models: Path) -> None:
    template = models / "chat.json"
    template.write_text('{"capability": "chat"}')
    arguments = ["serve", str(models / "CodeLlama-7b-hf"), "--chat-template", str(template)]
    with start(*arguments, "--port", str(PORT), "--no-auth") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out.strip().startswith("error: Code Llama 7B cannot do chat"), out
