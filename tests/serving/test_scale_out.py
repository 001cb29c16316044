"""Two replicas behind the router that docs/scale-out.md starts: affinity, streams, a death."""

import asyncio
import contextlib
import json
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from cl_engine.__main__ import parser

from tests.conftest import wait_for
from tests.serving.test_engine import FILE, complete, computed, start
from tests.serving.test_openai import free_port
from tests.serving.test_wire_life import CODE, Stream

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the router's wheels are for Linux")

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "scale-out.md").read_text()
KEYS = 8
LONG: dict[str, Any] = {"prompt": FILE, "max_tokens": 2000, "ignore_eos": True, "temperature": 0.8}


def options() -> list[str]:
    """Of the guide's router, but for its address and the replicas'."""
    command = re.search(r"^vllm-router (?:.*\\\n)*.*", GUIDE, re.MULTILINE)
    assert command
    words = shlex.split(command[0].replace("\\\n", " "))
    return words[words.index("--policy") :]


@dataclass(frozen=True)
class Replica:
    process: subprocess.Popen[str]
    url: str

    async def active(self, http: httpx2.AsyncClient) -> int:
        return (await http.get(f"{self.url}/health")).json()["active"]

    async def ended(self, http: httpx2.AsyncClient, how: str = "") -> float:
        """Requests that ended, or that ended so."""
        text = (await http.get(f"{self.url}/metrics")).text
        found = re.findall(r"^cl_lsp_requests_total\{(.*)\} (\S+)$", text, re.MULTILINE)
        return sum(float(count) for labels, count in found if f'reason="{how}' in labels)


@contextlib.contextmanager
def replica(port: int = 0) -> Iterator[Replica]:
    with start("serve", "embedded", "--port", str(port), "--no-auth") as process:
        assert process.stdout is not None
        threads: list[threading.Thread] = []
        try:
            first = process.stdout.readline()
            found = re.match(r"serving .* on (http://\S+)/v1,", first)
            assert found, first + process.stdout.read()
            threads.append(threading.Thread(target=process.stdout.read, daemon=True))
            threads[0].start()  # or its log fills the pipe
            yield Replica(process, found[1])
        finally:
            process.kill()
            for thread in threads:
                thread.join()


