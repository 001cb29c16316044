"""Which files of the workspace a text imports: Python, TypeScript and JavaScript, C, Java.

Answered by the index alone: no file is opened, and what it does not hold is not there.
"""

import json
import posixpath
import re
from functools import lru_cache
from typing import Any

from .index import Index, family

PYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>\.*[\w.]*)[ \t]+import[ \t]+(?P<names>\([^)]*\)?|[^\n#]+)"
    r"|import[ \t]+(?P<modules>[\w., \t]+))",
    re.MULTILINE,
)
SCRIPT = re.compile(
    r"""(?:\bfrom|\bimport|\brequire\s*\(|\bimport\s*\()\s*(["'])(?P<module>[^"'\n]+)\1"""
)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*(?:include|import)[ \t]*["<]([^">\n]+)[">]', re.MULTILINE)
SETTINGS = ("tsconfig.json", "jsconfig.json")
JAVA = re.compile(r"^[ \t]*import[ \t]+(?:static[ \t]+)?([\w.]+)", re.MULTILINE)
SUFFIXES = ("", ".ts", ".tsx", ".d.ts", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs", ".vue")
WRITTEN = re.compile(r"\.([mc]?)js(x?)$")  # TypeScript names what it will be compiled to
COMMENTS = re.compile(r'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
COMMAS = re.compile(r'("(?:\\.|[^"\\\n])*")|,(?=\s*[}\]])')
MOST = 40  # files, of a text that imports the world
DEEPEST = 5  # `extends` of a tsconfig


def imported(index: Index, path: str, text: str) -> list[str]:
    """The files, in the order of the text; `path` is the text's own."""
    suffixes = family(path)
    if "py" in suffixes:
        found = _python(index, path, text)
    elif "ts" in suffixes:
        found = _script(index, path, text)
    elif "cpp" in suffixes:
        found = [one for name in INCLUDE.findall(text) for one in _included(index, path, name)]
    elif "java" in suffixes:
        named = [name.split(".") for name in JAVA.findall(text)]
        found = [one for parts in named for one in _nearest(index.module(*parts), path)]
    else:
        found = []
    return list(dict.fromkeys(one for one in found if one != path))[:MOST]


def _python(index: Index, path: str, text: str) -> list[str]:
    found: list[str] = []
    for match in PYTHON.finditer(text):
        for module in (match["modules"] or "").split(","):
            parts = module.split(" as ")[0].strip().split(".")
            found += _absolute(index, path, parts) if parts[0] else []
        if (base := match["base"]) is None:
            continue
        name = base.lstrip(".")
        dots, parts = len(base) - len(name), name.split(".") if name else []
        names = re.findall(r"(\w+)(?:\s+as\s+\w+)?", match["names"])
        for one in names:  # a name may be a module of the package
            if index.module(one):
                found += _of_python(index, path, dots, [*parts, one])
        found += _of_python(index, path, dots, parts)
    return found


def _of_python(index: Index, path: str, dots: int, parts: list[str]) -> list[str]:
    if not dots:
        return _absolute(index, path, parts)
    folder = posixpath.dirname(path)
    for _ in range(dots - 1):
        folder = posixpath.dirname(folder)
    module = posixpath.join(folder, *parts)
    return _first(index, [f"{module}{end}" for end in (".py", ".pyi", "/__init__.py")])


def _absolute(index: Index, path: str, parts: list[str]) -> list[str]:
    """A module by its whole name, below any folder: the one nearest to who imports it."""
    found = [one for one in index.module(*parts) if one.endswith((".py", ".pyi"))] if parts else []
    return _nearest(found, path)


def _script(index: Index, path: str, text: str) -> list[str]:
    folder = posixpath.dirname(path)
    found: list[str] = []
    for match in SCRIPT.finditer(text):
        module = match["module"]
        if module.startswith("."):
            found += _of_script(index, posixpath.normpath(posixpath.join(folder, module)))
        else:
            mapped = (_of_script(index, one) for one in _mapped(index, folder, module))
            found += next((there for there in mapped if there), [])
    return found


def _of_script(index: Index, base: str) -> list[str]:
    named = [base + end for end in SUFFIXES]
    if WRITTEN.search(base):
        named += [WRITTEN.sub(r".\1ts\2", base), WRITTEN.sub(".tsx", base)]
    within = [f"{base}/index{end}" for end in SUFFIXES[1:]]
    return _first(index, [posixpath.normpath(one) for one in (*named, *within)])


def _mapped(index: Index, folder: str, module: str) -> list[str]:
    """Where a bare name may be, by `paths` and `baseUrl` of the nearest tsconfig or jsconfig."""
    while True:
        for name in SETTINGS:
            if (config := posixpath.join(folder, name)) in index:
                base, paths = _settings(index, config)
                bare = [posixpath.join(base, module)] if base else []
                return [*_by_paths(module, paths), *bare]
        if not folder:
            return []
        folder = posixpath.dirname(folder)


def _by_paths(module: str, paths: dict[str, list[str]]) -> list[str]:
    # As TypeScript: the pattern with the longest text before its star.
    for pattern in sorted(paths, key=lambda p: (-len(p.partition("*")[0]), p)):
        head, star, tail = pattern.partition("*")
        if module == pattern or (
            star
            and module.startswith(head)
            and module.endswith(tail)
            and len(module) >= len(head) + len(tail)
        ):
            inner = module[len(head) : len(module) - len(tail)]
            return [target.replace("*", inner, 1) for target in paths[pattern]]
    return []


def _settings(index: Index, config: str, depth: int = 0) -> tuple[str, dict[str, list[str]]]:
    """`baseUrl`, or nothing, and `paths`, both from the root; also what it `extends`."""
    options = _options(index[config].text)
    folder = posixpath.dirname(config)
    base, paths = "", {}
    parents = options.get("extends")
    for parent in [parents] if isinstance(parents, str) else parents or []:
        if isinstance(parent, str) and parent.startswith(".") and depth < DEEPEST:
            named = posixpath.normpath(posixpath.join(folder, parent))
            for known in _first(index, [named, f"{named}.json", f"{named}/tsconfig.json"]):
                base, paths = _settings(index, known, depth + 1)
    own = options.get("compilerOptions")
    own = own if isinstance(own, dict) else {}
    if isinstance(own.get("baseUrl"), str):
        base = posixpath.normpath(posixpath.join(folder, own["baseUrl"]))
    if isinstance(own.get("paths"), dict):
        at = base or folder
        paths = {
            pattern: [posixpath.join(at, one) for one in targets if isinstance(one, str)]
            for pattern, targets in own["paths"].items()
            if isinstance(targets, list)
        }
    return base, paths


@lru_cache(32)
def _options(text: str) -> dict[str, Any]:
    """JSON with comments and commas at the end, as TypeScript reads it."""
    plain = COMMENTS.sub(lambda m: m[1] or "", text)
    try:
        options = json.loads(COMMAS.sub(lambda m: m[1] or "", plain))
    except ValueError:
        return {}
    return options if isinstance(options, dict) else {}


def _included(index: Index, path: str, name: str) -> list[str]:
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
    if beside in index:
        return [beside]
    parts = posixpath.splitext(posixpath.normpath(name))[0].split("/")
    ends = [one for one in index.module(*parts) if f"/{one}".endswith(f"/{name}")]
    return _nearest(ends, path)


def _first(index: Index, paths: list[str]) -> list[str]:
    return next(([path] for path in paths if path in index), [])


def _nearest(paths: list[str], path: str) -> list[str]:
    """The one that shares most folders with `path`; of several the shortest."""
    return [min(paths, key=lambda one: (-shared(one, path), len(one), one))] if paths else []


def shared(one: str, other: str) -> int:
    """How many folders two paths have in common."""
    pairs = zip(one.split("/")[:-1], other.split("/")[:-1], strict=False)
    count = 0
    for a, b in pairs:
        if a != b:
            break
        count += 1
    return count
