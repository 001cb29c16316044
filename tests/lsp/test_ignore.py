"""Ignore files, as git has them, and what is left out without them."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cl_lsp.ignore import Rules


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_nested_files_and_negation(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".gitignore": "*.gen.py\n/top.py\nlogs/\n!keep.gen.py\n[\n",
            "sub/.gitignore": "!a.gen.py\nsecond.py\n",
            ".cl-lsp-ignore": "private/**\n*.sql\n",
        },
    )
    rules = Rules(tmp_path)
    ignored = ["a.gen.py", "top.py", "x/logs/a.py", "sub/second.py", "private/a.py", "b/c.sql"]
    kept = ["keep.gen.py", "x/top.py", "sub/a.gen.py", "second.py", "logs.py", "a.py"]
    assert [path for path in (*ignored, *kept) if rules.ignores(path)] == ignored
    assert [path for path in (*ignored, *kept) if rules.matches(path)] == ignored


def test_one_kind_does_not_undo_the_other(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "a.py\n!b.py\n", ".cl-lsp-ignore": "b.py\n!a.py\n"})
    rules = Rules(tmp_path)
    assert rules.ignores("a.py") and rules.ignores("b.py")


def test_folders_of_dependencies_and_private_ones(tmp_path: Path) -> None:
    write(tmp_path, {"env/pyvenv.cfg": "", "cachy/CACHEDIR.TAG": ""})
    rules = Rules(tmp_path)
    left_out = [
        "node_modules",
        "a/.git",
        "x/__pycache__",
        "env",
        "cachy",
        ".ssh",
        "secrets",
        "dist",
    ]
    assert all(rules.prunes(folder) for folder in left_out)
    assert all(rules.ignores(f"{folder}/b/c.py") for folder in left_out)
    assert not rules.prunes("src") and not rules.ignores("src/dist.py")
    assert not rules.matches("node_modules/a.py")  # no ignore file says so


def test_a_folder_inside_a_repository(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".git/info/exclude": "mine.py\n",
            ".gitignore": "/pkg/app/no.py\n*.tmp.py\n",
            "pkg/.gitignore": "!yes.tmp.py\n",
        },
    )
    (tmp_path / "pkg" / "app").mkdir()
    rules = Rules(tmp_path / "pkg" / "app")
    paths = ["no.py", "a.tmp.py", "yes.tmp.py", "sub/mine.py", "b.py"]
    assert [path for path in paths if rules.ignores(path)] == ["no.py", "a.tmp.py", "sub/mine.py"]


def test_what_counts_above_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "home/repo/.cl-lsp-ignore": "mine.py\n/data/\n!/data/kept.py\n",
        "home/repo/.git/config": "",
        "home/loose/a/.gitignore": "deep.py\n",
        "home/.cl-lsp-ignore": "*.sql\n",
        ".gitignore": "*\n",
    }
    write(tmp_path, files)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def named(folder: str, *names: str) -> list[str]:
        return [name for name in names if Rules(tmp_path / "home" / folder).matches(name)]

    assert named("repo/app", "mine.py", "x/mine.py", "a.sql", "b.py") == ["mine.py", "x/mine.py"]
    assert named("repo/data", "a.py", "kept.py") == ["a.py", "kept.py"]  # as git: it is left out
    assert named("loose/a/b", "deep.py", "a.sql", "b.py") == ["deep.py", "a.sql"]
    assert named("..", "elsewhere.py") == ["elsewhere.py"]


def run_git(*arguments: str | Path) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "protocol.file.allow=always"]
    command = ["git", *who, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def ignored_in(root: Path, *names: str) -> list[str]:
    """By our rules, which are those that git has."""
    rules = Rules(root)
    found = [name for name in names if rules.ignores(name)]
    assert found == run_git("-C", root, "check-ignore", "--no-index", *names).split()
    return found


def test_what_the_user_never_wants_in_a_repository(home: Path, tmp_path: Path) -> None:
    run_git("init", "-q", tmp_path)
    names = "mine.py", "sub/mine.py", "kept.mine.py", "own.py", "other.py"
    write(home / "c" / "git", {"ignore": "mine.py\n*.mine.py\n"})
    assert ignored_in(tmp_path, *names) == ["mine.py", "sub/mine.py", "kept.mine.py"]
    write(tmp_path, {".git/info/exclude": "own.py\n!sub/mine.py\n", ".gitignore": "!kept.*\n"})
    assert ignored_in(tmp_path, *names) == ["mine.py", "own.py"]  # a nearer list is the stronger
    # In a file that another one includes, which only git finds.
    write(home / "h", {".gitconfig": "[include]\n\tpath = more\n", "lists/all": "other.py\n"})
    write(home / "h", {"more": "[core]\n\texcludesFile = ~/lists/all\n"})
    assert ignored_in(tmp_path, *names) == ["own.py", "other.py"]
    write(tmp_path, {".git/config": "[core]\n\texcludesFile =\n"})
    assert ignored_in(tmp_path, *names) == ["own.py"]


def test_where_git_is_a_file(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main, tree, sub = (tmp_path / name for name in ("main", "tree", "main/sub"))
    run_git("init", "-q", main)
    run_git("-C", main, "commit", "-q", "--allow-empty", "-m", "a")
    run_git("-C", main, "worktree", "add", "-q", tree)
    run_git("-C", main, "submodule", "add", "-q", main, "sub")
    assert (tree / ".git").is_file() and (sub / ".git").is_file()
    write(main, {".git/info/exclude": "a.py\n", ".git/modules/sub/info/exclude": "b.py\n"})
    monkeypatch.setenv("GIT_DIR", str(tmp_path))  # as if git had started the editor, for another
    names = "a.py", "b.py", "c.py"
    found = [[name for name in names if Rules(root).ignores(name)] for root in (main, tree, sub)]
    monkeypatch.delenv("GIT_DIR")
    assert found == [ignored_in(root, *names) for root in (main, tree, sub)]
    assert found == [["a.py"], ["a.py"], ["b.py"]]
    write(tree, {".git": "gitdir: gone\n"})
    assert not Rules(tree).ignores("a.py")
    write(tree, {".git": "\0"})
    assert not Rules(tree).ignores("a.py")


def test_git_is_asked_once(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple]()
    run = subprocess.run

    def counted(*args, **kwargs) -> subprocess.CompletedProcess:
        asked.append(args)
        return run(*args, **kwargs)

    monkeypatch.setattr(subprocess, "run", counted)
    write(tmp_path, {".git/config": "", "sub/a.py": ""})
    for root in (tmp_path, tmp_path / "sub", tmp_path):
        Rules(root).ignores("a.py")
    assert len(asked) == 1
    write(tmp_path, {".git/config": "[core]\n"})
    Rules(tmp_path)
    assert len(asked) == 2
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no git, its usual places count
    os.utime(tmp_path / ".git" / "config", (0, 0))
    write(home / "c" / "git", {"ignore": "a.py\n"})
    assert Rules(tmp_path).ignores("a.py") and len(asked) == 3


CHOICES = "*.py a.py /a.py x/ /x/ !a.py !x/ x/*.py **/b.py !x/b.py y/** #c"
PATTERNS = st.lists(st.sampled_from(CHOICES.split(" ")), max_size=4)
PATHS = ["a.py", "b.py", "x/a.py", "x/b.py", "y/x/a.py", "y/b.py"]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATTERNS, PATTERNS)
def test_as_git(tmp_path: Path, top: list[str], inner: list[str]) -> None:
    write(tmp_path, dict.fromkeys(PATHS, ""))
    if not (tmp_path / ".git").exists():
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
    write(tmp_path, {".gitignore": "\n".join(top), "x/.gitignore": "\n".join(inner)})
    command = ["git", "-C", str(tmp_path), "check-ignore", "--no-index", *PATHS]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    rules = Rules(tmp_path)
    assert [path for path in PATHS if rules.ignores(path)] == said.split()


@pytest.mark.parametrize("text", ["\xff\xfe\0", "***[[[\n\\\n", "\n\n"])
def test_an_odd_ignore_file_ignores_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / ".gitignore").write_text(text, encoding="latin-1")
    assert not Rules(tmp_path).ignores("a.py")
