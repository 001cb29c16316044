"""Ignore files, as git has them, and what is left out without them."""

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
