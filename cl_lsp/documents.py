"""Open documents; the only place that knows position encodings (Position <-> code point).

pygls keeps documents too, but splits lines at form feeds and other characters that LSP does not
count.
"""

import logging
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from lsprotocol import types

from .errors import Unreadable
from .line_ends import LINE_END, line_at, near_line
from .reasons import Reason
from .syntax import Opened

log = logging.getLogger(__name__)
LANGUAGES = {  # LSP's ids of files whose suffix is another
    "cc": "cpp",
    "cs": "csharp",
    "h": "c",
    "hpp": "cpp",
    "js": "javascript",
    "py": "python",
    "rb": "ruby",
    "rs": "rust",
    "sh": "shellscript",
    "ts": "typescript",
}
MAX_CHARACTERS = 2_000_000  # a longer document gets no suggestions and costs no time


@dataclass(frozen=True)
class Snapshot:
    """A document at one moment, and a cursor in it as a code-point offset."""

    uri: str
    version: int
    language: str
    text: str
    offset: int
    line: int | None = field(default=None, compare=False)  # the cursor's, from 0, if it is known
    opened: Opened = field(default_factory=Opened, compare=False, repr=False)  # the document's

    def same(self, other: "Snapshot") -> bool:
        """Whether text and cursor are, whatever the version."""
        return (self.text, self.offset) == (other.text, other.offset)

    @property
    def before(self) -> str:
        return self.text[: self.offset]

    @property
    def after(self) -> str:
        return self.text[self.offset :]

    @property
    def line_before(self) -> str:
        """The cursor's line, up to the cursor."""
        ends = [m.end() for m in LINE_END.finditer(self.text, self._far_back, self.offset)]
        return self.text[ends[-1] if ends else self._far_back : self.offset]

    @property
    def line_after(self) -> str:
        """The cursor's line, from the cursor to its end, without the line end."""
        end = LINE_END.search(self.text, self.offset)
        return self.text[self.offset : end.start() if end else len(self.text)]

    @property
    def place(self) -> str:
        """For the user: FILE:LINE:COLUMN, counted from 1."""
        line = self.line
        if line is None:
            line, _ = line_at(self.text, self.offset)
        return f"{name_of(self.uri)}:{line + 1}:{len(self.line_before) + 1}"

    @property
    def _far_back(self) -> int:
        at = max(self.text.rfind("\n", 0, self.offset), self.text.rfind("\r", 0, self.offset))
        return max(at, 0)


@dataclass(frozen=True)
class Problem:
    """Why a text gets no suggestions, for people and by its name."""

    text: str
    reason: Reason

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Document:
    """`text` is empty if `problem` says why the document is not read.

    `near` is a line that was changed, and where it begins: the next position is most often there,
    and to count 2,500 lines from the text's start takes a millisecond.
    """

    uri: str
    version: int
    language: str
    text: str
    problem: Problem | None = None
    near: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, uri: str, version: int, language: str, text: str) -> "Document":
        problem = problem_of(text)
        return cls(uri, version, language, "" if problem else text, problem)


def name_of(uri: str) -> str:
    """Of a document, for people.

    >>> name_of("file:///a/%C3%BCber%20uns.py")
    'über uns.py'
    """
    return unquote(uri.rpartition("/")[2])


def problem_of(text: str) -> Problem | None:
    """Why there are no suggestions in this text, or None."""
    if len(text) > MAX_CHARACTERS:
        size = f"it has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}"
        return Problem(size, Reason.TOO_LARGE)
    return Problem("it is binary", Reason.BINARY) if "\0" in text else None


