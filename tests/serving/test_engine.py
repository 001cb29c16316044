"""The engine over its wire, in a process of its own: reuse, healing, streaming, cancelling."""

import asyncio
import contextlib
import json
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
from cl_engine.address import tcp_socket

from tests.checkpoints import make_checkpoint
from tests.conftest import wait_for

PORT = 23987
FILE = (Path(__file__).parents[2] / "examples" / "inventory.py").read_text()


def start(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "cl_engine", *args]  # as `cl-lsp` starts it
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@contextlib.contextmanager
def running(*args: str) -> Iterator[subprocess.Popen[str]]:
    """A daemon that serves; told to stop at the end, which it must do cleanly."""
    with start("serve", *args) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first.startswith("serving "), first + process.stdout.read()
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) in (0, -signal.SIGKILL)


@contextlib.contextmanager
def unread(*args: str) -> Iterator[None]:
    """A daemon whose log nobody reads."""
    with running(*args) as process:
        assert process.stdout is not None
        # Or the log, a line for each request, fills the pipe and the daemon waits for ever.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield


@contextlib.contextmanager
def daemon(model: str | Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="clx") as folder:
        uds = Path(folder) / "e.sock"
        with unread(str(model), "--uds", str(uds)):
            yield uds
        assert not uds.exists()


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Iterator[Path]:
    with daemon(tiny) as uds:
        yield uds


@pytest.fixture
async def http(engine: Path) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.AsyncHTTPTransport(uds=str(engine))
    async with httpx2.AsyncClient(transport=transport, base_url="http://e", timeout=30) as client:
        yield client


async def complete(http: httpx2.AsyncClient, **body: object) -> dict:
    response = await http.post("/v1/completions", json={"temperature": 0, "max_tokens": 8} | body)
    assert response.status_code == 200, response.text
    return response.json()


def computed(reply: dict) -> int:
    usage = reply["usage"]
    details = usage["prompt_tokens_details"]
    return usage["prompt_tokens"] - details["cached_tokens"] - details["healed_tokens"]


