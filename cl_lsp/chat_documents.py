"""Chat documents: Markdown files of the user's, with the turns of a conversation in them.

What is here reads and writes their text; who asks and who streams is elsewhere.
"""

import os
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import platformdirs
from pygls.uris import to_fs_path

from .fenced import FENCE, Block, blocks
from .structure import lines_of

YOU, US = "## You", "## cl-lsp"
NOTE = "> cl-lsp: "
MAX_CONVERSATION = 24_000  # characters: 8,000 tokens or so, half of what Code Llama can see
BASE, PRIME = 1_000_003, 4_294_967_291  # of a digest; the largest prime below 2**32
ORIGIN = re.compile(
    r"Origin: \[.*\]\((?P<uri>\S+)#L(?P<first>\d+)(?:-L(?P<last>\d+)|C(?P<column>\d+))\)"
    r" (?:(?P<language>\S+) )?(?P<digest>[0-9a-f]{8})\s*$"
)


def folder() -> Path:
    return platformdirs.user_state_path("cl-lsp") / "chats"


def path_of(uri: str) -> Path | None:
    """The file of a chat document; None if the URI is another document's."""
    name = to_fs_path(uri) if uri.startswith("file:") else None
    if not name or not name.endswith(".md"):
        return None
    path = Path(os.path.abspath(name))
    chats = folder()
    return path if path.parent in (chats, Path(os.path.realpath(chats))) else None


@dataclass(frozen=True)
class Origin:
    """Lines `first` to `last` of a document (from 0), or a cursor in one, as they were."""

    uri: str
    first: int
    last: int
    column: int | None
    language: str
    digest: str

    @classmethod
    def of(
        cls, uri: str, language: str, text: str, first: int, last: int, column: int | None = None
    ) -> "Origin":
        digest = next(_digests(_lines(text)[first : last + 1], last - first + 1))
        return cls(uri, first, last, column, language, f"{digest:08x}")

    @classmethod
    def read(cls, line: str) -> "Origin | None":
        if (found := ORIGIN.match(line)) is None:
            return None
        first = int(found["first"]) - 1
        last = int(found["last"] or found["first"]) - 1
        column = None if found["column"] is None else int(found["column"]) - 1
        return cls(found["uri"], first, last, column, found["language"] or "", found["digest"])

    def __str__(self) -> str:
        """The line of a chat document that names it."""
        cursor = self.column is not None
        lines = f"{self.first + 1}" if cursor else f"{self.first + 1}-{self.last + 1}"
        end = f"C{self.column + 1}" if self.column is not None else f"-L{self.last + 1}"
        name = unquote(self.uri).rpartition("/")[2].replace("]", "")
        language = f"{self.language} " if self.language else ""
        link = f"[{name}:{lines}]({self.uri}#L{self.first + 1}{end})"
        return f"Origin: {link} {language}{self.digest}"

    def located(self, text: str) -> tuple[int, int] | None:
        """Offsets in a text; where its lines have moved to, or None if they have changed."""
        lines, count, first = _lines(text), self.last - self.first + 1, self.first
        wanted = int(self.digest, 16)
        if wanted not in _digests(lines[first : self.last + 1], count):
            same = [n for n, digest in enumerate(_digests(lines, count)) if digest == wanted]
            if len(same) != 1:
                return None  # which of them it is, nobody knows
            [first] = same
        start = sum(map(len, lines[:first]))
        if self.column is not None:
            return start + self.column, start + self.column
        return start, start + sum(map(len, lines[first : first + count]))


def _lines(text: str) -> list[str]:
    """With their ends; behind a last line end there is one more, where a cursor may be."""
    lines = lines_of(text)
    return lines if lines and not lines[-1].endswith(("\n", "\r")) else [*lines, ""]


def _digests(lines: list[str], count: int) -> Iterator[int]:
    """Of each `count` lines that follow one another, whatever their line ends; of 32 bits.

    A polynomial over the lines' checksums, as Rabin and Karp search: each follows from the one
    before. To read the lines of each anew took 94 ms for 200 lines of 5,000.
    """
    sums = [zlib.crc32(line.rstrip("\r\n").encode("utf-8", "surrogatepass")) for line in lines]
    digest, leaves = 0, pow(BASE, count, PRIME)
    for n, checksum in enumerate(sums):
        digest = digest * BASE + checksum + 1  # so that a blank line counts
        if n >= count:
            digest -= (sums[n - count] + 1) * leaves
        digest %= PRIME
        if n >= count - 1:
            yield digest


@dataclass(frozen=True)
class Turn:
    """`line`: of its heading."""

    role: str
    text: str
    line: int


