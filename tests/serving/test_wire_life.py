"""Over the wire: who follows whom, what ends a request, what it cost, and who stops reading."""

import asyncio
import gc
import json
import os
import random
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.serving.test_engine import FILE, complete, daemon


@pytest.fixture(scope="module")
def engine() -> Iterator[Path]:
    with daemon("embedded") as uds:
        yield uds


@pytest.fixture
async def http(engine: Path) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.AsyncHTTPTransport(uds=str(engine))
    async with httpx2.AsyncClient(transport=transport, base_url="http://e", timeout=60) as client:
        yield client


async def metric(http: httpx2.AsyncClient, line: str) -> float:
    """The value of one line of `/metrics`; 0 if it is not there yet."""
    text = (await http.get("/metrics")).text
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


class Stream:
    """A streamed completion, read in the background."""

    def __init__(self, http: httpx2.AsyncClient, **body: Any):
        self.text, self.stop, self.usage = "", "", dict[str, Any]()
        self._body = {"temperature": 0, "max_tokens": 60, "stream": True, "user": "me"} | body
        self._body["stream_options"] = {"include_usage": True}
        self.task = asyncio.create_task(self._read(http))

    async def _read(self, http: httpx2.AsyncClient) -> None:
        async with http.stream("POST", "/v1/completions", json=self._body) as response:
            assert response.status_code == 200, await response.aread()
            async for event in httpx2.EventSource(response):
                if event.data != "[DONE]":
                    chunk = json.loads(event.data)
                    self.usage = chunk.get("usage") or self.usage
                    for choice in chunk["choices"]:
                        self.text += choice["text"]
                        self.stop = choice["stop_reason"] or self.stop

    async def has(self, characters: int) -> None:
        async with asyncio.timeout(20):
            while len(self.text) < characters:
                await asyncio.sleep(0.001)


CODE = FILE.index("    def add") + len("    def add")


async def test_a_follower_takes_over_and_one_that_differs_ends_the_old(
    http: httpx2.AsyncClient,
) -> None:
    place = {"suffix": "\n\n" + FILE[-300:], "document": "d"}
    old = Stream(http, prompt=FILE[:CODE], request_id="1", **place)
    await old.has(3)
    typed = old.text[:2]
    new = Stream(http, prompt=FILE[:CODE] + typed, request_id="2", follows="1", **place)
    await new.has(1)
    await old.task
    assert old.stop == "adopted" and old.text.startswith(typed + new.text[:1])
    last = Stream(http, prompt=FILE[:CODE] + "?!", request_id="3", follows="2", **place)
    await new.task
    await last.task
    assert new.stop == "superseded" and last.stop
    whole = await complete(http, prompt=FILE[:CODE] + typed, max_tokens=60, **place)
    assert whole["choices"][0]["text"].startswith(new.text)


async def test_structure_ends_a_text_and_each_end_has_its_name(http: httpx2.AsyncClient) -> None:
    async def ended(**body: Any) -> tuple[str, str, str]:
        choice = (await complete(http, **({"max_tokens": 60} | body)))["choices"][0]
        return choice["text"], choice["finish_reason"], choice["stop_reason"]

    whole, reason, name = await ended(prompt=FILE[:CODE], suffix="", max_tokens=40)
    assert (reason, name) == ("length", "max_tokens") and "\n" in whole
    line = await ended(prompt=FILE[:CODE], suffix="", stop_at=["line"], language="python")
    assert line == (whole.split("\n")[0], "stop", "line")
    text, reason, name = await ended(prompt=FILE, time_budget_ms=40, max_tokens=400)
    assert (reason, name) == ("length", "time") and len(text) < 1500
    bad = await http.post("/v1/completions", json={"prompt": "a", "stop_at": ["word"]})
    assert bad.status_code == 400 and "stop_at" in bad.json()["error"]["message"]
    bad = await http.post("/v1/completions", json={"prompt": "a", "time_budget_ms": 0})
    assert bad.status_code == 400


