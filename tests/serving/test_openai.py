"""OpenAI's own client, unmodified, does what it does with any server; llama.cpp's clients, too."""

import json
import math
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from cl_engine.facts import read_facts

from tests.serving.test_engine import FILE, running, unread

KEY = "YOUR_API_KEY"
QUESTION = "import socket\n\ndef ping_exponential_backoff(host: str):"
TEMPLATE = '{"model_name": "codellama", "capability": "completion"}'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    template = tmp_path_factory.mktemp("t") / "codellama.json"
    template.write_text(TEMPLATE)
    port = free_port()
    options = ["--port", str(port), "--api-key", KEY, "--chat-template", str(template)]
    with unread("embedded", *options):
        yield port


@pytest.fixture
def client(port: int) -> Iterator[openai.OpenAI]:
    # As lmdeploy's documentation has it, but for the port.
    with openai.OpenAI(api_key=KEY, base_url=f"http://0.0.0.0:{port}/v1") as client:
        yield client


@pytest.fixture
async def http(port: int) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {KEY}"}
    base = f"http://127.0.0.1:{port}"
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
        yield client


def test_what_lmdeploys_documentation_shows(client: openai.OpenAI) -> None:
    model_name = client.models.list().data[0].id
    assert client.models.retrieve(model_name).id == model_name == "embedded"
    response = client.chat.completions.create(
        model=model_name,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0.1,
        top_p=0.95,
        max_tokens=40,
        seed=1,
    )
    choice = response.choices[0]
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length") and response.usage is not None
    assert response.usage.completion_tokens <= 40
    stream = client.chat.completions.create(
        model=model_name,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0.1,
        top_p=0.95,
        max_tokens=40,
        seed=1,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == choice.message.content and len(pieces) > 3
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage is not None and not chunks[-1].choices
    assert chunks[-1].usage.completion_tokens == response.usage.completion_tokens


async def test_the_asynchronous_client(port: int) -> None:
    base = f"http://127.0.0.1:{port}/v1"
    async with openai.AsyncOpenAI(api_key=KEY, base_url=base) as client:
        whole = await client.completions.create(
            model="embedded", prompt=FILE[:600], max_tokens=12, temperature=0
        )
        stream = await client.completions.create(
            model="embedded", prompt=FILE[:600], max_tokens=12, temperature=0, stream=True
        )
        text = "".join([chunk.choices[0].text async for chunk in stream])
    assert text == whole.choices[0].text and text


def test_several_prompts_and_answers(client: openai.OpenAI) -> None:
    def ask(prompt: Any, **more: Any) -> Any:
        settings: Any = {"max_tokens": 6, "temperature": 0} | more
        return client.completions.create(model="embedded", prompt=prompt, **settings)

    texts = [FILE[:200], FILE[:400], FILE[:300]]
    together = ask(texts)
    assert [c.index for c in together.choices] == [0, 1, 2]
    alone = [ask(text) for text in texts]
    assert [c.text for c in together.choices] == [one.choices[0].text for one in alone]
    assert together.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in alone)
    warm = {"temperature": 1.0, "seed": 7}
    three = ask(texts[:2], n=3, **warm)
    assert [c.index for c in three.choices] == [0, 1, 2, 3, 4, 5]
    assert len({c.text for c in three.choices[:3]}) > 1, "each has a seed of its own"
    assert three.choices[4].text == ask(texts[1], **warm | {"seed": 8}).choices[0].text
    assert three.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in alone[:2])
    streamed: dict[int, str] = {}
    for chunk in ask(texts[:2], n=3, stream=True, **warm):
        for choice in chunk.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + choice.text
    assert streamed == {c.index: c.text for c in three.choices}
    many = ask(["a = "] * 40, max_tokens=2)
    assert len(many.choices) == 40 and len({c.text for c in many.choices}) == 1