@dataclass(frozen=True)
class Conversation:
    """What a chat document says."""

    origin: Origin | None = None
    turns: list[Turn] = field(default_factory=list)

    @classmethod
    def read(cls, markdown: str) -> "Conversation":
        origin: Origin | None = None
        turns: list[Turn] = []
        role, heading, inside, opener = "", 0, list[str](), ""
        lines = lines_of(markdown)
        for number, line in enumerate([*lines, YOU]):
            bare = line.rstrip()
            if number == len(lines) or (not opener and bare in (YOU, US)):
                if role:
                    turns.append(Turn(role, "".join(inside).strip(), heading))
                role, heading = ("user" if bare == YOU else "assistant"), number
                inside = []
                continue
            if found := FENCE.match(bare):
                closes = found[1].startswith(opener) and not found[2]
                opener = found[1] if not opener else "" if closes else opener
            if not role:
                origin = origin or Origin.read(bare)
            elif opener or not line.startswith(NOTE):
                inside.append(line)
        return cls(origin, turns)

    @property
    def can_be_sent(self) -> bool:
        said = [turn for turn in self.turns if turn.text]
        return bool(said) and said[-1].role == "user"

    @property
    def last_heading(self) -> int | None:
        """The line of the last "You"."""
        return next((t.line for t in reversed(self.turns) if t.role == "user"), None)

    def messages(self) -> tuple[list[dict[str, str]], int]:
        """OpenAI's, and how many turns were left out because all are too long."""
        merged: list[Turn] = []
        for turn in (turn for turn in self.turns if turn.text):
            if merged and merged[-1].role == turn.role:
                text = f"{merged[-1].text}\n\n{turn.text}"
                merged[-1] = Turn(turn.role, text, merged[-1].line)
            elif merged or turn.role == "user":
                merged.append(turn)
        return newest([{"role": turn.role, "content": turn.text} for turn in merged])


def newest(messages: list[dict[str, str]]) -> tuple[list[dict[str, str]], int]:
    """The last ones that are not too long together, the first of them the user's."""
    system = messages[:1] if messages and messages[0]["role"] == "system" else []
    rest = messages[len(system) :]
    kept = rest
    while len(kept) > 1 and sum(len(m["content"]) for m in kept) > MAX_CONVERSATION:
        kept = kept[1:]
        while len(kept) > 1 and kept[0]["role"] != "user":
            kept = kept[1:]
    return [*system, *kept], len(rest) - len(kept)


def answer_blocks(markdown: str) -> list[Block]:
    """The code blocks of the answers, in order; lines are the document's."""
    turns = Conversation.read(markdown).turns
    lines = lines_of(markdown)
    found: list[Block] = []
    for turn, following in zip(turns, [*(t.line for t in turns[1:]), len(lines)], strict=True):
        if turn.role == "assistant":
            for block in blocks("".join(lines[turn.line : following])):
                found.append(Block(block.language, block.text, turn.line + block.line))
    return found


def written(title: str, origin: Origin | None, said: str, notes: list[str]) -> str:
    """A new document, up to its first turn."""
    head = f"# {title}\n\n" + (f"{origin}\n\n" if origin else "")
    told = "".join(f"{NOTE}{note}\n\n" for note in notes)
    return f"{head}{told}{YOU}\n\n{said.rstrip()}\n"


def shown(answer: str, ended: bool = False) -> str:
    """An answer's text as it stands in a document: none of its lines is a heading of ours.

    What an answer begins with stays as it is when the answer goes on, so an unfinished line that
    may yet become such a heading is kept back.
    """
    lines = lines_of(answer)
    if lines and not ended and lines[-1] and f"{US}\n{YOU}\n".find(lines[-1]) >= 0:
        lines.pop()
    marked = (f"\\{line}" if line.rstrip() in (YOU, US) else line for line in lines)
    return "".join(marked).lstrip("\r\n")


def create(title: str, text: str) -> Path:
    """A new file with a name of its own; only the user may read it. Raises OSError."""
    chats = folder()
    chats.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = re.sub(r"[^\w]+", "-", title.lower()).strip("-")[:40]
    name = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{words}"
    for number in range(1, 1000):
        path = chats / (f"{name}.md" if number == 1 else f"{name}-{number}.md")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(encoded(text))
        return path
    raise OSError(f"{chats} is full of {name}")


def replace(path: Path, text: str) -> None:
    """Write a file at once: an editor that opens it meanwhile must not see half of it. Raises
    OSError."""
    beside = path.with_suffix(".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(encoded(text))
    beside.replace(path)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
