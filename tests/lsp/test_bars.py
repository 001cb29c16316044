"""What a user feels, with the real embedded model: two cores, a 300-line file, a warm daemon.

And what of it is the server's own, with an engine that answers at once.
"""

import statistics
import time
from pathlib import Path

import pytest

from cl_lsp.client import EngineClient
from cl_lsp.daemon import user_address
from cl_lsp.exchange import CompletionRequest
from tests.lsp.client import LspClient, language_server
from tests.lsp.fake_engine import FakeEngine

pytestmark = pytest.mark.alone
LINES = (Path(__file__).parents[2] / "engine" / "embedded_data.py").read_text().split("\n")
TYPED = "total_tokens = sum(len(ids) for"
ANSWER_S, INITIALIZE_S, RESIDENT_KB = 0.200, 1.0, 120_000


async def test_ghost_text_comes_while_typing(home: Path) -> None:
    lines = (LINES * 2)[:299]
    line = 160
    lines.insert(line, "    ")
    async with language_server() as client:
        await client.initialize()
        client.open("\n".join(lines))
        await client.inline(line, 4)  # the daemon starts, loads and reads the file
        took, shown = [], 0
        for column, character in enumerate(TYPED[:30], 4):
            client.insert(character, line, column)
            began = time.perf_counter()
            reply = await client.inline(line, column + 1)
            took.append(time.perf_counter() - began)
            shown += bool(reply["items"])
        status = Path(f"/proc/{client.process.pid}/status").read_text()
        assert client.messages() == []
    resident = int(status.split("VmRSS:")[1].split()[0])
    print(
        f"\nmedian {statistics.median(took) * 1e3:.0f} ms, slowest {max(took) * 1e3:.0f} ms, "
        f"shown {shown} of 30, {resident // 1000} MB"
    )
    assert statistics.median(took) <= ANSWER_S
    assert shown >= 15
    assert resident <= RESIDENT_KB


async def test_an_editor_starts_it_within_a_second(home: Path) -> None:
    took = []
    for _ in range(3):  # the first finds nothing in the machine's file cache
        began = time.perf_counter()
        async with language_server() as client:
            await client.initialize()
            took.append(time.perf_counter() - began)
    print(f"\ninitialized in {', '.join(f'{t:.2f}' for t in took)} s")
    assert statistics.median(took) <= INITIALIZE_S


MEDIAN_MS, P95_MS, DIRECT_MS = 4, 10, 2
ROUNDS, KEYS = 5, 60


async def test_the_server_itself_takes_little(
    client: LspClient, engine: FakeEngine, tmp_path: Path
) -> None:
    """5,000 lines, in a workspace of 2,000 files; judged by the quietest round.

    Where the same engine asked directly takes longer than on an idle machine, so may the server.
    """
    for n in range(2000):
        module = f"class Part{n}:\n    def total_{n}(self) -> int:\n        return {n}\n"
        (tmp_path / f"part_{n}.py").write_text(module)
    lines = [f"value_{i} = Part{i % 2000}().total_{i % 2000}()\n" for i in range(5000)]
    lines[2500] = "\n"
    engine.text = "+ 1"  # never what is typed
    uri = (tmp_path / "main.py").as_uri()
    await client.initialize(root=tmp_path.as_uri(), folders=[tmp_path.as_uri()])
    client.open("".join(lines), uri)
    direct = EngineClient(user_address())
    rounds = []
    for first in range(0, ROUNDS * KEYS, KEYS):
        took, yardstick = [], []
        for column in range(first, first + KEYS):
            began = time.perf_counter()
            asked = CompletionRequest("x", "y", None, 8, uri, "python", ("line",), str(column))
            assert [chunk async for chunk in direct.complete(asked)]
            between = time.perf_counter()
            client.insert("x", 2500, column, uri)
            assert (await client.inline(2500, column + 1, uri))["items"]
            took.append((time.perf_counter() - between) * 1e3)
            yardstick.append((between - began) * 1e3)
        took.sort()
        slow = max(1.0, statistics.median(yardstick) / DIRECT_MS)
        rounds.append((took[KEYS // 2] / slow, took[KEYS * 95 // 100] / slow, slow))
    await direct.close()
    median, p95 = min(m for m, _, _ in rounds), min(p for _, p, _ in rounds)
    print(f"\nmedian {median:.2f} ms, p95 {p95:.2f} ms, slower than idle: {rounds}")
    assert len(engine.requests) == 2 * ROUNDS * KEYS
    assert median <= MEDIAN_MS
    assert p95 <= P95_MS
