"""What the doctor says of servers elsewhere: who they are, the key, the model, the dialect."""

import json
import socket
from pathlib import Path

import pytest

from cl_lsp.config import ChatConfig, Config, EngineConfig
from cl_lsp.daemon import default_socket
from cl_lsp.doctor import daemon, findings
from tests.conftest import cl_lsp
from tests.lsp.fake_engine import FakeEngine
from tests.lsp.foreign import foreign


async def test_a_server_that_answers() -> None:
    async with foreign("vLLM", key="k") as fake:
        config = Config(EngineConfig(endpoint=fake.url, api_key="k"))
        endpoint, infilling = await findings(config, [])
        assert (endpoint["what"], endpoint["state"]) == ("endpoint", "ok")
        assert f"{fake.url}: vLLM, codellama/CodeLlama-7b-hf; takes the key" in endpoint["said"]
        assert (infilling["state"], infilling["said"]) == ("ok", "in codellama's form")


@pytest.mark.parametrize(
    ("options", "said", "fix"),
    [
        ({"api_key": "no"}, "key", "set engine.api_key, or CL_LSP_ENGINE_API_KEY"),
        ({"api_key": "k", "model": "other"}, "not other", "set engine.model to one that it serves"),
    ],
)
async def test_what_is_wrong_and_what_to_do(options: dict, said: str, fix: str) -> None:
    async with foreign("vLLM", key="k") as fake:
        [found] = await findings(Config(EngineConfig(endpoint=fake.url, **options)), [])
        assert found["state"] == "wrong" and found["fix"] == fix
        assert said in found["said"].lower()


async def test_a_model_that_cannot_infill_and_a_chat_server_that_is_gone() -> None:
    async with foreign("vLLM", model="gpt") as fake:
        chat = ChatConfig(endpoint="http://127.0.0.1:9")
        found = await findings(Config(EngineConfig(endpoint=fake.url), chat), ["x: y"])
        assert [(f["what"], f["state"]) for f in found] == [
            *(("settings", "wrong"), ("endpoint", "ok"), ("infilling", "note")),
            ("chat endpoint", "wrong"),
        ]
        assert found[-1]["fix"] == "start it, or set chat.endpoint"


def test_the_command_has_it_with_all_else(home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_LSP_ENGINE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("CL_LSP_ENGINE_API_KEY", "s3cret")
    done = cl_lsp("doctor", "--json")
    found = {one["what"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 1 and "PyTorch" in found
    assert "127.0.0.1:9" in found["endpoint"]["said"]
    assert "s3cret" not in done.stdout


async def test_the_socket(home: Path) -> None:
    uds = default_socket()
    assert f"none runs; the first editor starts one at {uds}" in (await daemon())["said"]
    uds.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(uds))
        assert "was left by one" in (await daemon())["said"]
    uds.unlink()
    uds.write_text("a file where the socket should be")
    found = await daemon()
    assert found["state"] == "wrong" and found["fix"] == "move it away"


async def test_what_answers_there_is_another_program(engine: FakeEngine) -> None:
    found = await daemon()  # the scripted engine tells less than a real one
    assert (
        found["state"] == "wrong" and "is no cl-lsp engine that this version knows" in found["said"]
    )
