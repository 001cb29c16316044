"""Many clients at once, some of which vanish: nobody else notices, and nothing is left behind."""

import asyncio
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.serving.test_engine import FILE, daemon
from tests.serving.test_wire_life import metric

CLIENTS, VANISH = 32, 0.2


@pytest.fixture(scope="module")
def engine() -> Iterator[Path]:
    with daemon("embedded") as uds:
        yield uds


@pytest.fixture
async def http(engine: Path) -> AsyncIterator[httpx2.AsyncClient]:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    transport = httpx2.AsyncHTTPTransport(uds=str(engine), limits=limits)
    async with httpx2.AsyncClient(transport=transport, base_url="http://e", timeout=120) as client:
        yield client


async def resident(http: httpx2.AsyncClient) -> int:
    """KiB of the daemon."""
    pid = (await http.get("/health")).json()["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


class Client:
    """Asks one thing after the other, as an editor or a chat does, and sometimes hangs up."""

    def __init__(self, http: httpx2.AsyncClient, number: int):
        self._http, self._random, self._name = http, random.Random(number), f"client {number}"
        self.seen: Counter[str] = Counter()

    def _body(self) -> dict[str, Any]:
        cut = self._random.randrange(20, len(FILE) - 20)
        body: dict[str, Any] = {
            "prompt": FILE[max(0, cut - 900) : cut],
            "max_tokens": self._random.randrange(1, 40),
            "temperature": self._random.choice([0, 0, 0.8]),
            "lane": self._random.choice(["inline", "inline", "completion", "chat"]),
            "user": self._name,
            "stream": True,
        }
        if self._random.random() < 0.6:
            body["suffix"] = FILE[cut : cut + 300]
        return body

    async def ask(self) -> None:
        vanishes = self._random.random() < VANISH
        left = self._random.randrange(8) if vanishes else -1
        last = ""
        async with self._http.stream("POST", "/v1/completions", json=self._body()) as response:
            if response.status_code != 200:
                self.seen[f"status {response.status_code}"] += 1
                return
            async for line in response.aiter_lines():
                if left == 0:
                    self.seen["vanished"] += 1
                    return
                left -= bool(line)
                last = line or last
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    assert "error" not in event, event
        self.seen["answered" if last == "data: [DONE]" else "broken"] += 1

    async def keep_asking(self, until: float) -> None:
        while time.monotonic() < until:
            await self.ask()


async def load(http: httpx2.AsyncClient, seconds: float) -> None:
    clients = [Client(http, number) for number in range(CLIENTS)]
    sizes: list[int] = []
    warm = asyncio.gather(*(c.keep_asking(time.monotonic() + seconds / 4) for c in clients))
    await warm
    sizes.append(await resident(http))
    await asyncio.gather(*(c.keep_asking(time.monotonic() + seconds * 3 / 4) for c in clients))
    sizes.append(await resident(http))
    seen = sum((client.seen for client in clients), Counter[str]())
    print(dict(seen), "KiB:", sizes)
    assert seen.keys() == {"answered", "vanished"}, seen
    assert all(client.seen["answered"] for client in clients)
    assert 0.1 < seen["vanished"] / seen.total() < 0.3
    assert sizes[1] < sizes[0] * 1.1
    for _ in range(100):  # who hung up last is noticed within a step
        if (
            await metric(http, 'cl_lsp_running{model="embedded"}')
            == await metric(http, 'cl_lsp_waiting{model="embedded"}')
            == 0
        ):
            break
        await asyncio.sleep(0.1)
    assert (
        await metric(http, 'cl_lsp_running{model="embedded"}')
        == await metric(http, 'cl_lsp_waiting{model="embedded"}')
        == 0
    )
    assert await metric(http, 'cl_lsp_kv_pages{model="embedded",state="in_use"}') == 0
    assert (await http.get("/health")).json()["active"] == 0


async def test_many_streams_and_hang_ups(http: httpx2.AsyncClient) -> None:
    await load(http, 10)


@pytest.mark.soak
async def test_many_streams_and_hang_ups_for_long(http: httpx2.AsyncClient) -> None:
    await load(http, 300)


async def test_too_many_are_told_at_once_and_when_to_come_again(
    http: httpx2.AsyncClient,
) -> None:
    body = {"prompt": "x = ", "max_tokens": 900, "ignore_eos": True, "lane": "chat"}
    held: list[asyncio.Future[httpx2.Response]] = []
    while len(held) < 80:  # not all at once: as long as none runs, 64 is the most that can wait
        held += [asyncio.ensure_future(http.post("/v1/completions", json=body)) for _ in range(20)]
        while (await http.get("/health")).json()["active"] < len(held):
            await asyncio.sleep(0.05)
    took = []
    for _ in range(15):
        began = time.perf_counter()
        refused = await http.post("/v1/completions", json=body)
        took.append(time.perf_counter() - began)
        assert refused.status_code == 429 and refused.json()["error"]["type"] == "overloaded"
        assert int(refused.headers["retry-after"]) >= 1
        await asyncio.sleep(0.05)
    print("refused after ms:", [round(1e3 * t) for t in sorted(took)])
    assert statistics.median(took) < 0.05
    # A key is not refused: a chat gives way to it.
    key = await http.post("/v1/completions", json=body | {"lane": "inline", "max_tokens": 2})
    assert key.status_code == 200
    for one in held:
        one.cancel()
    ended = await asyncio.gather(*held, return_exceptions=True)
    assert sum(isinstance(one, httpx2.Response) for one in ended) <= 1, "those were refused for it"
