"""Which pieces of other files help at a cursor: pure choices over an index and open texts.

Definitions of the names in sight come first, then what was edited or visited lately, then what uses
the same names. Nothing that the window already shows, and no more than a budget of characters.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice

from .imports import imported, shared
from .index import Index, family, module_of
from .privacy import mask_secrets
from .records import CHUNK, Record, suffix_of
from .symbols import IDENTIFIER, Definition

ABOVE, BELOW = 40, 12  # lines around the cursor that are in sight
HEAD = 20_000  # characters in which imports are looked for
BODY = 12  # lines of a definition that are shown
MEMBERS = 20  # and of a class, whose members for others are shown by their heads
COMMON = 30  # files that use a name, from which on it says nothing of any of them
REGION = 10  # lines shown on each side of where one has been
AMBIGUOUS = 4  # files that define a name which the text does not import: too many to guess
ALIKE = 0.1  # Jaccard index of two chunks' names, at least
NEARBY = 3  # files whose chunks are compared
KNOWN = 0.5  # of a piece's lines: with so many in the window or in other pieces it says nothing new
TOLD = 5  # characters of a line that tells something
CONSIDERED = 24  # definitions, the nearest names' first
SHARES = (0.6, 0.8, 1.0, 1.0)  # of the budget, that each kind may fill together with those before
CALLED = re.compile(r"\b([^\W\d]\w{2,})\s*\(")
BARE = re.compile(r"(?<![.>:\w])([^\W\d]\w{2,})\s*\(")  # not a method, of who knows what
IMPORTING = re.compile(
    r"^[ \t]*(?:from|import|export|use|using)\b[^;\n({]*(?:[({][^)}]*[)}][^;\n]*)?", re.MULTILINE
)


@dataclass(frozen=True)
class Snippet:
    """Lines of a file of the folder."""

    path: str
    text: str


@dataclass(frozen=True)
class Place:
    """A cursor in a document of a folder. `prefix` and `suffix` are what a request shows of it."""

    path: str
    text: str
    offset: int
    prefix: str
    suffix: str


@dataclass(frozen=True)
class Region:
    """Where in another open document one has been: its path, its text, and a line from 0."""

    path: str
    text: str
    line: int


class Room:
    """The characters that are left, and the lines that are shown already."""

    def __init__(self, characters: int, place: Place):
        self.left = self._whole = characters
        self._seen = set(_telling(place.prefix)) | set(_telling(place.suffix))

    def keep(self, share: float) -> int:
        """What must be left when a kind may fill the budget up to this share."""
        return round(self._whole * (1 - share))

    def take(self, snippet: Snippet, least: int = 0) -> bool:
        """Whether it fits and says something new; then its room is taken."""
        cost = len(snippet.path) + len(snippet.text) + 5  # "# ", and three line ends
        lines = _telling(snippet.text)
        new = [line for line in lines if line not in self._seen]
        if not lines or self.left - cost < least or len(new) <= (1 - KNOWN) * len(lines):
            return False
        self.left -= cost
        self._seen.update(lines)
        return True


def choose(
    index: Index, place: Place, regions: Iterable[Region], tabs: set[str], characters: int
) -> tuple[Snippet, ...]:
    """The most useful last, next to the window: the engine drops the first if all is too much."""
    room = Room(characters, place)
    definitions = list(islice(of_definitions(index, place), CONSIDERED))
    alike = [r for r in regions if r.path in index and suffix_of(r.path) in family(place.path)]
    been = map(_around, alike)
    kinds = (definitions, been, of_chunks(index, place, tabs), definitions)
    taken: list[Snippet] = []
    for share, snippets in zip(SHARES, kinds, strict=True):
        least = room.keep(share)
        for snippet in snippets:
            if room.left <= least:
                break
            if room.take(snippet, least):
                taken.append(snippet)
    return tuple(reversed(taken))


def names_in_sight(text: str, offset: int) -> list[str]:
    """The nearest to the cursor first, each once."""
    above = text[max(0, offset - 100 * ABOVE) : offset].split("\n")[-ABOVE:][::-1]
    below = text[offset : offset + 100 * BELOW].split("\n")[:BELOW]
    found = [
        (distance, IDENTIFIER.findall(line)[::-1])
        for distance, line in (*enumerate(above), *((2 * n, line) for n, line in enumerate(below)))
    ]
    found.sort(key=lambda pair: pair[0])
    return list(dict.fromkeys(name for _, names in found for name in names))


def of_definitions(index: Index, place: Place) -> Iterator[Snippet]:
    """Where the names in sight are defined; what the text imports counts before what is near."""
    head = place.text[:HEAD]
    known = {path: order for order, path in enumerate(_with_packages(index, place, head))}
    mentioned = _mentioned(head)
    sight = place.text[max(0, place.offset - 100 * ABOVE) : place.offset + 100 * BELOW]
    names = names_in_sight(place.text, place.offset)
    distinctive = {name for name in names if _is_distinctive(name)}
    told = mentioned | distinctive | set(CALLED.findall(sight))
    clear = distinctive | set(BARE.findall(sight))
    suffixes = family(place.path)
    later: list[Snippet] = []
    for name in names:
        if name not in told:
            continue
        there = index.defined(name)
        direct = min((path for path in there if path in known), key=known.__getitem__, default=None)
        if direct is not None:
            yield from _defining(index, name, direct)
        elif name not in mentioned and name in clear and 0 < len(there) <= AMBIGUOUS:
            same = [path for path in there if suffix_of(path) in suffixes]
            near = min(same, key=lambda path: (-shared(path, place.path), path), default=None)
            later += _defining(index, name, near) if near else ()
    yield from later


def _mentioned(head: str) -> set[str]:
    """The names in what imports: whose files are known, or outside of the folder."""
    required = [line for line in head.split("\n") if "require(" in line]
    return set(IDENTIFIER.findall("\n".join((*IMPORTING.findall(head), *required))))


def _with_packages(index: Index, place: Place, head: str) -> list[str]:
    """The files that are imported, and what those give on that stand for a package; its own."""
    direct = index.once((place.path, head), lambda: imported(index, place.path, head))
    packages = [one for one in direct if module_of(one) != one.partition(".")[0]]
    further = [two for one in packages for two in _given_on(index, one)]
    return [place.path, *dict.fromkeys((*direct, *further))]


def _given_on(index: Index, path: str) -> list[str]:
    """The files that a file of the folder imports."""
    return index.once(
        ("given on", path, index[path].packed),
        lambda: imported(index, path, index[path].text[:HEAD]),
    )


def _is_distinctive(name: str) -> bool:
    """Whether a word is hardly one of a language, or a variable of everyone's."""
    return "_" in name.strip("_") or any(c.isupper() for c in name) or len(name) >= 10


