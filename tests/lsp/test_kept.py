"""What is kept between two starts: found again without parsing, and no more than it may hold."""

import os
import sqlite3
import time
import zlib
from pathlib import Path

import pytest

from cl_lsp import records
from cl_lsp.kept import DAYS, ROWS, Kept
from cl_lsp.records import make_record
from cl_lsp.symbols import definitions

TEXT = 'def make_gadget(size):\n    password = "hunter2"\n    return size  # 271828 == 1.5\n'


def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The suffixes of all texts that are parsed from now on."""
    suffixes = []

    def noted(text: str, suffix: str) -> object:
        suffixes.append(suffix)
        return definitions(text, suffix)

    monkeypatch.setattr(records, "definitions", noted)
    return suffixes


def database(folder: Path) -> Path:
    [file] = folder.glob("*.db")
    return file


def test_the_next_start_parses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suffixes = parsed(monkeypatch)
    for _ in range(2):
        kept = Kept(tmp_path)
        assert make_record("a.py", TEXT, kept.find) == make_record("a.py", TEXT)
        assert make_record("a.ts", TEXT, kept.find) == make_record("a.ts", TEXT)
        kept.close()
    assert suffixes == ["py", "py", "ts", "ts", "py", "ts"]  # in between those of no Kept


def test_texts_paths_and_secrets_are_not_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "index")
    make_record("some/where.py", TEXT, kept.find)
    kept.close()
    file = database(tmp_path / "index")
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    [(packed,)] = sqlite3.connect(file).execute("select packed from found").fetchall()
    held = file.read_bytes() + zlib.decompress(packed)
    assert b"make_gadget" in held
    for never in (b"hunter2", b"271828 ==", b"where", b"(size"):
        assert never not in held


def test_what_is_not_used_is_forgotten(tmp_path: Path) -> None:
    old = tmp_path / "0.0.1.db"
    old.touch()
    long_ago = time.time() - (DAYS + 1) * 86_400
    for name, used in (("x = 1\n", long_ago), ("y = 1\n", None)):
        kept = Kept(tmp_path)
        kept._today = int((used or time.time()) / 86_400)
        kept.find(name, "py")
        kept._write()
    old.touch()
    os.utime(old, (long_ago, long_ago))
    kept.close()
    assert database(tmp_path) != old
    days = sqlite3.connect(database(tmp_path)).execute("select day from found").fetchall()
    assert days == [(int(time.time() / 86_400),)]


def test_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROWS >= 10_000  # a folder's
    monkeypatch.setattr("cl_lsp.kept.ROWS", 1)
    kept = Kept(tmp_path)
    kept._today -= 1
    kept.find("x = 1\n", "py")
    kept._write()
    kept._today += 1
    kept.find("y = 1\n", "py")
    kept.close()
    suffixes = parsed(monkeypatch)
    kept = Kept(tmp_path)
    kept.find("y = 1\n", "py")
    assert suffixes == []
    kept.find("x = 1\n", "py")
    assert suffixes == ["py"]


@pytest.mark.parametrize("broken", ["file", "rows", "folder", "held"])
def test_a_broken_one_costs_nothing_but_time(tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "index"
    kept = Kept(folder)
    kept.find(TEXT, "py")
    kept.close()
    file = database(folder)
    db = sqlite3.connect(file)
    if broken == "file":
        file.write_bytes(b"no database" * 1000)
    elif broken == "rows":
        with db:
            db.execute("update found set packed = x'00'")
    elif broken == "folder":
        folder = file / "below"
    else:
        db.execute("begin exclusive")
    kept = Kept(folder)
    assert kept.find(TEXT, "py") == records.find(TEXT, "py")
    kept.close()
    if broken == "file":  # it is a new one
        assert len(sqlite3.connect(file).execute("select key from found").fetchall()) == 1