def test_token_ids_and_echo(client: openai.OpenAI) -> None:
    tokenizer = read_facts("embedded").tokenizer
    text = "def add(a, b):\n    return"
    ids = [tokenizer.bos, *tokenizer.encode(text)]
    settings: Any = {"model": "embedded", "max_tokens": 5, "temperature": 0}
    plain = client.completions.create(**settings | {"prompt": [ids, ids[:4]]})
    assert plain.usage is not None and plain.usage.prompt_tokens == len(ids) + 4
    echoed = client.completions.create(prompt=[text, "x = "], echo=True, n=2, **settings)
    assert [c.text.startswith(text) for c in echoed.choices] == [True, True, False, False]
    stream = client.completions.create(prompt=text, echo=True, stream=True, **settings)
    assert "".join(c.choices[0].text for c in stream) == echoed.choices[0].text


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompts_own_log_probabilities(client: openai.OpenAI, stream: bool) -> None:
    """Those of tokens that the model chose are what it said when it chose them, cached or not."""
    tokenizer = read_facts("embedded").tokenizer
    settings: Any = {"model": "embedded", "temperature": 0, "logprobs": 2}
    begin = FILE.rstrip()
    ids = [tokenizer.bos, *tokenizer.encode(begin)]
    chosen = client.completions.create(prompt=ids, max_tokens=8, **settings).choices[0]
    assert len(ids) > 200 and chosen.logprobs and chosen.logprobs.token_logprobs
    text = begin + chosen.text
    again = [tokenizer.bos, *tokenizer.encode(text)]
    assert again[: len(ids)] == ids and len(again) == len(ids) + 8  # or this text is no good
    told: list[dict[str, list[Any]]] = [{}, {}]
    whole = ["", ""]
    for number, prompt in enumerate((again, text)):
        asked: Any = client.completions.create(
            prompt=prompt, max_tokens=1, echo=True, stream=stream, **settings
        )
        for chunk in asked if stream else [asked]:
            choice = chunk.choices[0]
            whole[number] += choice.text
            for name, values in dict(choice.logprobs or {}).items():
                told[number].setdefault(name, []).extend(values)
    assert whole[1].startswith(text) and whole[0].startswith("<s> " + text)
    for number, first in ((0, None), (1, pytest.approx(told[0]["token_logprobs"][1], abs=1e-3))):
        own = told[number]
        assert "".join(own["tokens"]) == whole[number]
        assert own["token_logprobs"][0] == first and len({len(each) for each in own.values()}) == 1
        assert (own["top_logprobs"][0] is None) is (first is None)
        starts = zip(own["tokens"], own["text_offset"], strict=True)
        assert all(whole[number][at:].startswith(piece) for piece, at in starts)
        generated = own["token_logprobs"][-9:-1]
        assert generated == pytest.approx(chosen.logprobs.token_logprobs, abs=1e-3)


def test_log_probabilities(client: openai.OpenAI) -> None:
    settings: Any = {"model": "embedded", "prompt": FILE[:500], "max_tokens": 7, "temperature": 0}
    choice = client.completions.create(logprobs=3, **settings).choices[0]
    told = choice.logprobs
    assert told and told.tokens and told.token_logprobs and told.top_logprobs and told.text_offset
    assert "".join(told.tokens) == choice.text and len(told.tokens) == 7
    assert told.text_offset[3] == len("".join(told.tokens[:3]))
    for piece, value, likeliest in zip(
        told.tokens, told.token_logprobs, told.top_logprobs, strict=True
    ):
        assert value == max(likeliest.values()) == likeliest[piece] <= 0 and len(likeliest) == 3
        assert sum(map(math.exp, likeliest.values())) <= 1.0001
    chunks = list(client.completions.create(logprobs=3, stream=True, **settings))
    pieces = [piece for c in chunks if (own := c.choices[0].logprobs) for piece in own.tokens or []]
    offsets = [at for c in chunks if (own := c.choices[0].logprobs) for at in own.text_offset or []]
    assert pieces == told.tokens and offsets == told.text_offset
    chat = client.chat.completions.create(
        model="embedded",
        messages=[{"role": "user", "content": FILE[:500]}],
        max_tokens=4,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
    ).choices[0]
    assert chat.logprobs and chat.logprobs.content and len(chat.logprobs.content) == 4
    first = chat.logprobs.content[0]
    assert bytes(first.bytes or []).decode() == first.token
    assert first.logprob == first.top_logprobs[0].logprob and len(first.top_logprobs) == 2


