"""What git knows of a folder: where its repository begins, and which ignore files count there that
lie elsewhere.
"""

import contextlib
import os
import subprocess
from functools import lru_cache
from pathlib import Path

Signature = tuple[int, ...]  # of a file; another one: it has changed
WAIT_S = 2.0
# An editor that git started has these; they are of another repository.
LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR")


def repository_of(folder: Path) -> Path | None:
    """The root of the repository that a folder is in: of a worktree or a submodule its own."""
    return next((f for f in (folder, *folder.parents) if os.path.lexists(f / ".git")), None)


def excludes(top: Path) -> list[Path]:
    """The ignore files that are weaker than those in folders, the stronger first: the repository's
    own that it does not share, and the user's. Whether they exist is not looked at."""
    home = Path(os.path.expanduser("~"))
    users = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    shared = _shared(top / ".git")
    # Only git knows all places of its settings; it takes 4 ms, so these say when to ask again.
    settings = [Path("/etc/gitconfig"), users / "config", home / ".gitconfig"]
    settings += [shared / "config"] if shared else []
    told = _excludes_file(top, tuple(map(signature, settings)), tuple(settings))
    found = [shared / "info" / "exclude"] if shared else []
    if told != "":  # which is no file
        found.append(users / "ignore" if told is None else top / told)
    return found


def signature(path: Path) -> Signature | None:
    """None if there is no such file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _shared(dot_git: Path) -> Path | None:
    """What all worktrees of a repository have in common. `.git` is a file in a worktree, and in a
    submodule."""
    with contextlib.suppress(OSError, ValueError):
        if dot_git.is_dir():
            return dot_git
        folder = dot_git.parent / dot_git.read_text().partition("gitdir:")[2].strip()
        with contextlib.suppress(FileNotFoundError):
            folder /= (folder / "commondir").read_text().strip()
        return folder
    return None


@lru_cache(64)
def _excludes_file(
    top: Path, _seen: tuple[Signature | None, ...], _settings: tuple[Path, ...]
) -> str | None:
    """What the setting says; None: nothing, or there is no git."""
    command = ["git", "config", "--type=path", "--get", "core.excludesFile"]
    env = {name: value for name, value in os.environ.items() if name not in LOCAL}
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        asked = subprocess.run(command, cwd=top, env=env, capture_output=True, timeout=WAIT_S)
        return os.fsdecode(asked.stdout).removesuffix("\n") if asked.returncode == 0 else None
    return None