@contextlib.contextmanager
def router(*urls: str, also: tuple[str, ...] = ()) -> Iterator[str]:
    """Its URL. Of an option that is given twice the last one counts."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "vllm_router.launch_router", "--port", str(port)]
    command += ["--prometheus-port", str(free_port()), "--worker-urls", *urls, *options(), *also]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:

            def answers() -> bool:
                assert process.poll() is None, "it ended; its error is above"
                with contextlib.suppress(httpx2.HTTPError):
                    return httpx2.get(f"http://127.0.0.1:{port}/readiness").status_code == 200
                return False

            wait_for(answers)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def replicas() -> Iterator[tuple[Replica, Replica]]:
    with replica() as one, replica() as two:
        yield one, two


@pytest.fixture(scope="module")
def base(replicas: tuple[Replica, Replica]) -> Iterator[str]:
    with router(*(each.url for each in replicas)) as url:
        yield url


def client(url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False)


@pytest.fixture
async def http(base: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(base) as one:
        yield one


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


class Document:
    """A file that someone types, three characters with each key."""

    def __init__(self, seed: int):
        self.name = random.Random(seed).randbytes(8).hex()
        self.headers = {"X-Session-Id": self.name}
        self._keys = 0

    async def key(self, http: httpx2.AsyncClient) -> dict[str, Any]:
        """The usage of its answer. Anything but an answer fails."""
        self._keys += 1
        body = {
            "prompt": f"# {self.name}\n{FILE[: 900 + 3 * self._keys]}",
            "suffix": f"\n# {self.name}\n{FILE[-200:]}",
            "max_tokens": 4,
            "temperature": 0,
            "lane": "inline",
        }
        response = await http.post("/v1/completions", json=body, headers=self.headers)
        assert response.status_code == 200, response.text
        return response.json()["usage"]


async def answered_by(
    http: httpx2.AsyncClient, replicas: tuple[Replica, Replica], work: Awaitable[Any], requests: int
) -> list[float]:
    """How many of the requests each replica answered."""
    before = [await each.ended(http) for each in replicas]
    await work
    counts: list[float] = []

    async def counted() -> bool:
        counts[:] = [await r.ended(http) - b for r, b in zip(replicas, before, strict=True)]
        return sum(counts) >= requests

    await until(counted)
    return counts


class Typed:
    """Tokens of what was typed: what came from the cache, and what did not."""

    def __init__(self) -> None:
        self.first, self.rest = 0, list[int]()
        self.cached = self.prompts = 0

    async def document(self, http: httpx2.AsyncClient, document: Document) -> None:
        for key in range(KEYS):
            usage = await document.key(http)
            self.prompts += usage["prompt_tokens"]
            self.cached += usage["prompt_tokens_details"]["cached_tokens"]
            if key:
                self.rest.append(computed({"usage": usage}))
            else:
                self.first += computed({"usage": usage})

    @property
    def computed(self) -> int:
        return self.first + sum(self.rest)

    @property
    def share(self) -> float:
        return self.cached / self.prompts


async def test_a_document_stays_where_its_text_is_cached(
    http: httpx2.AsyncClient, replicas: tuple[Replica, Replica]
) -> None:
    kept, spread = Typed(), Typed()
    homes = set()
    for seed in range(2):
        typing = kept.document(http, Document(seed))
        counts = await answered_by(http, replicas, typing, KEYS)
        assert sorted(counts) == [0, KEYS], "one replica answers all keys"
        homes.add(counts.index(KEYS))
    assert max(kept.rest) <= 8
    with router(*(r.url for r in replicas), also=("--policy", "round_robin")) as url:
        async with client(url) as other:
            for seed in range(2, 4):
                typing = spread.document(other, Document(seed))
                counts = await answered_by(http, replicas, typing, KEYS)
                assert counts == [KEYS / 2, KEYS / 2]
    ratio = spread.computed / kept.computed
    print(f"cached {kept.share:.3f} and {spread.share:.3f}, computed {ratio:.2f} times")
    assert kept.share > spread.share + 0.05 and ratio > 1.5


async def test_a_key_takes_over_the_answer_under_way(
    http: httpx2.AsyncClient, replicas: tuple[Replica, Replica]
) -> None:
    async def follow(through: httpx2.AsyncClient, name: str) -> str:
        """What ended the answer that was under way."""
        through.headers["X-Session-Id"] = name
        place = {"suffix": "\n\n" + FILE[-300:], "document": name, "max_tokens": 400}
        old = Stream(through, prompt=FILE[:CODE], request_id=f"1{name}", **place)
        await old.has(3)
        prompt = FILE[:CODE] + old.text[:2]
        new = Stream(through, prompt=prompt, request_id=f"2{name}", follows=f"1{name}", **place)
        await new.has(1)
        await old.task
        await new.task
        return old.stop

    assert await follow(http, "kept") == "adopted"
    with router(*(r.url for r in replicas), also=("--policy", "round_robin")) as url:
        async with client(url) as other:
            assert await follow(other, "spread") != "adopted"


async def test_streams_pass_at_once_and_who_hangs_up_is_noticed(
    http: httpx2.AsyncClient, replicas: tuple[Replica, Replica]
) -> None:
    document = Document(100)
    counts = await answered_by(http, replicas, document.key(http), 1)
    home = replicas[counts.index(1)]
    cancelled = await home.ended(http, "cancelled")

    async def works() -> bool:
        return await home.active(http) > 0

    async def rests() -> bool:
        return not await works()

    # As people type: more often than the breaker would bear if it took these for failures.
    for _ in range(5):
        body = LONG | {"stream": True}
        post = http.stream("POST", "/v1/completions", json=body, headers=document.headers)
        async with post as response:
            await anext(response.aiter_text())
            assert await works(), "there is text before the answer has ended"
        await until(rests, 5)
        post = http.post("/v1/completions", json=LONG, headers=document.headers)
        whole = asyncio.ensure_future(post)
        await until(works)
        whole.cancel()
        await until(rests, 5)
    assert await home.ended(http, "cancelled") == cancelled + 10
    assert computed({"usage": await document.key(http)}) <= 8


async def whole_answer(http: httpx2.AsyncClient, document: Document) -> dict[str, Any]:
    body = LONG | {"max_tokens": 300}
    response = await http.post("/v1/completions", json=body, headers=document.headers)
    return {"status": response.status_code} | response.json()


async def broken_stream(
    http: httpx2.AsyncClient, document: Document, begun: asyncio.Event
) -> tuple[int, list[str]]:
    """The status and the events of a stream that breaks off."""
    events: list[str] = []
    body = LONG | {"stream": True}
    post = http.stream("POST", "/v1/completions", json=body, headers=document.headers)
    async with post as response:
        with pytest.raises(httpx2.RemoteProtocolError):  # to the language server: EngineDied
            async for line in response.aiter_lines():
                events += [line] if line else []
                begun.set()
    return response.status_code, events


async def test_a_replica_dies_and_comes_back() -> None:
    # It is to be seen within seconds that the replica is gone, and that it is there again.
    soon = ("--health-check-interval-secs", "1", "--health-success-threshold", "1")
    soon += ("--cb-timeout-duration-secs", "2")
    with contextlib.ExitStack() as stack:
        dies, lives = both = stack.enter_context(replica()), stack.enter_context(replica())
        http = client(stack.enter_context(router(dies.url, lives.url, also=soon)))
        async with http:
            homes: tuple[list[Document], list[Document]] = [], []
            for seed in range(64):  # which goes where depends on the ports
                document = Document(seed)
                counts = await answered_by(http, both, document.key(http), 1)
                homes[counts.index(1)].append(document)
                if min(map(len, homes)) >= 3:
                    break
            orphans, others = (each[:3] for each in homes)

            begun, over = asyncio.Event(), asyncio.Event()
            stream = asyncio.create_task(broken_stream(http, orphans[0], begun))
            await begun.wait()
            alone = await dies.active(http)
            whole = asyncio.create_task(whole_answer(http, orphans[0]))

            async def both_run() -> bool:
                return await dies.active(http) > alone

            await until(both_run)

            async def keep_typing(document: Document) -> list[dict[str, Any]]:
                usages = []
                while not over.is_set():
                    usages.append(await document.key(http))
                    await asyncio.sleep(0.02)
                return usages

            typing = [asyncio.create_task(keep_typing(document)) for document in others]
            await asyncio.sleep(0.2)
            dies.process.kill()
            dies.process.wait()
            killed = time.monotonic()
            await asyncio.gather(*(document.key(http) for document in orphans))
            took = time.monotonic() - killed
            print(f"all orphans answered after {took:.2f} s")
            assert took < 10

            status, events = await stream
            assert status == 200 and events and "data: [DONE]" not in events
            assert "error" not in json.loads(events[-1].removeprefix("data: "))
            for document in orphans:
                assert computed({"usage": await document.key(http)}) <= 8, "it has a home again"

            async def names_the_model() -> bool:
                return (await http.get("/v1/models")).status_code == 200

            await until(names_the_model, 10)
            over.set()
            for usages in await asyncio.gather(*typing):
                assert len(usages) > 3 and all(computed({"usage": one}) <= 8 for one in usages)
            answer = await whole  # the router has asked again
            assert answer["status"] == 200 and answer["usage"]["completion_tokens"] == 300

            again = stack.enter_context(replica(int(dies.url.rpartition(":")[2])))
            assert again.url == dies.url

            async def home_again() -> bool:
                await orphans[0].key(http)
                return await again.ended(http) > 0

            await until(home_again, 30)
            for document in orphans:
                await document.key(http)
                assert computed({"usage": await document.key(http)}) <= 8
            counts = [await each.ended(http) for each in (again, lives)]
            for document in others:
                await document.key(http)
            assert await again.ended(http) == counts[0], "the others are still at home elsewhere"

            again.process.kill()
            again.process.wait()
            await orphans[0].key(http)  # answered, also if nobody else's has failed before


def test_the_manifest_starts_what_the_guide_starts(replicas: tuple[Replica, Replica]) -> None:
    found = [each for each in yaml.safe_load_all((DOCS / "scale-out.yaml").read_text()) if each]
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in found}
    engines = by_name["StatefulSet", "cl-lsp"]["spec"]
    [engine] = engines["template"]["spec"]["containers"]
    entry = re.search(r"^ENTRYPOINT (.*)$", (DOCS / "serving.md").read_text(), re.MULTILINE)
    assert entry
    served = parser().parse_args([*json.loads(entry[1])[1:], *engine["args"]])
    assert (served.model, served.host) == ("7b", "0.0.0.0")
    [key] = engine["env"]
    assert key["name"] == "CL_LSP_API_KEY" and "--api-key" not in engine["args"]

    pods = by_name["Deployment", "cl-lsp-router"]["spec"]["template"]["spec"]
    words = [word for arg in pods["containers"][0]["args"] for word in arg.split("=")]
    urls = [word for word in words if word.startswith("http://")]
    assert urls == [f"http://cl-lsp-{i}.cl-lsp:23333" for i in range(engines["replicas"])]
    assert words[words.index("--policy") :] == options()

    [rule] = by_name["Ingress", "cl-lsp"]["spec"]["rules"]
    let_in = re.search(r"location ~ \^/v1/\((.*)\)\$", GUIDE)
    assert let_in
    paths = {path["path"] for path in rule["http"]["paths"]}
    assert paths == {f"/v1/{each}" for each in let_in[1].split("|")}

    [probe] = [each["readinessProbe"]["exec"]["command"] for each in [engine]]
    for url, code in ((replicas[0].url, 0), (f"http://127.0.0.1:{free_port()}", 1)):
        script = probe[2].replace("http://127.0.0.1:23333", url)
        assert script != probe[2]
        ran = subprocess.run([sys.executable, probe[1], script], capture_output=True, timeout=30)
        assert ran.returncode == code, ran.stderr


async def test_what_the_language_server_asks_passes_unchanged(
    http: httpx2.AsyncClient, replicas: tuple[Replica, Replica]
) -> None:
    """It knows an engine of ours by its card, and sends fields that no other engine has."""
    async with client(replicas[0].url) as direct:
        card = (await http.get("/v1/models")).json()
        assert card == (await direct.get("/v1/models")).json()
        assert card["data"][0]["owned_by"] == "cl-lsp"
        body = {"prompt": FILE[:CODE], "suffix": "", "max_tokens": 40}
        body |= {"stop_at": ["line"], "language": "python"}
        [through] = (await complete(http, **body))["choices"]
        assert through == (await complete(direct, **body))["choices"][0]
        assert through["stop_reason"] == "line"
        bad = await http.post("/v1/completions", json={"prompt": "a", "order": "mps"})
        assert bad.status_code == 400 and "order" in bad.json()["error"]["message"]
