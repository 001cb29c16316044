"""The process that reads workspaces for the language server, and watches them.

All that takes time is here, at a low priority: listing, reading, parsing; where much is to be read
`readers.py` helps. It is told of folders and of the editor's texts on stdin and gives records on
stdout; it ends when stdin does.
"""

import os
import queue
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from .ignore import DEPENDENCIES
from .pipes import frame, read_frame
from .readers import Answer, Reader, Readers, Task
from .records import Record, read_record
from .scan import Scan, Update

NICE = 10
LOOK_S = 1.0  # without a job, until it is looked whether ignore files outside of folders changed
QUIET_MS, LONGEST_MS = 50, 500  # without a change, and in all, until changes are told


class Indexer:
    """The folders, one job after the other. Readers' answers are jobs, too."""

    def __init__(self, out: BinaryIO):
        self._out = out
        self._scans: dict[str, Scan] = {}
        self._stops: dict[str, threading.Event] = {}
        self._unready: set[str] = set()  # folders that have not been read as a whole
        self._far: set[str] = set()  # of those, where not even what open files import has been
        self.jobs: queue.Queue[tuple[Any, ...] | None] = queue.Queue()
        self._readers = Readers(lambda *answer: self.jobs.put(("answer", *answer)))

    def run(self) -> None:
        while (job := self._next()) is not None:
            kind, *rest = job
            if kind == "folders":
                self._folders(*rest)
            elif kind == "answer":
                self._answer(*rest)
            elif kind == "look":
                self._look()
            elif rest and rest[0] in self._scans:
                self._changes(rest[0], kind, *rest[1:])
            self._read()

    def _next(self) -> tuple[Any, ...] | None:
        try:
            return self.jobs.get(timeout=LOOK_S)
        except queue.Empty:
            return ("look",)

    def _look(self) -> None:
        for root, scan in self._scans.items():
            if scan.is_outdated():
                self._give(root, scan.all())

    def _folders(self, roots: list[str]) -> None:
        for gone in self._scans.keys() - roots:
            del self._scans[gone]
            self._unready.discard(gone)
            self._far.discard(gone)
            self._stops.pop(gone).set()
        for root in roots:
            if root not in self._scans:
                scan = self._scans[root] = Scan(Path(root), others_help=True)
                stop = self._stops[root] = threading.Event()
                threading.Thread(target=self._watch, args=(root, stop), daemon=True).start()
                self._unready.add(root)
                self._far.add(root)
                self._give(root, scan.all())

    def _changes(self, root: str, kind: str, *what: Any) -> None:
        scan = self._scans[root]
        match kind:
            case "all":
                self._give(root, scan.all())
            case "changed":
                self._give(root, scan.changed(*what))
            case "edited":
                self._give(root, scan.edited(*what))
            case "closed":
                self._give(root, scan.closed(*what))
            case "unwatched":
                self._say(kind, root, *what)

    def _read(self) -> None:
        """Give the readers what waits; say what is complete."""
        for root in [*self._unready]:
            backlog = self._scans[root].backlog
            if root in self._far and (not backlog or backlog.is_near_done):
                self._far.discard(root)
                self._say("near", root)
            if not backlog:
                self._unready.discard(root)
                self._say("ready", root)
        if not any(scan.backlog for scan in self._scans.values()):
            self._readers.close()
        elif not self._readers.feed(self._take) and (task := self._take()) is not None:
            self._done(task, read_record(Path(task.root), task.path))
            self.jobs.put(("more",))  # after what else there is to do

    def _take(self) -> Task | None:
        for root, scan in self._scans.items():
            if (taken := scan.take()) is not None:
                return Task(root, *taken)
        return None

    def _done(self, task: Task, record: Record | None) -> None:
        if task.root in self._scans:
            self._give(task.root, self._scans[task.root].read(task.path, task.signature, record))

    def _answer(self, reader: Reader, answer: Answer) -> None:
        task, others = self._readers.heard(reader, answer)
        if task is not None:
            self._done(task, Record(*answer) if answer else None)
        for other in others:
            if other.root in self._scans:
                self._scans[other.root].give_back(other.path, other.signature)

    def _give(self, root: str, updates: Iterable[Update]) -> None:
        for path, record in updates:
            if record is None:
                self._say("gone", root, path)
            else:
                self._say("record", root, *record.values)

    def _say(self, *message: Any) -> None:
        self._out.write(frame(message))
        self._out.flush()

    def _watch(self, root: str, stop: threading.Event) -> None:
        from watchfiles import watch

        real = os.path.realpath(root)

        def inside(path: str) -> Path:
            return Path(path).relative_to(real)

        def wanted(_change: Any, path: str) -> bool:
            return DEPENDENCIES.isdisjoint(inside(path).parts)

        begins = True
        try:
            for changes in watch(
                real,
                watch_filter=wanted,
                debounce=LONGEST_MS,
                step=QUIET_MS,
                stop_event=stop,
                ignore_permission_denied=True,
                raise_interrupt=False,
                rust_timeout=1000,
                yield_on_timeout=True,
            ):
                if begins:  # what changed before it watched is found by looking at all
                    begins = False
                    self.jobs.put(("all", root))
                if not changes:
                    continue
                paths = [inside(path).as_posix() for _, path in changes]
                self.jobs.put(("changed", root, paths))
        except (OSError, RuntimeError, ValueError) as error:  # no more inotify watches, for one
            self.jobs.put(("unwatched", root, str(error)))


def main() -> None:
    if hasattr(os, "nice"):
        os.nice(NICE)
    indexer = Indexer(sys.stdout.buffer)

    def listen() -> None:
        while (message := read_frame(sys.stdin.buffer)) is not None:
            indexer.jobs.put(message)
        os._exit(0)  # the server is gone, whatever is being read

    threading.Thread(target=listen, daemon=True).start()
    try:
        indexer.run()
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