async def test_what_a_request_cost_is_told_and_counted(http: httpx2.AsyncClient) -> None:
    ended = 'cl_lsp_requests_total{lane="inline",model="embedded",reason="max_tokens"}'
    computed = 'cl_lsp_tokens_total{kind="computed",lane="inline",model="embedded"}'
    before = await metric(http, ended), await metric(http, computed)
    reply = await complete(http, prompt=FILE[5:905], suffix="\n", lane="inline", max_tokens=9)
    details = reply["usage"]["prompt_tokens_details"]
    assert details["computed_tokens"] > 100
    assert reply["usage"]["prompt_tokens"] == sum(
        details[f"{kind}_tokens"] for kind in ("cached", "computed", "healed")
    )
    assert {"queue_ms", "prefill_ms", "decode_ms"} == reply["timings"].keys()
    assert await metric(http, ended) == before[0] + 1
    assert await metric(http, computed) == before[1] + details["computed_tokens"]
    assert (
        await metric(http, 'cl_lsp_waiting{model="embedded"}')
        == await metric(http, 'cl_lsp_running{model="embedded"}')
        == 0
    )
    pages = {
        s: await metric(http, f'cl_lsp_kv_pages{{model="embedded",state="{s}"}}')
        for s in ("free", "in_use")
    }
    assert pages["in_use"] == 0 < pages["free"]


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "", "suffix": ""},
        {"prompt": "", "suffix": None},
        {"prompt": "", "suffix": "\n}\n"},
        {"prompt": "x", "suffix": ""},
        {"prompt": "smile = '\ud83d", "suffix": "\ude00'\n"},  # a cursor inside a pair
        {"prompt": "\r\n\t\x00", "suffix": "\x00"},
        {"prompt": FILE * 40, "suffix": FILE * 40},
        {"prompt": "y = 1\n" * 5000},
        {"prompt": "é" * 9000, "suffix": "😀" * 3000},
    ],
    ids=lambda body: f"{len(body['prompt'])}-{len(body.get('suffix') or '')}",
)
async def test_any_text_is_answered(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    sent = json.dumps(body | {"temperature": 0, "max_tokens": 6, "stop_at": ["block", "suffix"]})
    response = await http.post(
        "/v1/completions", content=sent, headers={"content-type": "application/json"}
    )
    assert response.status_code == 200, response.text
    choice, usage = response.json()["choices"][0], response.json()["usage"]
    assert choice["stop_reason"] and usage["completion_tokens"] <= 6
    assert usage["prompt_tokens"] <= 4096 - 6


async def test_a_context_that_is_exactly_full_and_one_over(http: httpx2.AsyncClient) -> None:
    room = 4096 - 32
    full = await complete(http, prompt=[500] * room, max_tokens=32, ignore_eos=True)
    usage = full["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (room, 32)
    over = await http.post("/v1/completions", json={"prompt": "a", "max_tokens": 4096})
    assert over.status_code == 400 and "leaves no room" in over.json()["error"]["message"]


async def test_who_stops_reading_holds_up_nobody(engine: Path, http: httpx2.AsyncClient) -> None:
    reader, writer = await asyncio.open_unix_connection(str(engine))
    body = json.dumps({"prompt": "x = ", "max_tokens": 900, "stream": True, "temperature": 0})
    head = f"POST /v1/completions HTTP/1.1\r\nHost: e\r\nContent-Length: {len(body)}\r\n"
    writer.write((head + "Content-Type: application/json\r\n\r\n" + body).encode())
    await reader.readexactly(15)
    reader._transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
    began = asyncio.get_running_loop().time()
    assert (await complete(http, prompt="key", lane="inline"))["choices"]
    assert asyncio.get_running_loop().time() - began < 5
    writer.transport.abort()
    async with asyncio.timeout(20):
        while await metric(http, 'cl_lsp_running{model="embedded"}'):
            await asyncio.sleep(0.05)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_ten_thousand_requests_leave_nothing_behind(tiny: Path) -> None:
    """Some read to the end, some cut off at any point, some follow others; memory stays flat."""
    rng = random.Random(1)
    with daemon(tiny) as uds:
        transport = httpx2.AsyncHTTPTransport(uds=str(uds))
        async with httpx2.AsyncClient(transport=transport, base_url="http://e") as http:
            pid = (await http.get("/health")).json()["pid"]
            sizes: list[int] = []
            for number in range(10_000):
                await one(http, rng, number)
                if number % 1000 == 999:
                    gc.collect()
                    sizes.append(resident(pid))
            while (await http.get("/health")).json()["active"]:
                await asyncio.sleep(0.1)
            assert await metric(http, 'cl_lsp_kv_pages{model="embedded",state="in_use"}') == 0
    print("MiB:", [size >> 20 for size in sizes])
    assert sizes[-1] < 1.02 * sizes[3]  # the caches of lines and pages have filled by then


def resident(pid: int) -> int:
    """Bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


async def one(http: httpx2.AsyncClient, rng: random.Random, number: int) -> None:
    at = rng.randrange(len(FILE))
    body = {
        "prompt": FILE[max(0, at - 200) : at] + str(number % 977),
        "suffix": FILE[at : at + 100],
        "max_tokens": rng.randint(1, 4),
        "user": "ab"[number % 2],
        "document": str(number % 5),
        "request_id": str(number),
        "follows": str(number - rng.randint(1, 3)),
        "lane": rng.choice(["inline", "completion", "chat"]),
        "stream": rng.random() < 0.5,
    }
    if rng.random() < 0.2:
        try:
            async with asyncio.timeout(rng.random() * 0.02):
                await http.post("/v1/completions", json=body)
        except TimeoutError:
            pass
    else:
        assert (await http.post("/v1/completions", json=body)).status_code == 200
