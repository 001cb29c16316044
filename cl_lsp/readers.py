"""Processes that make records of files for `indexer.py`, as many as there are cores for.

They live while a folder is read for the first time, or much of it has changed. The grammars hold
Python's lock while they parse, so threads would not do.
"""

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from .backlog import Signature
from .kept import Kept
from .pipes import frame, read_frame
from .records import read_record

MOST = 4
AT_HAND = 3  # files that a reader has: it need not wait, and what becomes urgent need not either
DEATHS = 3  # of readers, after which there are none any more
COMMAND = (sys.executable, "-P", "-m", "cl_lsp.readers")


Answer = tuple[Any, ...] | None  # a record's values or nothing; None: there is no more answer


class Task(NamedTuple):
    """A file to read, and what was known of it when it was given away."""

    root: str
    path: str
    signature: Signature


class Reader:
    """One such process. A thread calls `hear`, with each answer and with None at the end."""

    def __init__(self, hear: Callable[["Reader", Answer], None]):
        self.tasks: deque[Task] = deque()  # given and not answered; answers are in this order
        self.works = False  # it has answered
        self._hear = hear
        pipe = subprocess.PIPE
        self._process: subprocess.Popen[bytes] = subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe)
        Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def give(self, task: Task) -> None:
        self.tasks.append(task)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it is dead, which the thread hears
            self._process.stdin.write(frame((task.root, task.path)))
            self._process.stdin.flush()

    def close(self) -> None:
        """It ends, after what it was given."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            while (answer := read_frame(answers)) is not None:
                self._hear(self, answer)
        self.close()
        self._process.wait()
        self._hear(self, None)


class Readers:
    """All of them. What a thread gives to `hear` is to be told to `heard`, by who feeds them."""

    def __init__(self, hear: Callable[[Reader, Answer], None]):
        self._hear = hear
        self._readers: list[Reader] = []
        self._deaths = 0

    def feed(self, take: Callable[[], Task | None]) -> bool:
        """Each gets a few of the tasks. False if there are no readers, nor will be."""
        try:
            while self._deaths < DEATHS and len(self._readers) < many():
                self._readers.append(Reader(self._hear))
        except OSError:
            self._deaths = DEATHS
        for reader in self._readers:
            while len(reader.tasks) < AT_HAND and (task := take()) is not None:
                reader.give(task)
        return bool(self._readers)

    def heard(self, reader: Reader, answer: Answer) -> tuple[Task | None, list[Task]]:
        """The task that is answered, if one is, and those that will not be."""
        if answer is not None:
            reader.works = True
            return reader.tasks.popleft(), []
        if reader in self._readers:
            self._readers.remove(reader)
        self._deaths += bool(reader.tasks)
        died_of = reader.tasks.popleft() if reader.tasks and reader.works else None
        return died_of, [*reader.tasks]

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers.clear()


def many() -> int:
    """How many are of use on this machine."""
    asked = getattr(os, "sched_getaffinity", None)
    return min(MOST, len(asked(0)) if asked else os.cpu_count() or 1)


def main() -> None:
    kept = Kept()
    while (task := read_frame(sys.stdin.buffer)) is not None:
        root, path = task
        record = read_record(Path(root), path, kept.find)
        sys.stdout.buffer.write(frame(record.values if record else ()))
        sys.stdout.buffer.flush()
    kept.close()


if __name__ == "__main__":
    main()
