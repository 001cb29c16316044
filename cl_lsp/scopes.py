"""The settings that hold for each workspace folder, kept up to date. Files are looked at, at most
every two seconds, when somebody asks; nothing runs in the background.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pygls.uris import to_fs_path

from .config import Config
from .settings import FILE, Files, Problem, merged, outside, user_file

LOOK_S = 2.0


class Scopes:
    """One Config per folder, and one for what is in none (`None`).

    `say` is told, once for each change, what is wrong in one place; `changed` that something is
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
        self.folders: list[Path] = []
        self.options: Any = None  # of the editor, from the start
        self.told: dict[Path | None, Any] = {}  # by the editor since, per folder
        self._configs: dict[Path | None, Config] = {None: Config()}
        self._folder_of: dict[str, Path | None] = {}
        self._said: dict[str, str] = {}
        self._stamps: list[tuple[int, int] | None] = []
        self._next_look = 0.0

    def of(self, uri: str) -> Config:
        """For a document: those of the innermost folder that it is in."""
        folder = self.folder(uri)  # which may read them anew
        return self._configs.get(folder, self._configs[None])

    def folder(self, uri: str) -> Path | None:
        if self._clock() >= self._next_look:
            self.look()
        if uri not in self._folder_of:
            if len(self._folder_of) > 1000:
                self._folder_of.clear()
            self._folder_of[uri] = innermost(path_of(uri), self.folders)
        return self._folder_of[uri]

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
        files, problems = Files(), list[Problem]()
        user, before = files.of_user(), self._configs
        self._configs = {}
        for folder in [None, *self.folders]:
            own = files.of_workspace(folder) if folder else []
            told = self.told.get(folder, self.told.get(None))
            sources = [*user, *own, *outside(self._environment, self.options, told)]
            self._configs[folder], found = merged(sources)
            problems += found
        self._folder_of.clear()
        self._tell(files.problems + problems)
        if self._configs != before:
            self._changed()

    def _tell(self, problems: list[Problem]) -> None:
        texts: dict[str, dict[str, None]] = {}
        for problem in problems:
            texts.setdefault(problem.source, {})[problem.text] = None
        new = {source: listed(source, list(them)) for source, them in texts.items()}
        for source, message in new.items():
            if self._said.get(source) != message:
                self._say(message)
        self._said = new

    def _stamp(self) -> list[tuple[int, int] | None]:
        return [_stamp(path) for path in (user_file(), *(f / FILE for f in self.folders))]


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


def innermost(path: Path | None, folders: list[Path]) -> Path | None:
    within = [f for f in folders if path is not None and (path == f or f in path.parents)]
    return max(within, key=lambda folder: len(folder.parts), default=None)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
