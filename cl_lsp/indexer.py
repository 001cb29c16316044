"""The process that reads workspaces for the language server, and watches them.

All that takes time is here, at a low priority: listing, reading, parsing. It is told of folders and
of the editor's texts on stdin and gives records on stdout; it ends when stdin does.
"""

import marshal
import os
import queue
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from .ignore import DEPENDENCIES
from .scan import Scan, Update

NICE = 10
QUIET_MS, LONGEST_MS = 50, 500  # without a change, and in all, until changes are told
SIZE = 4  # bytes of a message's length


def frame(message: tuple[Any, ...]) -> bytes:
    """A message for the other side, which is of the same Python."""
    body = marshal.dumps(message)
    return len(body).to_bytes(SIZE, "little") + body


def read_frame(stream: BinaryIO) -> tuple[Any, ...] | None:
    """The next message; None at the end."""
    head = stream.read(SIZE)
    body = stream.read(int.from_bytes(head, "little"))
    return marshal.loads(body) if len(head) == SIZE and body else None


class Indexer:
    """The folders, one job after the other."""

    def __init__(self, out: BinaryIO):
        self._out = out
        self._scans: dict[str, Scan] = {}
        self._stops: dict[str, threading.Event] = {}
        self.jobs: queue.Queue[tuple[Any, ...] | None] = queue.Queue()

    def run(self) -> None:
        while (job := self.jobs.get()) is not None:
            kind, *rest = job
            if kind == "folders":
                self._folders(*rest)
            elif rest[0] in self._scans:
                self._changes(rest[0], kind, *rest[1:])

    def _folders(self, roots: list[str]) -> None:
        for gone in self._scans.keys() - roots:
            del self._scans[gone]
            self._stops.pop(gone).set()
        for root in roots:
            if root not in self._scans:
                scan = self._scans[root] = Scan(Path(root))
                stop = self._stops[root] = threading.Event()
                threading.Thread(target=self._watch, args=(root, stop), daemon=True).start()
                self._give(root, scan.all())
                self._say("ready", root)

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
