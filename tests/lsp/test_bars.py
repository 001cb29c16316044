"""What a user feels, with the real embedded model: two cores, a 300-line file, a warm daemon."""

import statistics
import time
from pathlib import Path

import pytest

from tests.lsp.client import language_server

pytestmark = pytest.mark.alone
LINES = (Path(__file__).parents[2] / "engine" / "embedded_data.py").read_text().split("\n")
TYPED = "total_tokens = sum(len(ids) for"
ANSWER_S, INITIALIZE_S, RESIDENT_KB = 0.200, 1.0, 120_000


async def test_ghost_text_comes_while_typing(home: Path) -> None:
    lines = (LINES * 2)[:299]
    line = 160
    lines.insert(line, "    ")
    began = time.perf_counter()
    async with language_server() as client:
        await client.initialize()
        initialized = time.perf_counter() - began
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
        f"shown {shown} of 30, initialized in {initialized:.2f} s, {resident // 1000} MB"
    )
    assert statistics.median(took) <= ANSWER_S
    assert shown >= 15
    assert initialized <= INITIALIZE_S
    assert resident <= RESIDENT_KB
