"""The settings that hold for a document, by where it lies, kept up to date. Files are looked at, at
most every two seconds, when somebody asks; nothing runs in the background.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pygls.uris import to_fs_path

from .config import Config
from .settings import FILE, Files, Problem, Source, folders_of, merged, outside, user_file

LOOK_S = 2.0


@dataclass(frozen=True)
class Scope:
    """Where one Config holds: in the workspace folder, and below the path that the user's file has
    a table for; the innermost of each, None if there is none."""

    folder: Path | None = None
    table: Path | None = None


COMMON = Scope()


class Scopes:
    """One Config per scope.

    `say` is told what is wrong in one place, once until it is mended; `changed` that something is
    other than before.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._environment, self._say, self._changed, self._clock = environment, say, changed, clock
        self.edition = 0  # another one when what held is other than before
        self.folders: list[Path] = []
        self.options: Any = None  # of the editor, from the start
        self.told: dict[Path | None, Any] = {}  # by the editor since, per folder
        # What a document is part of, as a cell is of a notebook, says where it lies.
        self.owner: Callable[[str], str] = lambda uri: uri
        self._files, self._user = Files(), list[Source]()
        self._configs: dict[Scope, Config] = {}
        self._problems: dict[Scope, list[Problem]] = {}
        self._above: dict[Path, list[Path]] = {}  # of the folders, those above with settings
        self._scope_of: dict[str, Scope] = {}
        self._said: set[Problem] = set()
        self._stamps: list[tuple[int, int] | None] = []
        self._next_look = 0.0

    def of(self, uri: str) -> Config:
        """For a document. A scope's are merged when the first one in it asks."""
        scope = self.scope(uri)  # which may read them anew
        if (config := self._configs.get(scope)) is None:
            config = self._merge(scope)
            self._tell()
            self._changed()
        return config

    def scope(self, uri: str) -> Scope:
        if self._clock() >= self._next_look:
            self.look()
        uri = self.owner(uri)
        if uri not in self._scope_of:
            if len(self._scope_of) > 1000:
                self._scope_of.clear()
            path = path_of(uri)
            folder, table = innermost(path, self.folders), innermost(path, self._files.tables)
            self._scope_of[uri] = Scope(folder, table)
        return self._scope_of[uri]

    def path(self, uri: str) -> Path | None:
        """Of the file that a document is, or is part of; None if there is none."""
        return path_of(self.owner(uri))

    def roots(self, uri: str) -> set[Path]:
        """The folders to which the patterns for a document may be relative; they hold it."""
        scope = self.scope(uri)
        above = self._above.get(scope.folder, []) if scope.folder else []
        return {root for root in (scope.folder, scope.table, *above) if root is not None}

    @property
    def main(self) -> str:
        """The URI of the first folder, for what is asked before a document is."""
        return self.folders[0].as_uri() if self.folders else ""

    def all(self) -> list[Config]:
        """The different ones, the common one first."""
        return list(dict.fromkeys(self._configs.values()))

    def look(self) -> None:
        """Read again if a file has changed since."""
        self._next_look = self._clock() + LOOK_S
        if self._stamps != self._stamp():
            self.read()

    def read(self) -> None:
        """Everything again, from all places."""
        self._stamps, self._next_look = self._stamp(), self._clock() + LOOK_S
        self._files, before = Files(), self._configs
        self._user = self._files.of_user()
        self._configs, self._problems = {}, {}
        self._scope_of.clear()
        self._above = {
            f: [one for one in folders_of(f) if (one / FILE).exists()] for f in self.folders
        }
        tables, folders = self._files.tables, {None, *self.folders}
        opened = [Scope(folder, innermost(folder, tables)) for folder in self.folders]
        kept = [s for s in before if s.folder in folders and s.table in {None, *tables}]
        for scope in dict.fromkeys([COMMON, *opened, *kept]):
            self._merge(scope)
        self._tell()
        if self._configs != before:
            self.edition += 1
            self._changed()

    def _merge(self, scope: Scope) -> Config:
        own = self._files.of_workspace(scope.folder) if scope.folder else []
        tables = self._files.of_tables(scope.table) if scope.table else []
        told = self.told.get(scope.folder, self.told.get(None))
        sources = [*self._user, *own, *tables, *outside(self._environment, self.options, told)]
        self._configs[scope], self._problems[scope] = merged(sources)
        return self._configs[scope]

    def _tell(self) -> None:
        found = dict.fromkeys(sum(self._problems.values(), self._files.problems))
        new: dict[str, list[str]] = {}
        for problem in found:
            if problem not in self._said:
                new.setdefault(problem.source, []).append(problem.text)
        for source, texts in new.items():
            self._say(listed(source, texts))
        self._said = set(found)

    def _stamp(self) -> list[tuple[int, int] | None]:
        files = (inner / FILE for folder in self.folders for inner in folders_of(folder))
        return [_stamp(path) for path in (user_file(), *files)]


def listed(source: str, texts: list[str]) -> str:
    """One message for all that is wrong in one place."""
    if len(texts) == 1:
        return f"{source}: {texts[0]}"
    return "\n".join([f"{source}:", *(f"- {text}" for text in texts)])


def path_of(uri: str) -> Path | None:
    """Of a document that is a file; a notebook's cell is in its notebook."""
    if uri.partition(":")[0].lower() not in ("file", "vscode-notebook-cell"):
        return None
    path = to_fs_path("file:" + uri.partition(":")[2].partition("#")[0])
    return Path(path) if path else None


def innermost(path: Path | None, folders: Iterable[Path]) -> Path | None:
    within = [f for f in folders if path is not None and (path == f or f in path.parents)]
    return max(within, key=lambda folder: len(folder.parts), default=None)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
