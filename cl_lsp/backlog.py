"""The files of a folder that are to be read, the most urgent first: what open files import."""

import zlib
from collections import deque
from collections.abc import Iterable

from .imports import imported
from .index import Index, module_of
from .records import SETTINGS, Record

HEAD = 20_000  # characters in which imports are looked for
NOTHING = zlib.compress(b"")

Signature = tuple[int, int, int]  # of a file as it was listed: time in ns, bytes, inode


class Backlog:
    """Who reads takes one after the other, and tells of each that it is done."""

    def __init__(self) -> None:
        self._waiting: dict[str, Signature] = {}
        self._order: deque[str] = deque()  # of those that wait, among some that do no more
        self._taken: dict[str, Signature] = {}  # and not yet read
        self._near: set[str] = set()  # of both, those that open files import
        self._packages: set[str] = set()  # of those, the ones that give on what they import
        self._heads: dict[str, str] = {}  # of open files
        self._paths = Index()  # of the whole folder, without texts but those of tsconfigs

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    @property
    def is_near_done(self) -> bool:
        """Whether there are open files, and what they import is read."""
        return bool(self._heads) and not self._near

    def fill(self, paths: Iterable[str], waiting: dict[str, Signature]) -> None:
        """Of all these paths, these are to be read, whatever was before."""
        self._waiting, self._order = waiting, deque(waiting)
        self._near.clear()
        self._paths = Index()
        for path in paths:
            self._paths.put(Record(path, NOTHING))
        self._order.extendleft(p for p in waiting if _says_where(p))
        for path, head in self._heads.items():
            self._ahead(path, head)

    def take(self) -> tuple[str, Signature] | None:
        """The next, which is to be read now."""
        while self._order:
            path = self._order.popleft()
            if (signature := self._waiting.pop(path, None)) is not None:
                self._taken[path] = signature
                return path, signature
        return None

    def done(self, path: str, signature: Signature, record: Record | None) -> bool:
        """What was taken is read. Whether that counts: the file is not another one by now."""
        if self._taken.get(path) != signature:
            return False
        del self._taken[path]
        self._near.discard(path)
        if not self:
            self._paths = Index()
        elif record is not None and path in self._packages:
            self._first(imported(self._paths, path, record.text[:HEAD]))
        elif record is not None and _says_where(path):
            self._paths.put(record)
            for opened, head in self._heads.items():
                self._ahead(opened, head)
        return True

    def give_back(self, path: str, signature: Signature) -> bool:
        """It was taken, and not read. Whether that counts, as above."""
        if self._taken.get(path) != signature:
            return False
        self._waiting[path] = self._taken.pop(path)
        self._order.appendleft(path)
        return True

    def forget(self, path: str) -> None:
        self._waiting.pop(path, None)
        self._taken.pop(path, None)
        self._near.discard(path)

    def opened(self, path: str, text: str) -> None:
        """What this text imports is more urgent than the rest, and then what is beside it."""
        self._heads[path] = text[:HEAD]
        if self:
            self._ahead(path, text[:HEAD])

    def closed(self, path: str) -> None:
        self._heads.pop(path, None)

    def _ahead(self, path: str, head: str) -> None:
        folder = path.rpartition("/")[0]
        self._order.extendleft(p for p in self._waiting if p.rpartition("/")[0] == folder)
        found = imported(self._paths, path, head)
        self._packages.update(one for one in found if module_of(one) != one.partition(".")[0])
        self._first(found)

    def _first(self, paths: list[str]) -> None:
        wait = [path for path in paths if path in self._waiting]
        self._near.update(wait, (path for path in paths if path in self._taken))
        self._order.extendleft(reversed(wait))


def _says_where(path: str) -> bool:
    return bool(SETTINGS.fullmatch(path.rpartition("/")[2]))
