"""The workspace around the open documents: what of it goes into a request as snippets.

Owns an index for each folder, fed by a process of its own, and what was edited and visited lately.
A document's snippets are of its own folder only; an open file's text is the editor's.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from lsprotocol import types
from pygls.uris import to_fs_path

from .config import CompletionConfig
from .documents import Documents, Snapshot
from .index import Index
from .indexing import Indexing
from .line_ends import line_at
from .records import MAX_BYTES, Record, suffix_of
from .snippets import Place, Region, Snippet, choose
from .steady import Steady
from .symbols import GRAMMARS

Sent = tuple[tuple[str, str], ...]  # names and texts, as a request has them
SUFFIXES = {  # of languages by LSP's ids: a cell, or a script, may have no telling name
    "javascript": "js",
    "python": "py",
    "shellscript": "sh",
    "typescript": "ts",
}
REGIONS = 8  # places that are remembered
CELL = "vscode-notebook-cell"  # a cell's URI has its notebook's path
SAME = 20  # lines; nearer is the same place
QUIET_S = 1.0  # without a key, until an edited text is indexed


class Workspace:
    """Without `start` it is empty, and gives no snippets."""

    def __init__(self, documents: Documents):
        self._config_of: Callable[[str], CompletionConfig] = lambda uri: CompletionConfig()
        # Whether the user wants a file not to be in a document's prompts.
        self.hides: Callable[[Path, str], bool] = lambda path, uri: False
        self._documents = documents
        self.indexes: dict[str, Index] = {}  # by folder
        self._steady = Steady()
        self._regions: deque[tuple[str, int]] = deque(maxlen=REGIONS)  # URI and line, newest last
        self._edited: dict[str, float] = {}  # URIs that wait to be indexed, and the last key's time
        self._timer: asyncio.TimerHandle | None = None
        self._indexing: Indexing | None = None
        self.unwatched: Callable[[str], None] = lambda root: None  # told of a folder

    def start(self, folders: list[Path]) -> None:
        """Read these folders in the background, and watch them."""
        self._indexing = Indexing(self._hear, self._lost)
        self.set_folders(folders)

    def configure(self, config_of: Callable[[str], CompletionConfig]) -> None:
        """The settings of a document, by its URI; again whenever they are others."""
        self._config_of = config_of
        self._read()

    def set_folders(self, folders: list[Path]) -> None:
        roots = [str(folder) for folder in folders]
        self.indexes = {root: self.indexes.get(root, Index()) for root in roots}
        self.find.cache_clear()
        self._say("folders", roots)
        for uri in self._documents.uris:
            self.opened(uri)
        self._read()

    async def read(self, within_s: float) -> bool:
        """Return when all folders have been read, or after so long; whether they have."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not all(index.ready for index in self.indexes.values()):
                    await asyncio.sleep(0.01)
        return all(index.ready for index in self.indexes.values())

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._indexing is not None:
            await self._indexing.close()
            self._indexing = None

    @property
    def pid(self) -> int | None:
        """Of the process that reads, while there is one."""
        return self._indexing.pid if self._indexing else None

    def opened(self, uri: str) -> None:
        self._edited[uri] = 0.0
        self._send_edited()

    def changed(self, params: types.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        for change in params.content_changes[-1:]:
            if isinstance(change, types.TextDocumentContentChangePartial):
                self._been(uri, change.range.start.line)
        self._edited[uri] = time.monotonic()
        if self._timer is None and self._indexing is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(QUIET_S, self._send_edited)

    def closed(self, uri: str) -> None:
        self._edited.pop(uri, None)
        self._steady.forget(uri)
        self._regions = deque((r for r in self._regions if r[0] != uri), maxlen=REGIONS)
        if (found := self.find(uri)) is not None:
            self._say("closed", *found)

    def files_changed(self, uris: list[str]) -> None:
        """Of files on disk, as the editor sees it."""
        by_root: dict[str, list[str]] = {}
        for uri in uris:
            if (found := self._locate(uri)) is not None:
                by_root.setdefault(found[0], []).append(found[1])
        for root, paths in by_root.items():
            self._say("changed", root, paths)

    def snippets(
        self, snapshot: Snapshot, prefix: str, suffix: str, *, ahead: bool = False
    ) -> Sent:
        """What goes into the request beside the windows `prefix` and `suffix` of a document.

        `ahead`: nobody has been there yet, and what is chosen may be for nothing.
        """
        config = self._config_of(snapshot.uri)
        found = self.find(snapshot.uri) if config.snippets else None
        if found is None:
            return ()
        root, path = found
        index = self.indexes[root]
        if not ahead:
            line = snapshot.line
            if line is None:
                line, _ = line_at(snapshot.text, snapshot.offset)
            self._been(snapshot.uri, line)
        if suffix_of(path) not in GRAMMARS and snapshot.language in SUFFIXES:
            path = f"{path}.{SUFFIXES[snapshot.language]}"
        place = Place(path, snapshot.text, snapshot.offset, prefix, suffix)

        def anew(place: Place) -> tuple[Snippet, ...]:
            tabs = {path for _, path in self._open_in(root)}
            regions = self._places(root, snapshot.uri)
            return choose(index, place, regions, tabs, config.snippet_characters)

        chosen = self._steady.get(snapshot.uri, index, place, anew, keep=not ahead)
        paths = ((one, Path(root, one.path)) for one in chosen)
        # What lies in a folder of its own inside is that folder's, and may be for another engine.
        own = ((one, path) for one, path in paths if self._root_of(path.as_uri()) == root)
        seen = (one for one, path in own if not self.hides(path, snapshot.uri))
        return tuple((snippet.path, snippet.text) for snippet in seen)

    @lru_cache(256)  # noqa: B019  one workspace is one process
    def find(self, uri: str) -> tuple[str, str] | None:
        """The folder that a document is in, and its path below it."""
        return self._locate(uri)

    def _root_of(self, uri: str) -> str | None:
        found = self.find(uri)
        return found and found[0]

    def _locate(self, uri: str) -> tuple[str, str] | None:
        try:
            parts = urlsplit(uri)
            plain = parts._replace(scheme="file", query="", fragment="").geturl()
            path = to_fs_path(plain) if parts.scheme in ("file", CELL) else None
        except ValueError:  # no URI at all
            return None
        inside = [root for root in self.indexes if path and PurePath(path).is_relative_to(root)]
        if path is None or not inside:
            return None
        root = max(inside, key=len)
        return root, PurePath(path).relative_to(root).as_posix()

    def _open_in(self, root: str) -> list[tuple[str, str]]:
        found = ((uri, self.find(uri)) for uri in self._documents.uris)
        return [(uri, at[1]) for uri, at in found if at is not None and at[0] == root]

    def _places(self, root: str, uri: str) -> list[Region]:
        """Where one was in the other documents of the folder, the newest first."""
        paths = dict(self._open_in(root))
        return [
            Region(paths[other], document.text, line)
            for other, line in reversed(self._regions)
            if other != uri and other in paths and (document := self._documents.get(other))
        ]

    def _been(self, uri: str, line: int) -> None:
        if self._regions and self._regions[-1] == (uri, line):
            return
        others = [r for r in self._regions if r[0] != uri or abs(r[1] - line) > SAME]
        self._regions = deque((*others, (uri, line)), maxlen=REGIONS)

    def _send_edited(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._indexing is None:
            return
        now = time.monotonic()
        for uri in [uri for uri, key in self._edited.items() if now - key >= QUIET_S]:
            del self._edited[uri]
            document, found = self._documents.get(uri), self.find(uri)
            if found is not None and document is not None and not document.problem:
                # Longer ones have no record; how long they are is enough to say so.
                self._say("edited", *found, document.text[: MAX_BYTES + 1])
        if self._edited:
            self._timer = asyncio.get_running_loop().call_later(QUIET_S, self._send_edited)

    def _read(self) -> None:
        """Nothing is read for who wants no snippets."""
        wanted = any(self._config_of(Path(root).as_uri()).snippets for root in self.indexes)
        if self._indexing is not None and wanted:
            self._indexing.start()

    def _say(self, *message: object) -> None:
        if self._indexing is not None:
            self._indexing.say(*message)

    def _hear(self, kind: str, root: str, *rest: Any) -> None:
        index = self.indexes.get(root)
        if index is None:
            return
        match kind:
            case "record":
                index.put(Record(*rest))
            case "gone":
                index.remove(*rest)
            case "near":
                index.near = True
            case "ready":
                index.ready = True
            case "unwatched":
                self.unwatched(root)

    def _lost(self) -> None:
        """What nobody watches any more is not to be trusted."""
        self.indexes = {root: Index() for root in self.indexes}
        self.set_folders([Path(root) for root in self.indexes])