def _defining(index: Index, name: str, path: str) -> Iterator[Snippet]:
    for definition in index.definitions(name, path)[:2]:
        yield Snippet(path, outline(index[path], definition))


def outline(record: Record, definition: Definition) -> str:
    """A definition's first lines; of a long one with members their heads as well."""
    first, last = definition.first, definition.last
    lines = record.lines
    if last - first < BODY:
        return "\n".join(lines[first : last + 1])
    members = [d for d in record.definitions if first < d.first and d.last <= last]
    if not members:
        return "\n".join(lines[first : first + BODY])
    until = max(definition.head + 1, min(members[0].first, first + BODY))
    shown = [*range(first, until)]
    for member in members:
        inner = member.first > shown[-1] and member.head - member.first < 4
        hidden = member.name.startswith("_") and member.name != "__init__"
        inner = inner and not hidden and not _is_nested(member, members)
        if inner and len(shown) < MEMBERS:
            shown += range(member.first, member.head + 1)
    return "\n".join(lines[n] for n in shown)


def _is_nested(member: Definition, members: list[Definition]) -> bool:
    return any(m.first < member.first and member.last <= m.last for m in members)


def _around(region: Region) -> Snippet:
    lines = region.text.split("\n")
    line = min(region.line, len(lines) - 1)
    shown = lines[max(0, line - REGION) : line + REGION + 1]
    text = "\n".join(one.rstrip("\r") for one in shown).strip("\n")
    return Snippet(region.path, mask_secrets(text))


def of_chunks(index: Index, place: Place, tabs: set[str]) -> Iterator[Snippet]:
    """What uses the same names: of the likeliest files the likest lines."""
    near = names_in_sight(place.text, place.offset)
    wanted, suffixes = frozenset(near), family(place.path)
    weights: defaultdict[str, float] = defaultdict(float)
    for name in near[:80]:
        there = index.using(name)
        if len(there) <= COMMON:
            for path in there:
                weights[path] += 1 / (2 + len(there))
    for path in weights:
        weights[path] *= 1.5 if path in tabs else 1.0
    weights.pop(place.path, None)
    same = (path for path in weights if suffix_of(path) in suffixes)
    alike = nsmallest(NEARBY, same, key=lambda path: (-weights[path], path))
    found = [_likest(index[path], wanted) for path in alike]
    for score, snippet in sorted(found, key=lambda pair: (-pair[0], pair[1].path)):
        if score >= ALIKE:
            yield snippet


def _likest(record: Record, wanted: frozenset[str]) -> tuple[float, Snippet]:
    """The chunk with the highest Jaccard index."""
    known = {place for place, name in enumerate(record.names) if name in wanted}
    scores = []
    for places in record.chunks:
        both = len(known.intersection(places))
        scores.append(both / (len(wanted) + len(places) - both))
    best = max(range(len(scores)), key=scores.__getitem__)
    text = "\n".join(record.lines[best * CHUNK : (best + 1) * CHUNK]).strip("\n")
    return scores[best], Snippet(record.path, text)


def _telling(text: str) -> list[str]:
    lines = (line.strip() for line in text.split("\n"))
    return [line for line in lines if len(line) >= TOLD]