class Documents:
    """The open documents by URI, kept in step with the client's incremental changes.

    `secret` says why no model may see one, or None.
    """

    def __init__(self, secret: Callable[[str], Reason | None] = lambda uri: None) -> None:
        self.encoding: str = types.PositionEncodingKind.Utf16
        # What stands before and after a text that is part of a greater one; not in its positions.
        self.around: Callable[[str], tuple[str, str]] = lambda uri: ("", "")
        self._secret = secret
        self._open: dict[str, Document] = {}
        self._opened: dict[str, Opened] = {}  # of those in which a cursor was

    @property
    def uris(self) -> list[str]:
        return list(self._open)

    def get(self, uri: str) -> Document | None:
        return self._open.get(uri)

    def open(self, item: types.TextDocumentItem) -> Document:
        document = Document.of(item.uri, item.version, item.language_id, item.text)
        self._open[item.uri] = document
        return document

    def is_open(self, uri: str) -> bool:
        return uri in self._open

    def close(self, uri: str) -> None:
        self._open.pop(uri, None)
        self._opened.pop(uri, None)

    def change(self, params: types.DidChangeTextDocumentParams) -> Document | None:
        """Apply the changes in order; None if the document is not open."""
        identity = params.text_document
        document = self._open.get(identity.uri)
        if document is None:
            return None
        if identity.version < document.version:
            log.warning(
                "%s went back from version %d to %d; its change is applied all the same",
                *(identity.uri, document.version, identity.version),
            )
        for change in params.content_changes:
            document = self._apply(document, change)
        document = replace(document, version=identity.version)
        self._open[identity.uri] = document
        return document

    def _apply(self, document: Document, change: types.TextDocumentContentChangeEvent) -> Document:
        if not isinstance(change, types.TextDocumentContentChangePartial):
            return Document.of(document.uri, document.version, document.language, change.text)
        if document.problem:
            return (
                document  # unknown text cannot be edited; a full change or a re-open brings it back
            )
        text, at = document.text, change.range
        near = near_line(text, at.start.line, document.near)
        start = offset_at(text, at.start, self.encoding, near)
        end = max(start, offset_at(text, at.end, self.encoding, near))
        changed = text[:start] + change.text + text[end:]
        made = Document.of(document.uri, document.version, document.language, changed)
        # A carriage return before the line may become half of a line end.
        begins = near if text[near[1] - 1 : near[1]] != "\r" else (0, 0)
        return replace(made, near=begins)

    def snapshot(self, uri: str, position: types.Position, *, exact: bool = False) -> Snapshot:
        """Raises Unreadable if the document is not open, secret, binary or too large; if `exact`,
        also if it has no such line, which is the text's end otherwise."""
        document = self._open.get(uri)
        if document is None:
            raise Unreadable(f"{uri} is not open", Reason.CLOSED)
        if document.problem:
            problem = document.problem
            raise Unreadable(f"no suggestions in {uri}: {problem}", problem.reason)
        if reason := self._secret(uri):
            raise Unreadable(f"{uri}: {reason.sentence}", reason)
        text = document.text
        near = near_line(text, position.line, document.near)
        if exact and near[0] < position.line:
            raise Unreadable(f"{uri} has no line {position.line + 1}", Reason.NO_SUCH_LINE)
        offset, line = offset_at(text, position, self.encoding, near), position.line
        before, after = self.around(uri)
        if before or after:
            text, offset, line = "".join((before, text, after)), len(before) + offset, None
        opened = self._opened.setdefault(uri, Opened())
        return Snapshot(uri, document.version, document.language, text, offset, line, opened)


def offset_at(
    text: str, position: types.Position, encoding: str, near: tuple[int, int] = (0, 0)
) -> int:
    """Code-point offset of `position`, clamped to its line's end and to the text's end."""
    at, start = near_line(text, position.line, near)
    if at < position.line:
        return len(text)
    end = LINE_END.search(text, start)
    line = text[start : end.start() if end else len(text)]
    return start + _code_points(line, position.character, encoding)


def _code_points(line: str, units: int, encoding: str) -> int:
    """How many code points of the line lie before `units`; inside one counts as before it."""
    if encoding == types.PositionEncodingKind.Utf32 or line.isascii():
        return min(units, len(line))
    done = 0
    for i, character in enumerate(line):
        done += width(character, encoding)
        if done > units:
            return i
    return len(line)


def width(text: str, encoding: str) -> int:
    """Length of `text` in the units of `encoding`. A lone surrogate counts as U+FFFD would."""
    if encoding == types.PositionEncodingKind.Utf32:
        return len(text)
    if encoding == types.PositionEncodingKind.Utf8:
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def positions_at(text: str, offsets: Iterable[int], encoding: str) -> Iterator[types.Position]:
    """The positions of code-point offsets, in the units of `encoding`. Those that ascend take one
    pass over the text."""
    near = 0, 0
    for offset in offsets:
        near = line_at(text, offset, near)
        yield types.Position(near[0], width(text[near[1] : offset], encoding))


def read_file(path: Path, line: int, column: int) -> Snapshot:
    """A snapshot of a file on disk; `line` and `column` count from 1, in characters.

    Raises Unreadable, with the reason, for what is no text or a position outside of it.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe might never end
            raise Unreadable(f"cannot read {path}: it is no regular file")
        if found.st_size > 4 * MAX_CHARACTERS:
            raise Unreadable(f"{path} is too large: the limit is {MAX_CHARACTERS:,} characters")
        text = path.read_bytes().decode()
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path} is not UTF-8 text (byte {error.start})") from error
    if problem := problem_of(text):
        raise Unreadable(f"no suggestions in {path}: {problem}")
    lines = LINE_END.split(text)
    if not 1 <= line <= len(lines):
        there = len(lines) - (not lines[-1])  # what ends with a line break has no line behind it
        raise Unreadable(f"line {line} is outside {path}, which has {there} lines")
    if not 1 <= column <= len(lines[line - 1]) + 1:
        longest = len(lines[line - 1]) + 1
        raise Unreadable(f"column {column} is outside line {line}, which ends at column {longest}")
    position = types.Position(line - 1, column - 1)
    offset = offset_at(text, position, types.PositionEncodingKind.Utf32)
    suffix = path.suffix.lstrip(".")
    uri, language = path.resolve().as_uri(), LANGUAGES.get(suffix, suffix)
    return Snapshot(uri, 0, language, text, offset)