async def test_a_key_computes_few_tokens_and_its_result_is_a_cold_ones(
    http: httpx2.AsyncClient, tiny: Path
) -> None:
    at = FILE.index("self.items[item.name].quantity")
    end = FILE.index("\n", at)
    warm = []
    for cut in range(at, end):
        reply = await complete(http, prompt=FILE[:cut], suffix=FILE[end:])
        warm.append(reply["choices"][0]["text"])
        if cut > at:
            assert computed(reply) <= 8
            assert reply["usage"]["prompt_tokens_details"]["cached_tokens"] > 100
    cold = []
    for cut in range(at, end, 15):
        with daemon(tiny) as uds:
            transport = httpx2.AsyncHTTPTransport(uds=str(uds))
            async with httpx2.AsyncClient(transport=transport, base_url="http://e") as fresh:
                reply = await complete(fresh, prompt=FILE[:cut], suffix=FILE[end:])
        assert reply["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        cold.append(reply["choices"][0]["text"])
    assert warm[::15] == cold


async def test_healed_text_is_re_emitted_and_not_shown(http: httpx2.AsyncClient) -> None:
    whole = await complete(http, prompt="x = foo(", suffix="\n", max_tokens=12)
    text = whole["choices"][0]["text"]
    for n in range(1, min(6, len(text))):
        typed = text[:n]
        reply = await complete(http, prompt="x = foo(" + typed, suffix="\n", max_tokens=12)
        details = reply["usage"]["prompt_tokens_details"]
        assert details["healed_tokens"] >= 1
        # What was typed is what the model wanted: the rest comes out, not the typed part again.
        assert (typed + reply["choices"][0]["text"]).startswith(text[: n + 1])


async def test_streamed_text_equals_whole_text(http: httpx2.AsyncClient) -> None:
    body = {"prompt": FILE, "max_tokens": 30, "temperature": 0}
    whole = (await complete(http, **body))["choices"][0]
    texts, last, usage = [], {}, None
    options = {"stream": True, "stream_options": {"include_usage": True}}
    async with http.stream("POST", "/v1/completions", json=body | options) as response:
        events = [event.data async for event in httpx2.EventSource(response)]
    assert events[-1] == "[DONE]"
    for event in map(json.loads, events[:-1]):
        if event["choices"]:
            last = event["choices"][0]
            texts.append(last["text"])
        else:
            usage = event["usage"]
    assert len(texts) > 2  # drafts come true, so that a step gives several tokens
    assert "".join(texts) == whole["text"]
    assert last["finish_reason"] == whole["finish_reason"] == "length"
    assert usage is not None and usage["completion_tokens"] == 30


async def test_stop_strings_end_the_text(http: httpx2.AsyncClient) -> None:
    whole = (await complete(http, prompt=FILE, max_tokens=30))["choices"][0]["text"]
    stop = whole[10:12]
    reply = (await complete(http, prompt=FILE, max_tokens=30, stop=stop))["choices"][0]
    assert reply["text"] == whole[: whole.index(stop)]
    assert (reply["finish_reason"], reply["stop_reason"]) == ("stop", stop)


async def test_seeded_sampling_repeats_and_differs_between_seeds(http: httpx2.AsyncClient) -> None:
    async def sample(seed: int) -> str:
        reply = await complete(http, prompt=FILE, temperature=1.0, seed=seed, max_tokens=16)
        return reply["choices"][0]["text"]

    assert await sample(1) == await sample(1)
    assert len({await sample(seed) for seed in range(4)}) > 1


async def test_requests_at_once_do_not_disturb_each_other(http: httpx2.AsyncClient) -> None:
    prompts = [f"def f{i}(x):\n    return x{i}" for i in range(8)]
    alone = [(await complete(http, prompt=p))["choices"][0]["text"] for p in prompts]
    together = await asyncio.gather(*(complete(http, prompt=p) for p in prompts))
    assert [reply["choices"][0]["text"] for reply in together] == alone


async def test_hanging_up_cancels_before_and_after_the_first_token(
    http: httpx2.AsyncClient,
) -> None:
    async def active() -> int:
        return (await http.get("/health")).json()["active"]

    long = {"prompt": FILE * 3, "max_tokens": 200, "temperature": 0, "stream": True}
    async with http.stream("POST", "/v1/completions", json=long) as response:
        assert await anext(response.aiter_text())
    for stream in (True, False):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await http.post("/v1/completions", json=long | {"stream": stream})
    for _ in range(200):
        if await active() == 0:
            break
        await asyncio.sleep(0.02)
    assert await active() == 0
    assert (await complete(http, prompt="a"))["choices"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"prompt": 3}, 400, "prompt: "),
        ({"prompt": "a", "temperature": -1}, 400, "temperature: "),
        ({"prompt": "a", "max_tokens": 0}, 400, "max_tokens: "),
        ({"prompt": "a", "max_tokens": 511}, 400, "leaves no room"),
        ({"prompt": "a", "n": 0}, 400, "n: "),
        ({"prompt": "a", "n": 2, "best_of": 3}, 400, "best_of must be n"),
        ({"prompt": ["a"] * 65, "n": 2}, 400, "at most 128"),
        ({"prompt": []}, 400, "prompt: give a text"),
        ({"prompt": [1, "a"]}, 400, "prompt: give a text"),
        ({"prompt": [[1], []]}, 400, "an empty list is no prompt"),
        ({"prompt": [1, -1]}, 400, "prompt."),
        ({"prompt": [1, 10**6]}, 400, "1000000 is no token id"),
        ({"prompt": [5] * 600}, 400, "600 token ids; there is room for 496"),
        ({"prompt": ["a", "b"], "suffix": ""}, 400, "the prompt must be one text"),
        ({"prompt": "a" * 40_000, "echo": True, "logprobs": 1}, 400, "longer than"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, 400, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"999999": 1}}, 400, "999999 is no token id"),
        ({"prompt": "a", "seed": 10**30}, 400, "seed: "),
        ({"prompt": "a", "model": "other"}, 404, "no model 'other'"),
        ({"prompt": "a", "order": "mps"}, 400, "order: "),
    ],
)
async def test_bad_requests_are_refused_in_openais_form(
    http: httpx2.AsyncClient, body: dict, status: int, message: str
) -> None:
    response = await http.post("/v1/completions", json=body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


async def test_too_long_a_prompt_is_cut_and_said_so(http: httpx2.AsyncClient) -> None:
    text = "".join(f"line {i}\n" for i in range(400_000))
    reply = await complete(http, prompt=text, suffix=text[:100_000])
    usage = reply["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] <= 512
    assert usage["prompt_tokens_details"]["dropped_characters"] > len(text)


async def test_healing_at_the_contexts_end_is_no_failure(http: httpx2.AsyncClient) -> None:
    for words in range(140, 150):
        reply = await complete(http, prompt="return value " * words + "xyzzy_", max_tokens=200)
        assert reply["choices"][0]["finish_reason"] in ("stop", "length")


async def test_a_models_directory_may_be_spelled_differently(
    http: httpx2.AsyncClient, tiny: Path
) -> None:
    assert (await complete(http, prompt="a", model=f"{tiny}/../{tiny.name}/"))["model"] == str(tiny)


async def test_too_large_a_body_is_refused(http: httpx2.AsyncClient) -> None:
    response = await http.post("/v1/completions", json={"prompt": "x" * (9 << 20)})
    assert response.status_code == 413


async def test_models_and_health(http: httpx2.AsyncClient, tiny: Path) -> None:
    card = (await http.get("/v1/models")).json()["data"][0]
    assert card["id"] == str(tiny)
    assert card["context_length"] == 512
    assert card["capabilities"] == ["completion", "infilling"]
    health = (await http.get("/health")).json()
    assert (health["status"], health["active"]) == ("ok", 0)


def test_the_socket_is_private(engine: Path) -> None:
    assert stat.S_IMODE(engine.stat().st_mode) == 0o600


def run(*args: str) -> tuple[int, str]:
    process = start(*args)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def test_a_second_daemon_yields(engine: Path, tiny: Path) -> None:
    code, out = run("serve", str(tiny), "--uds", str(engine))
    assert code == 3
    assert "another daemon serves" in out


def test_a_stale_socket_is_replaced(tmp_path: Path, tiny: Path) -> None:
    uds = tmp_path / "e.sock"
    with running(str(tiny), "--uds", str(uds)) as process:
        process.kill()
        process.wait()
    assert uds.exists()
    with running(str(tiny), "--uds", str(uds)):
        pass
    assert not uds.exists()


def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path) -> None:
    broken = make_checkpoint(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no")
    (tmp_path / "file").write_text("")
    uds = ["--uds", str(tmp_path / "e.sock")]
    cases = [
        (["serve", "nonesuch", *uds], 2, "no model 'nonesuch'"),
        (["serve", str(broken), *uds], 1, "unreadable weights"),
        (["serve", "embedded", "--uds", str(tmp_path / "file" / "e.sock")], 1, "cannot write"),
        (["serve", "embedded", "--uds", str(tmp_path / ("x" * 120))], 1, "cannot listen"),
        (["serve", "embedded", "--port", "1", "--host", "0.0.0.0"], 1, "give --api-key"),
        (["serve", "embedded", "--port", "80000", "--no-auth"], 1, "cannot listen"),
        (["serve", "embedded", "--chat-model", "embedded", *uds], 1, "cannot do chat"),
        (["serve", "embedded"], 1, "give one of --uds PATH"),
        (["export", "embedded", str(tmp_path)], 1, "not empty"),
    ]
    for args, code, message in cases:
        got, out = run(*args)
        errors = [line for line in out.splitlines() if line.startswith("error: ")]
        assert (got, len(errors)) == (code, 1), (args, out)
        assert message in errors[0]


async def test_tcp_asks_for_the_token_but_health_does_not(tmp_path: Path, tiny: Path) -> None:
    token = tmp_path / "state" / "token"
    with running(str(tiny), "--port", str(PORT), "--token-file", str(token)):
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{PORT}") as http:
            assert (await http.get("/health")).status_code == 200
            assert (await http.get("/v1/models")).status_code == 401
            wrong = {"Authorization": "Bearer wrong"}
            assert (await http.get("/v1/models", headers=wrong)).status_code == 401
            right = {"Authorization": f"Bearer {token.read_text().strip()}"}
            assert (await http.get("/v1/models", headers=right)).status_code == 200
        code, out = run("serve", str(tiny), "--port", str(PORT), "--no-auth")
        assert code == 3
        assert f"cannot listen on 127.0.0.1:{PORT}" in out


def test_an_idle_daemon_ends(tmp_path: Path, tiny: Path) -> None:
    with running(str(tiny), "--uds", str(tmp_path / "e"), "--idle-exit", "0.01") as process:
        wait_for(lambda: process.poll() is not None)
        assert process.returncode == 0


def test_a_file_at_the_sockets_place_is_kept(tmp_path: Path, tiny: Path) -> None:
    precious = tmp_path / "notes.txt"
    precious.write_text("precious")
    code, out = run("serve", str(tiny), "--uds", str(precious))
    assert code == 1
    assert "is not a socket" in out
    assert precious.read_text() == "precious"


def test_an_empty_token_opens_nothing(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "token").write_text("")
    args = ["--port", str(PORT), "--token-file", str(tmp_path / "token")]
    code, out = run("serve", str(tiny), *args)
    assert code == 1
    assert "too short" in out


async def test_a_stopping_engine_ends_its_streams(tiny: Path, tmp_path: Path) -> None:
    uds = tmp_path / "e"
    transport = httpx2.AsyncHTTPTransport(uds=str(uds))
    body = {"prompt": FILE, "max_tokens": 300, "temperature": 0, "stream": True}
    with running(str(tiny), "--uds", str(uds)) as process:
        async with (
            httpx2.AsyncClient(transport=transport, base_url="http://e") as http,
            http.stream("POST", "/v1/completions", json=body) as response,
        ):
            lines = response.aiter_lines()
            await anext(lines)
            process.terminate()
            rest = [line async for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert process.wait(3) == 0


async def test_over_tcp_what_is_written_goes_out_at_once() -> None:
    """Or on a kept connection an answer's last part waits 40 ms for a delayed ACK."""
    at_once = asyncio.get_running_loop().create_future()

    def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        at_once.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with tcp_socket("127.0.0.1", 0) as listener:
        async with await asyncio.start_server(accepted, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            assert await at_once
            writer.close()
            await writer.wait_closed()
