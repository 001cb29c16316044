"""Many files are read by several processes, what open files import first, and none is lost."""

import io
import os
import queue
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cl_lsp import readers
from cl_lsp.backlog import Backlog, Signature
from cl_lsp.index import Index
from cl_lsp.indexer import Indexer
from cl_lsp.pipes import read_frame
from cl_lsp.records import Record, make_record, read_record
from cl_lsp.scan import Scan
from tests.lsp.test_ignore import write
from tests.lsp.test_index import EDITS, apply, fresh

pytestmark = pytest.mark.usefixtures("home")  # whose cache it is
SIGNED = (1, 1, 1)


def taken(backlog: Backlog, texts: dict[str, str]) -> Iterator[str]:
    while (task := backlog.take()) is not None:
        assert backlog.done(*task, make_record(task[0], texts[task[0]]))
        yield task[0]


def filled(texts: dict[str, str]) -> Backlog:
    backlog = Backlog()
    backlog.fill(texts, dict.fromkeys(texts, SIGNED))
    return backlog


def test_what_an_open_file_imports_goes_first() -> None:
    texts = {f"a{n}.py": "" for n in range(9)} | {"pkg/beside.py": "", "lib/z.py": ""}
    texts |= {"lib/__init__.py": "from .z import f\n"}
    backlog = filled(texts)
    assert not backlog.is_near_done
    backlog.opened("pkg/me.py", "import a7\nfrom lib import f\n")
    order, near = [], []
    for path in taken(backlog, texts):
        order.append(path)
        near.append(backlog.is_near_done)
    assert order[:4] == ["a7.py", "lib/__init__.py", "lib/z.py", "pkg/beside.py"]
    assert near.index(True) == 2 and all(near[2:])
    assert sorted(order) == sorted(texts) and not backlog


def test_what_a_tsconfig_names_goes_first_once_that_is_read() -> None:
    config = '{"compilerOptions": {"paths": {"@/*": ["src/*"]}}}'
    texts = {f"a{n}.ts": "" for n in range(9)} | {"src/z.ts": "", "tsconfig.json": config}
    backlog = filled(texts)
    backlog.opened("web/me.ts", "import x from '@/z'\n")
    assert list(taken(backlog, texts))[:2] == ["tsconfig.json", "src/z.ts"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS, st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=8, max_size=8))
def test_what_changes_while_it_is_read_is_read_again(
    tmp_path: Path, edits: list, reads: list[tuple[bool, int]]
) -> None:
    shutil.rmtree(tmp_path)
    write(tmp_path, {f"f{n}.py": f"def f{n}(): pass\n" for n in range(40)})
    scan, index = Scan(tmp_path, others_help=True), Index()
    apply(index, scan.all())
    assert not index
    under_way: list[tuple[tuple[str, Signature], Record | None]] = []
    for step, ((kind, name, text), (gives_back, others)) in enumerate(
        zip(edits, reads, strict=False)
    ):
        for _ in range(others):
            if (task := scan.take()) is not None:
                under_way.append((task, read_record(tmp_path, task[0])))
        name = "f1.py" if name == "b.ts" else name
        if kind == "write":
            write(tmp_path, {name: text})
            os.utime(tmp_path / name, ns=(step, step))
        else:
            (tmp_path / name).unlink(missing_ok=True)
        apply(index, scan.changed([name]))
        if under_way and others != 1:
            task, record = under_way.pop(0)
            if gives_back:
                scan.give_back(*task)
            else:
                apply(index, scan.read(*task, record))
    for task, record in under_way:
        apply(index, scan.read(*task, record))
    while (task := scan.take()) is not None:
        apply(index, scan.read(*task, read_record(tmp_path, task[0])))
    assert index == fresh(tmp_path)


class Told:
    """What an indexer writes to, as messages."""

    def __init__(self) -> None:
        self.messages: queue.Queue[tuple[Any, ...]] = queue.Queue()

    def write(self, framed: bytes) -> None:
        message = read_frame(io.BytesIO(framed))
        assert message is not None
        self.messages.put(message)

    def flush(self) -> None:
        pass


def indexed(root: Path) -> Index:
    """As an indexer has it when it is ready."""
    told, index = Told(), Index()
    indexer = Indexer(cast(BinaryIO, told))
    thread = Thread(target=indexer.run)
    thread.start()
    indexer.jobs.put(("folders", [str(root)]))
    while (message := told.messages.get(timeout=30))[0] != "ready":
        if message[0] == "record":
            index.put(Record(*message[2:]))
    indexer.jobs.put(("folders", []))
    indexer.jobs.put(None)
    thread.join()
    return index


def children() -> set[int]:
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


FILES = {f"f{n}.py": f"def f{n}(): pass\n" for n in range(100)}
# Dies of one file, as a grammar may.
DYING = """
import os
from cl_lsp import readers
right = readers.read_record
readers.read_record = lambda root, path, find: (
    os._exit(1) if path == "f7.py" else right(root, path, find)
)
readers.main()
"""


def test_many_files_are_read_by_processes_that_end_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, FILES)
    before, pids = children(), []
    start = readers.Reader.__init__

    def noted(self: readers.Reader, hear: Any) -> None:
        start(self, hear)
        pids.append(self.pid)

    monkeypatch.setattr(readers.Reader, "__init__", noted)
    index = indexed(tmp_path)
    assert index == fresh(tmp_path) and len(index) == len(FILES)
    assert len(pids) == readers.many()
    ends = time.monotonic() + 20
    while children() - before:
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_reader_that_dies_costs_the_file_that_it_died_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "COMMAND", (sys.executable, "-c", DYING))
    write(tmp_path, FILES)
    index = indexed(tmp_path)
    assert FILES.keys() - set(index) == {"f7.py"}


@pytest.mark.parametrize("command", [("/nonexistent",), (sys.executable, "-c", "")])
def test_without_readers_the_indexer_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(readers, "COMMAND", command)
    write(tmp_path, FILES)
    index = indexed(tmp_path)
    assert index == fresh(tmp_path) and len(index) == len(FILES)
