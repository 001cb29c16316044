"""One workspace folder on disk: which of its files belong into the index, and what has changed.

Gives updates, (path, record); a record of None: the file is gone, or must not be in the index.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from .backlog import Backlog, Signature
from .ignore import FILES, MARKS, Rules
from .records import Record, is_source, make_record, read_record

DECIDING = (*FILES, *MARKS)
MAX_FILES = 10_000  # of a folder; docs/context.md has what they take
MAX_FOLDERS = 50_000  # looked into, so that a whole disk opened as a workspace has an end
FEW = 32  # files that are not worth the start of other processes
MANY = 500  # changed paths, from which on it is quicker to look at all

Update = tuple[str, Record | None]


class Scan:
    """What is known of a folder. Of `open` files the editor's text counts, not the disk's.

    If others help, more than a few files are left in the backlog: they `take` each and tell `read`.
    """

    def __init__(self, root: Path, others_help: bool = False):
        self.root = root
        self.open: set[str] = set()
        self.backlog = Backlog()
        self._others_help = others_help
        self._rules = Rules(root)
        self._known: dict[str, Signature | None] = {}  # None: it was read and is not for the index

    def all(self) -> Iterator[Update]:
        """What differs from what was given before, with the rules as they are now."""
        self._rules = Rules(self.root)
        there = dict(self._files())
        for path in [*self._known, *self.open]:
            if path not in there and not (path in self.open and self._belongs(path)):
                self._forget(path)
                yield path, None
        differ = (p for p in there if p not in self.open and self._known.get(p, ()) != there[p])
        waiting = {path: there[path] for path in differ}
        leave = self._others_help and len(waiting) > FEW
        self.backlog.fill(there if leave else (), waiting)
        if not leave:
            while (taken := self.take()) is not None:
                yield from self.read(*taken, read_record(self.root, taken[0]))

    def is_outdated(self) -> bool:
        """Whether ignore files outside of the folder are others than when all was looked at."""
        return Rules(self.root).elsewhere != self._rules.elsewhere

    def take(self) -> tuple[str, Signature] | None:
        """The next file of the backlog."""
        if (taken := self.backlog.take()) is not None:
            self._known[taken[0]] = taken[1]
        return taken

    def read(self, path: str, signature: Signature, record: Record | None) -> Iterator[Update]:
        """A file that was taken has this record; nothing if it has changed or gone since."""
        if self.backlog.done(path, signature, record):
            yield path, record

    def give_back(self, path: str, signature: Signature) -> None:
        """A file that was taken has not been read."""
        if self.backlog.give_back(path, signature):
            del self._known[path]

    def _forget(self, path: str) -> None:
        self._known.pop(path, None)
        self.backlog.forget(path)

    def changed(self, paths: Iterable[str]) -> Iterator[Update]:
        """What a change of these files, or folders, makes of the index."""
        paths = set(paths)
        decides = any(PurePosixPath(path).name in DECIDING for path in paths)
        if len(paths) > MANY or decides or self.is_outdated():
            yield from self.all()
            return
        if not all(is_source(path) for path in paths):
            self._rules = Rules(self.root)  # a folder may have brought some, or taken them along
        for path in sorted(paths - self.open):
            there = dict(self._below(path))
            inside = [p for p in self._known if p == path or p.startswith(path + "/")]
            for gone in inside:
                if gone not in there and gone not in self.open:
                    self._forget(gone)
                    yield gone, None
            for file, signature in there.items():
                if file not in self.open and self._known.get(file, ()) != signature:
                    yield from self._read(file, signature)

    def edited(self, path: str, text: str) -> Iterator[Update]:
        """The editor's text of a file that is open."""
        self.open.add(path)
        self._forget(path)
        self.backlog.opened(path, text)
        yield path, make_record(path, text) if self._belongs(path) else None

    def closed(self, path: str) -> Iterator[Update]:
        """The disk's text counts again."""
        self.open.discard(path)
        self.backlog.closed(path)
        self._known[path] = None
        yield from self.changed([path])

    def _read(self, path: str, signature: Signature) -> Iterator[Update]:
        self._forget(path)
        self._known[path] = signature
        yield path, read_record(self.root, path)

    def _belongs(self, path: str) -> bool:
        return is_source(path) and not self._rules.ignores(path)

    def _below(self, path: str) -> Iterator[tuple[str, Signature]]:
        """The file itself, or those in the folder, as far as they belong here."""
        where = self.root / path
        if where.is_dir() and not where.is_symlink():
            if not self._rules.ignores_folder(path):
                yield from self._files(path)
        elif self._belongs(path) and (signature := self._signature(path)) is not None:
            yield path, signature

    def _signature(self, path: str) -> Signature | None:
        try:
            found = (self.root / path).lstat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _files(self, top: str = "") -> Iterator[tuple[str, Signature]]:
        """Breadth first: what is near the root counts before what is deep, if it is too much."""
        folders, files = [top], 0
        for looked_into, folder in enumerate(folders):
            if looked_into == MAX_FOLDERS:
                return
            for name, is_folder in self._entries(folder):
                path = f"{folder}/{name}" if folder else name
                if is_folder:
                    if not self._rules.prunes(path):
                        folders.append(path)
                elif is_source(path) and not self._rules.ignores_file(path):
                    if (signature := self._signature(path)) is not None:
                        yield path, signature
                        files += 1
                    if files == MAX_FILES:
                        return

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        """Names, and whether each is a folder; links are left out, so that no loop is entered."""
        try:
            with os.scandir(self.root / folder) as entries:
                found = [
                    (entry.name, entry.is_dir(follow_symlinks=False))
                    for entry in entries
                    if not entry.is_symlink()
                ]
        except OSError:
            return []
        return sorted(found)
