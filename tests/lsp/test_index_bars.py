"""2,000 files: how long they take, what they take, and that nobody waits meanwhile."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from lsprotocol import types

from cl_lsp.context import Windows
from cl_lsp.documents import Documents, Snapshot
from cl_lsp.workspace import Workspace
from tests.lsp.test_ignore import write

pytestmark = pytest.mark.alone
FILES, LINES = 2000, 5000
READY_S, STALL_S, RESIDENT_KB = 5.0, 0.025, 250_000
CHOICE_S, KEPT_S = 0.010, 0.001


def source(n: int) -> str:
    """About 170 lines, some 6 kB: ten classes that use those of the file before."""
    parts = [f"from pkg{(n - 1) // 50}.module{n - 1} import Thing{n - 1}_0\n"]
    for c in range(10):
        name, other = f"Thing{n}_{c}", f"Thing{max(0, n - 1)}_0"
        methods = [
            f"    def method_{n}_{c}_{m}(self, value_{m}: int) -> int:\n"
            f"        result_{m} = value_{m} * {m} + self.count_{c}\n"
            f"        return {other}(result_{m}).count_{c}\n"
            for m in range(4)
        ]
        init = f"    def __init__(self, count: int):\n        self.count_{c} = count\n"
        parts.append(f'class {name}:\n    """Number {c}."""\n\n{init}\n' + "\n".join(methods))
    return "\n\n".join(parts)


def resident_kb(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


def computed_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_nobody_waits_for_the_index(tmp_path: Path) -> None:
    write(tmp_path, {f"pkg{n // 50}/module{n}.py": source(n) for n in range(FILES)})
    text = source(FILES) * (LINES // 170)
    uri = (tmp_path / "pkg0" / "me.py").as_uri()
    documents = Documents()
    documents.open(types.TextDocumentItem(uri, "python", 1, text))
    workspace = Workspace(documents)
    stalls: list[float] = []

    async def beat() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            stalls.append(time.perf_counter() - began - 0.001)

    before = resident_kb("self")
    beating = asyncio.create_task(beat())
    began = time.perf_counter()
    workspace.start([tmp_path])
    [index] = workspace.indexes.values()
    while not index.ready:
        await asyncio.sleep(0.005)
    ready = time.perf_counter() - began
    beating.cancel()
    grown, reader = resident_kb("self") - before, resident_kb(workspace.pid or 0)
    computed = computed_s(workspace.pid or 0)
    windows, chosen, kept = Windows(), [], []
    for n in range(60):
        offset = len(text) * n // 60
        for typed, took in (("", chosen), ("x", kept)):
            whole = text[:offset] + typed + text[offset:]
            snapshot = Snapshot(uri, 1, "python", whole, offset + len(typed))
            window = windows.before(snapshot.before), windows.after(snapshot.after)
            began = time.perf_counter()
            workspace.snippets(snapshot, *window)
            took.append(time.perf_counter() - began)
    await workspace.close()
    chosen.sort()
    kept.sort()
    print(
        f"\n{len(index)} files in {ready:.2f} s, of which the reader computed {computed:.2f}; "
        f"longest stall {max(stalls) * 1e3:.1f} ms, {grown // 1000} MB more, "
        f"{reader // 1000} MB beside; chosen in {chosen[30] * 1e3:.2f} ms, "
        f"p95 {chosen[57] * 1e3:.2f}; kept in {kept[30] * 1e6:.0f} µs"
    )
    assert len(index) == FILES
    assert ready <= READY_S
    assert max(stalls) <= STALL_S
    assert 60_000 + grown + reader <= RESIDENT_KB
    assert chosen[57] <= CHOICE_S
    assert kept[57] <= KEPT_S
