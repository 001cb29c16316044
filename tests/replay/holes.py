"""Where someone types: holes in held-out files, and what once stood there. Deterministic.

Of one file: a function's body, the arguments of a call, the end of a line. Across files: a call or
a subclass of what the file imports from another one of its package.
"""

import random
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.replay.sheet import Sheet

LONGEST = 120  # characters of a hole, about
IMPORT = re.compile(r"^from \.(\w+) import (?:\(([^)]*)\)|([^\n(]*))", re.MULTILINE)
DEFINITION = re.compile(r"^[ \t]*(?:async )?(?:def|function|class) [^\n]*[:{]\n", re.MULTILINE)
CALL = re.compile(r"[\w.]+\((?=[^()\n]{4,60}\))")


@dataclass(frozen=True)
class Hole:
    path: str
    kind: str
    start: int
    end: int

    def sheet(self, text: str) -> Sheet:
        return Sheet(text[: self.start], text[self.start : self.end], text[self.end :])

    @property
    def language(self) -> str:
        return {".py": "python", ".js": "javascript"}[PurePosixPath(self.path).suffix]


def holes_of(path: str, text: str, rng: random.Random) -> list[Hole]:
    """One of each kind, where the file has a place for it."""
    bodies = [found.end() - 1 for found in DEFINITION.finditer(text)]
    calls = [found.end() for found in CALL.finditer(text)]
    lines = [found.end() for found in re.finditer(r"\n[ \t]+\w{3}(?=[^\n]{12,80}\n)", text)]
    chosen: list[Hole] = []
    for kind, starts in (("body", bodies), ("arguments", calls), ("line", lines)):
        if starts:
            start = rng.choice(starts)
            chosen.append(Hole(path, kind, start, _end(text, kind, start)))
    return chosen


def _end(text: str, kind: str, start: int) -> int:
    if kind == "arguments":
        return text.index(")", start)
    if kind == "line":
        return text.index("\n", start)
    # Whole lines, as many as there is room for; at least the first two.
    end = text.find("\n", text.find("\n", start + 1) + 1)
    while 0 <= (further := text.find("\n", end + 1)) <= start + LONGEST:
        end = further
    return end if end > start else len(text)


def single(files: dict[str, str], count: int, seed: int = 0) -> list[Hole]:
    """Holes of so many files."""
    rng = random.Random(seed)
    known = [path for path in sorted(files) if path.endswith((".py", ".js"))]
    paths = rng.sample(known, min(count, len(known)))
    return [hole for path in sorted(paths) for hole in holes_of(path, files[path], rng)]


def across(files: dict[str, str], count: int, seed: int = 0) -> list[Hole]:
    """Holes that a definition in another file of the package would help with, `count` at most."""
    rng = random.Random(seed)
    found: list[Hole] = []
    for path, text in sorted(files.items()):
        for name in _imported(path, files):
            uses = re.compile(rf"(?<=[\s(=]){name}(?=\([^()\n]{{3,80}}\))|(?<=\({name})(?=\):\n)")
            for use in list(uses.finditer(text))[:2]:
                if use[0]:
                    found.append(Hole(path, "across", use.start() + 2, text.index("\n", use.end())))
                else:  # the first lines of a subclass
                    start = use.end() + 2
                    found.append(Hole(path, "across", start, _end(text, "body", start)))
    return sorted(rng.sample(found, min(count, len(found))), key=lambda h: (h.path, h.start))


def _imported(path: str, files: dict[str, str]) -> list[str]:
    """Names that a file has from others of its package that are here, too."""
    folder, names = PurePosixPath(path).parent, list[str]()
    for module, several, one in IMPORT.findall(files[path]):
        if (other := files.get(f"{folder / module}.py")) is not None:
            listed = re.findall(r"\w+", re.sub(r"\w+ as ", "", several or one))
            names += [n for n in listed if re.search(rf"^(def|class) {n}\b", other, re.MULTILINE)]
    return sorted(set(names))