def test_bias_and_penalties(client: openai.OpenAI) -> None:
    def ask(**more: Any) -> str:
        settings: Any = {"max_tokens": 24, "temperature": 0, "extra_body": {"ignore_eos": True}}
        settings |= more
        return (
            client.completions.create(model="embedded", prompt="x = [1, ", **settings)
            .choices[0]
            .text
        )

    tokenizer = read_facts("embedded").tokenizer
    wanted = tokenizer.encode_infilling("zebra")[0]
    assert ask(logit_bias={str(wanted): 100}, max_tokens=3) == tokenizer.render([wanted]) * 3
    plain = ask()
    assert ask(presence_penalty=2.0) != plain or ask(frequency_penalty=2.0) != plain
    often = Counter(tokenizer.encode_infilling(plain))
    seldom = Counter(tokenizer.encode_infilling(ask(frequency_penalty=2.0, presence_penalty=2.0)))
    assert max(seldom.values()) < max(often.values())


def test_wrong_requests_are_the_clients_own_errors(port: int, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="this server serves 'embedded'"):
        client.models.retrieve("gpt-4")
    with pytest.raises(openai.BadRequestError, match="tools: Code Llama"):
        client.chat.completions.create(
            model="embedded",
            messages=[{"role": "user", "content": "a"}],
            tools=[{"type": "function", "function": {"name": "f"}}],
        )
    with pytest.raises(openai.BadRequestError, match="response_format: only text"):
        client.chat.completions.create(
            model="embedded",
            messages=[{"role": "user", "content": "a"}],
            response_format={"type": "json_object"},
        )
    other = openai.OpenAI(api_key="another", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
    with other, pytest.raises(openai.AuthenticationError, match="wants its token"):
        other.models.list()


async def test_infill_as_llamacpps_clients_ask(http: httpx2.AsyncClient) -> None:
    body = {
        "input_prefix": FILE[:700] + "\n",
        "prompt": "    def remove(self, na",
        "input_suffix": FILE[900:1100],
        "input_extra": [{"filename": "other.py", "text": "def helper():\n    pass\n"}],
        "n_predict": 12,
        "samplers": ["top_k", "top_p", "infill"],
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 5000,
        "response_fields": ["content"],
    }
    whole = (await http.post("/infill", json=body)).json()
    assert whole["content"] and whole["stop"] is True
    assert whole["stop_type"] in ("eos", "limit") and whole["tokens_predicted"] <= 12
    timings = whole["timings"]
    assert timings["prompt_n"] > 100 and timings["predicted_per_second"] > 0
    assert timings["prompt_n"] + timings["cache_n"] <= whole["tokens_evaluated"]
    async with http.stream("POST", "/infill", json=body | {"stream": True}) as response:
        events = [
            json.loads(line.removeprefix("data: ")) async for line in response.aiter_lines() if line
        ]
    assert "".join(event["content"] for event in events) == whole["content"]
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    # The text of other files stands in the prompt, and counts.
    fewer = (await http.post("/infill", json=body | {"input_extra": []})).json()
    assert fewer["tokens_evaluated"] < whole["tokens_evaluated"]
    # Their plugins warm the cache so: the prompt is read, nothing is said.
    warm = (await http.post("/infill", json=body | {"n_predict": 0})).json()
    assert warm["content"] == "" and warm["tokens_predicted"] == 0
    assert warm["timings"]["cache_n"] > 100
    assert warm["timings"]["predicted_ms"] < whole["timings"]["predicted_ms"]
    assert (await http.post("/infill", json={"input_extra": [1]})).status_code == 400


async def test_a_body_that_is_no_json_is_said(http: httpx2.AsyncClient) -> None:
    async def said(content: str, kind: str) -> str:
        headers = {"content-type": kind}
        response = await http.post("/v1/completions", content=content, headers=headers)
        assert response.status_code == 400
        return response.json()["error"]["message"]

    wrong = await http.post("/v1/completions", json={"prompt": "a", "n": 0})
    assert wrong.json()["error"]["param"] == "n"

    assert await said('{"prompt": ', "application/json") == "the body is not JSON"
    assert "Content-Type: application/json" in await said('{"prompt": "a"}', "text/plain")


async def test_token_ids_there_and_back(http: httpx2.AsyncClient) -> None:
    tokenizer = read_facts("embedded").tokenizer
    text = "def f(x):\n\treturn 'é 漢'  # <PRE>\r\n"
    theirs = (await http.post("/tokenize", json={"content": text})).json()
    assert theirs["tokens"] == tokenizer.encode(text)
    vllm = {"prompt": text, "add_special_tokens": True, "model": "embedded"}
    other = (await http.post("/tokenize", json=vllm)).json()
    assert other["tokens"] == [tokenizer.bos, *theirs["tokens"]]
    assert other["count"] == len(other["tokens"]) and other["max_model_len"] >= 2048
    pieces = await http.post("/tokenize", json={"content": "a b", "with_pieces": True})
    assert [one["piece"] for one in pieces.json()["tokens"]] == [" a", " b"]
    back = (await http.post("/detokenize", json={"tokens": theirs["tokens"]})).json()
    assert back["content"] == back["prompt"] == " " + text
    assert (await http.post("/tokenize", json={})).status_code == 400
    assert (await http.post("/detokenize", json={"tokens": [10**7]})).status_code == 400


async def test_no_web_page_gets_in(http: httpx2.AsyncClient, port: int) -> None:
    async def status(method: str = "GET", path: str = "/health", **headers: str) -> int:
        return (await http.request(method, path, headers=headers)).status_code

    assert await status() == 200
    assert await status(host=f"localhost:{port}") == await status(host=f"[::1]:{port}") == 200
    for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", "", "a b"):
        assert await status(host=host) == 403, host
    for origin in ("http://evil.example", "null", f"http://localhost:{port}", "https://127.0.0.1"):
        assert await status(origin=origin) == 403, origin
        assert await status("POST", "/v1/completions", origin=origin) == 403
        assert await status("OPTIONS", "/v1/completions", origin=origin) == 403
    assert await status(origin=f"http://127.0.0.1:{port}") == 200  # its own
    assert await status(big="x" * 17_000) == 431
    assert (await http.get("/openapi.json")).json()["paths"].keys() >= {
        *("/v1/completions", "/v1/chat/completions", "/infill", "/tokenize", "/health")
    }
    refused = await http.get("/v1/models", headers={"authorization": "Bearer no", "host": "x.y"})
    assert "x.y" not in refused.text


async def test_a_reload_serves_on_with_what_the_files_say_now(tmp_path: Path) -> None:
    """SIGHUP: what runs gets its end, then the same process begins anew."""
    template, port = tmp_path / "t.json", free_port()
    template.write_text(TEMPLATE)
    options = ["--port", str(port), "--api-key", KEY, "--chat-template", str(template)]
    with running("embedded", *options) as process:
        client = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {KEY}"}
        )
        async with client:
            chat = {"messages": [{"role": "user", "content": "x = "}], "max_tokens": 2}
            assert (await client.post("/v1/chat/completions", json=chat)).status_code == 200
            commands = [Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")]
            template.write_text('{"model_name": "codellama", "capability": "infilling"}')
            process.send_signal(signal.SIGHUP)
            assert process.stdout is not None
            for line in iter(process.stdout.readline, ""):
                if line.startswith("serving "):
                    break
            commands.append(Path(f"/proc/{process.pid}/cmdline").read_text().split("\0"))
            refused = await client.post("/v1/chat/completions", json=chat)
            assert refused.status_code == 400 and "<FILL>" in refused.text
            assert (await client.get("/health")).json()["pid"] == process.pid
    # As it was started, or it would import what lies in its folder.
    assert commands[0] == commands[1] and "-P" in commands[0]
