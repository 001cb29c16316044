"""Whether the user wants anything at a place: switches, languages, globs, privacy. No engine."""

import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from pathspec import GitIgnoreSpec

from . import chat_documents
from .config import CompletionConfig
from .documents import Snapshot
from .ignore import Rules, top_of
from .privacy import is_private
from .reasons import Reason
from .scopes import Scopes, path_of
from .surroundings import unix_before
from .syntax import inside

KNOWN_S = 5.0  # that a file is ignored is looked up again after so long: an ignore file may change


class Gate:
    """What is decided by settings and names, for all documents of one editor."""

    def __init__(self, scopes: Scopes, clock: Callable[[], float] = time.monotonic):
        self._scopes, self._clock = scopes, clock
        self.paused = False
        self._secret: dict[str, tuple[float, Reason | None]] = {}

    def forget(self) -> None:
        """Settings or folders are other than before."""
        self._secret.clear()

    def closed(self, snapshot: Snapshot) -> Reason | None:
        """Why nothing is to be suggested at a cursor; None: go on."""
        if self.paused:
            return Reason.PAUSED
        if chat_documents.path_of(snapshot.uri) is not None:
            return Reason.CHAT
        if reason := self.secret(snapshot.uri):  # the settings may have come since it was taken
            return reason
        config = self._scopes.of(snapshot.uri).completion
        if not config.enabled:
            return Reason.OFF
        if not wants_language(config, snapshot.language):
            return Reason.LANGUAGE
        if config.disabled_globs and self._matches(snapshot.uri, config.disabled_globs):
            return Reason.GLOB
        if config.in_comments and config.in_strings:
            return None
        match inside(snapshot.language, unix_before(snapshot.before), snapshot.opened):
            case "comment" if not config.in_comments:
                return Reason.COMMENT
            case "string" if not config.in_strings:
                return Reason.STRING
        return None

    def secret(self, uri: str) -> Reason | None:
        """Why no model may see a document at all; None if one may."""
        uri = self._scopes.owner(uri)
        now = self._clock()
        until, reason = self._secret.get(uri, (0.0, None))
        if now >= until:
            if len(self._secret) > 1000:
                self._secret.clear()
            reason = self._look(uri)
            self._secret[uri] = now + KNOWN_S, reason
        return reason

    def hides(self, path: Path, uri: str) -> bool:
        """Whether a file is kept out of a document's prompts: out of all by the user's own
        patterns, or because it is for another engine."""
        file = path.as_uri()
        config = self._scopes.of(file)
        if config.engine != self._scopes.of(uri).engine:
            return True
        return self._matches(file, config.privacy.ignored_globs)

    def _look(self, uri: str) -> Reason | None:
        config, path = self._scopes.of(uri), path_of(uri)
        if path is None:  # a name tells, too, of what is no file: `git:/w/.env`
            private = not config.privacy.complete_private and is_private(_name(uri))
            return Reason.PRIVATE if private else None
        folder = self._scopes.scope(uri).folder
        inner = path.relative_to(folder) if folder else path
        real = Path(os.path.realpath(path))  # a link may have an innocent name
        if not config.privacy.complete_private and (is_private(inner) or is_private(real)):
            return Reason.PRIVATE
        if config.privacy.complete_ignored:
            return None
        ignored = (
            self._matches(uri, config.privacy.ignored_globs)
            or _ignores(folder or path.parent, path)
            or (real != path and _ignores(real.parent, real))
        )
        return Reason.IGNORED if ignored else None

    def _matches(self, uri: str, patterns: tuple[str, ...]) -> bool:
        path = self._scopes.path(uri)
        if path is None or not patterns:
            return False
        roots = self._scopes.roots(uri) or {top_of(path.parent), Path(path.anchor)}
        paths = (path.relative_to(root).as_posix() for root in roots)
        return any(map(_spec(patterns).match_file, paths))


def wants_language(config: CompletionConfig, language: str) -> bool:
    wanted = "*" in config.languages or language in config.languages
    return wanted and language not in config.disabled_languages


def _name(uri: str) -> str:
    return unquote(uri.partition(":")[2].partition("?")[0].partition("#")[0])


def _ignores(folder: Path, path: Path) -> bool:
    return Rules(folder).matches(path.relative_to(folder).as_posix())


@lru_cache(16)
def _spec(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    return GitIgnoreSpec.from_lines(patterns)
