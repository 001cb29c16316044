"""Where someone types: holes in held-out files, and what once stood there. Deterministic.

Of one file: a function's body, the arguments of a call, the end of a line. Across files: the rest
of a line that uses what another file of the package defines.
"""

import random
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.replay.sheet import Sheet

LONGEST = 120  # characters of a hole, about
DEFINED = re.compile(r"^[ \t]*(?:async )?(?:def|class|function) ([a-zA-Z]\w{6,})", re.MULTILINE)
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
    """The rests of lines that use what another file of the package defines, `count` at most."""
    rng = random.Random(seed)
    found: list[Hole] = []
    for path, text in sorted(files.items()):
        own = set(DEFINED.findall(text))
        others = {
            n for p in files if package_of(p) == package_of(path) for n in DEFINED.findall(files[p])
        }
        for name in sorted(others - own):
            uses = list(re.finditer(rf"^(?!.*\bimport\b)[^\n#'\"]*\b{name}(?=[(:.])", text, re.M))
            for use in uses[:2]:
                start = use.end() - len(name) + 2
                found.append(Hole(path, "across", start, text.index("\n", start)))
    return sorted(rng.sample(found, min(count, len(found))), key=lambda h: (h.path, h.start))


def package_of(path: str) -> str:
    return path.partition("/")[0]


def read_packages(folder: Path) -> dict[str, str]:
    """The sources of whole packages, each a folder of it; `held_out_files` has parts of some."""
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".js"))
    texts = {path.relative_to(folder).as_posix(): path.read_text() for path in paths}
    return {path: text for path, text in texts.items() if 500 <= len(text) <= 120_000}
