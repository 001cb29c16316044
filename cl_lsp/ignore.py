"""Which files may be read: `.gitignore`, `.cl-lsp-ignore`, and our own lists.

A file is left out if either kind of file says so; within a kind the deepest folder decides, and the
last pattern, as in git. Folders count up to the repository's root; outside of a repository, up to
the user's home; git's own lists for the repository and the user are the weakest. Rules read the
files once: who learns of a change makes new ones, for which only files that are other than before
are compiled.
"""

import os
from functools import lru_cache
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

from . import git
from .privacy import is_private, is_private_folder

FILES = (".gitignore", ".cl-lsp-ignore")
_DEPENDENCIES = """
    .git .hg .svn .jj node_modules bower_components jspm_packages site-packages __pycache__ .venv
    venv .tox .nox .eggs .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache .gradle .idea .vs
    .next .nuxt .svelte-kit .angular .parcel-cache .turbo .terraform .yarn Pods Carthage DerivedData
    dist build target out obj vendor third_party coverage htmlcov
"""
DEPENDENCIES = frozenset(_DEPENDENCIES.split())
# An environment of Python, and what a tool has marked as its cache.
MARKS = ("pyvenv.cfg", "CACHEDIR.TAG")


class Rules:
    """The rules of one folder. Paths are relative to it, with `/`."""

    def __init__(self, root: Path):
        self._root, self._top = root, top_of(root)
        self._above = "" if root == self._top else root.relative_to(self._top).as_posix() + "/"
        self._specs: dict[tuple[str, str], GitIgnoreSpec | None] = {}
        above, lists = _folders(f"{self._above}x"), git.excludes(self._top)
        files = [self._top / folder / kind for folder in ["", *above][:-1] for kind in FILES]
        # What counts here and lies elsewhere: who watches the folder does not see it change.
        self.elsewhere = {path: git.signature(path) for path in (*lists, *files)}
        self._lists = [_read(path) for path in lists]
        self._hidden = any(self._names(f"{folder}/") for folder in above)

    def ignores(self, path: str) -> bool:
        """Whether a file is left out, or a folder that it is in."""
        folder = path.rpartition("/")[0]
        return bool(folder and self.ignores_folder(folder)) or self.ignores_file(path)

    def ignores_folder(self, path: str) -> bool:
        """Whether a folder is left out, or one that it is in."""
        return any(self.prunes(folder) for folder in (*_folders(path), path))

    def matches(self, path: str) -> bool:
        """Whether an ignore file names a file, or a folder that it is in; our own lists are not
        asked."""
        above = any(self._matches(folder, is_folder=True) for folder in _folders(path))
        return above or self._matches(path, is_folder=False)

    def ignores_file(self, path: str) -> bool:
        """The same of a file in a folder that is not left out."""
        return is_private(path) or self._matches(path, is_folder=False)

    def prunes(self, folder: str) -> bool:
        """Whether a folder is left out, if those that it is in are not."""
        name = folder.rpartition("/")[2]
        return (
            name in DEPENDENCIES
            or is_private_folder(name)
            or any(os.path.lexists(self._root / folder / mark) for mark in MARKS)
            or self._matches(folder, is_folder=True)
        )

    def _matches(self, path: str, is_folder: bool) -> bool:
        slash = "/" if is_folder else ""
        return self._hidden or self._names(self._above + path + slash)

    def _names(self, path: str) -> bool:
        """Of a path below the top, a folder's with `/` at its end."""
        return any(self._decides(kind, path) for kind in FILES)

    def _decides(self, kind: str, path: str) -> bool:
        folder = path.rstrip("/")
        while folder:
            folder = folder.rpartition("/")[0]
            spec = self._spec(folder, kind)
            inside = path[len(folder) + 1 :] if folder else path
            if spec is not None and (said := spec.check_file(inside).include) is not None:
                return said
        lists = self._lists if kind == ".gitignore" else []
        said = (spec.check_file(path).include for spec in lists if spec is not None)
        return next((one for one in said if one is not None), False)

    def _spec(self, folder: str, kind: str) -> GitIgnoreSpec | None:
        if (folder, kind) not in self._specs:
            self._specs[folder, kind] = _read(self._top / folder / kind)
        return self._specs[folder, kind]


def _folders(path: str) -> list[str]:
    """The folders that a path is in, the outermost first."""
    return [str(folder) for folder in reversed(PurePosixPath(path).parents) if str(folder) != "."]


def top_of(folder: Path) -> Path:
    """Where a folder's project begins: the root of its repository, or else the user's home, or the
    disk."""
    home = Path(os.path.expanduser("~"))
    last = home if home in (folder, *folder.parents) else Path(folder.anchor)
    return git.repository_of(folder) or last


def _read(path: Path) -> GitIgnoreSpec | None:
    """A file's patterns; a bad one is left out. None: there is none, or nothing in it."""
    signature = git.signature(path)
    return _compiled(path, signature) if signature else None


@lru_cache(1000)
def _compiled(path: Path, _signature: git.Signature) -> GitIgnoreSpec | None:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    good = [line for line in lines if line.strip() and _is_pattern(line)]
    return GitIgnoreSpec.from_lines(good) if good else None


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
