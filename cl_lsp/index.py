"""What is known of a workspace folder: who defines a name, who uses it, what is where.

Filled by `indexer.py` and in memory only; each look-up takes microseconds.
"""

import itertools
import sys
from collections.abc import Callable, Collection, Hashable, Iterator

from .records import Record, suffix_of
from .symbols import Definition

KEPT = 100  # answers
FAMILIES = (  # suffixes of languages that call each other
    frozenset(("py", "pyi")),
    frozenset(("js", "jsx", "mjs", "cjs", "ts", "mts", "cts", "tsx", "vue", "svelte")),
    frozenset(("c", "h", "cc", "cpp", "cxx", "hh", "hpp", "hxx", "cu", "cuh", "m", "mm")),
    frozenset(("java", "kt", "kts", "scala")),
    frozenset(("sh", "bash", "zsh")),
)
_NUMBERS = itertools.count()
PACKAGES = ("__init__", "index")  # files that stand for the folder they are in


def family(path: str) -> frozenset[str]:
    """The suffixes of the languages whose names mean the same there."""
    suffix = suffix_of(path)
    return next((f for f in FAMILIES if suffix in f), frozenset((suffix,)))


class Table:
    """Paths by name. A name of one file, as most are, takes no set of its own."""

    def __init__(self) -> None:
        self.of: dict[str, str | set[str]] = {}

    def add(self, name: str, path: str) -> None:
        known = self.of.get(name)
        if known is None:
            self.of[name] = path
        elif isinstance(known, set):
            known.add(path)
        elif known != path:
            self.of[name] = {known, path}

    def discard(self, name: str, path: str) -> None:
        known = self.of.get(name)
        if isinstance(known, set):
            known.discard(path)
            if len(known) == 1:
                self.of[name] = known.pop()
        elif known == path:
            del self.of[name]

    def __getitem__(self, name: str) -> Collection[str]:
        known = self.of.get(name, ())
        return (known,) if isinstance(known, str) else known


class Index:
    """The files of one folder, and what is looked up in them."""

    def __init__(self) -> None:
        self.near = False  # whether what the open files import has been read
        self.ready = False  # whether the folder has been, as a whole
        self._records: dict[str, Record] = {}
        self._first = next(_NUMBERS)
        self._changed: dict[str, int] = {}  # since it was ready, by file, the newest last
        self._defined, self._used, self._stems = Table(), Table(), Table()
        self._answers: dict[Hashable, list[str]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, path: str) -> bool:
        return path in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __getitem__(self, path: str) -> Record:
        return self._records[path]

    def __eq__(self, other: object) -> bool:
        def tables(index: Index) -> list[dict]:
            return [table.of for table in (index._defined, index._used, index._stems)]

        if not isinstance(other, Index):
            return NotImplemented
        return self._records == other._records and tables(self) == tables(other)

    def put(self, record: Record) -> None:
        """Instead of what was known of its file."""
        old = self._records.get(record.path)
        if old is not None and old.packed == record.packed:
            return
        path = record.path
        if old is None:
            self._stems.add(stem_of(path), path)
        if old is None or path.endswith(".json"):  # a tsconfig says what imports mean
            self._answers.clear()
        self._records[path] = record
        self._rename(path, old, record)
        self._count(path)

    def remove(self, path: str) -> None:
        if (record := self._records.pop(path, None)) is not None:
            self._answers.clear()
            self._stems.discard(stem_of(path), path)
            self._rename(path, record, None)
            self._count(path)

    def _rename(self, path: str, old: Record | None, new: Record | None) -> None:
        for table, before, after in (
            (self._defined, old.defines if old else set(), new.defines if new else set()),
            (self._used, set(old.names if old else ()), set(new.names if new else ())),
        ):
            for name in before - after:
                table.discard(name, path)
            for name in after - before:
                table.add(sys.intern(name), path)

    def once(self, key: Hashable, find: Callable[[], list[str]]) -> list[str]:
        """What `find` finds among the paths here; anew when there are others."""
        if (answer := self._answers.get(key)) is None:
            if len(self._answers) == KEPT:
                self._answers.clear()
            answer = self._answers[key] = find()
        return answer

    def change(self, beside: str) -> int:
        """The number of the last change in another file than `beside`: it tells of a new one."""
        others = (n for path, n in reversed(self._changed.items()) if path != beside)
        return next(others, self._first)

    def _count(self, path: str) -> None:
        if self.ready:
            self._changed.pop(path, None)
            self._changed[path] = next(_NUMBERS)

    def defined(self, name: str) -> Collection[str]:
        """The files that define it."""
        return self._defined[name]

    def using(self, name: str) -> Collection[str]:
        """The files that it is in."""
        return self._used[name]

    def definitions(self, name: str, path: str) -> list[Definition]:
        """Those of the name in a file."""
        return [d for d in self._records[path].definitions if d.name == name]

    def module(self, *parts: str) -> list[str]:
        """The files whose path ends with these parts, without suffix or as a folder's own file."""
        end = "/" + "/".join(parts)
        return [path for path in self._stems[parts[-1]] if ("/" + module_of(path)).endswith(end)]


def module_of(path: str) -> str:
    """A path without its suffix; of a package's own file the folder's.

    >>> [module_of(p) for p in ("a/b.py", "a/b/__init__.py", "web/index.d.ts")]
    ['a/b', 'a/b', 'web']
    """
    folder, slash, name = path.rpartition("/")
    stem = name.partition(".")[0]
    return folder if stem in PACKAGES and folder else folder + slash + stem


def stem_of(path: str) -> str:
    return sys.intern(module_of(path).rpartition("/")[2])
