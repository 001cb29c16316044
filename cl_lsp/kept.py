"""What was found in files, kept in the user's cache: the next start need not parse them again.

By a digest of a file's text. Neither texts nor paths are kept: names, and the lines of definitions.
"""

import contextlib
import hashlib
import importlib.metadata
import marshal
import os
import sqlite3
import sys
import time
import zlib
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path

from . import __version__, records, symbols
from .records import Found
from .symbols import GRAMMARS

BATCH = 64  # files, until they are written: others write, too
WAIT_S = 0.5  # for those
DAYS, ROWS = 30, 20_000  # without use, and in all, that are kept
DAY_S = 86_400
TABLE = "create table if not exists found (key blob primary key, day integer, packed blob)"


class Kept:
    """One process's connection. Whatever goes wrong with it, files are read as without it."""

    def __init__(self, folder: Path | None = None):
        self._new: dict[bytes, bytes] = {}
        self._today = int(time.time() / DAY_S)
        self._file = (folder or user_cache_path("cl-lsp") / "index") / f"{_version()}.db"
        try:
            self._db = self._opened()
        except (OSError, sqlite3.Error):
            self._db = None

    def find(self, text: str, suffix: str) -> Found:
        """As `records.find`."""
        if self._db is None:
            return records.find(text, suffix)
        key = _key(text, suffix)
        with contextlib.suppress(sqlite3.Error, zlib.error, ValueError, EOFError, TypeError):
            asked = self._db.execute("select day, packed from found where key = ?", (key,))
            if (row := asked.fetchone()) is not None:
                defined, used, chunked = marshal.loads(zlib.decompress(row[1]))
                if row[0] < self._today:
                    self._keep(key, row[1])
                return defined, used, chunked
        found = records.find(text, suffix)
        self._keep(key, zlib.compress(marshal.dumps(found), 1))
        return found

    def close(self) -> None:
        """Also forgets what has not been used for long."""
        self._write()
        if self._db is None:
            return
        with contextlib.suppress(OSError, sqlite3.Error):
            with self._db:
                self._db.execute("delete from found where day < ?", (self._today - DAYS,))
                oldest = "select key from found order by day desc limit -1 offset ?"
                self._db.execute(f"delete from found where key in ({oldest})", (ROWS,))
            for other in self._file.parent.glob("*.db"):  # of other versions
                if other.stat().st_mtime < time.time() - DAYS * DAY_S:
                    other.unlink()
        self._db.close()
        self._db = None

    def _opened(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.parent.chmod(0o700)
        os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            return self._connected()
        except sqlite3.OperationalError:  # another one writes, for too long
            raise
        except sqlite3.DatabaseError:  # it is broken
            self._file.unlink()
            os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._file, timeout=WAIT_S)
        db.execute("pragma synchronous = off")  # what is lost is found again
        db.execute(TABLE)
        return db

    def _keep(self, key: bytes, packed: bytes) -> None:
        self._new[key] = packed
        if len(self._new) == BATCH:
            self._write()

    def _write(self) -> None:
        if self._db is not None and self._new:
            rows = [(key, self._today, packed) for key, packed in self._new.items()]
            with contextlib.suppress(sqlite3.Error), self._db:
                self._db.executemany("insert or replace into found values (?, ?, ?)", rows)
        self._new.clear()


def _version() -> str:
    """Of all that decides what is found."""
    code = [Path(str(module.__file__)).read_bytes() for module in (records, symbols)]
    digest = hashlib.blake2b(b"".join(code), digest_size=4).hexdigest()
    return f"{__version__}-{sys.implementation.cache_tag}-{digest}"


def _key(text: str, suffix: str) -> bytes:
    seen = f"{suffix} {_grammar(suffix)}\n{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(seen, digest_size=16).digest()


@cache
def _grammar(suffix: str) -> str:
    if suffix not in GRAMMARS:
        return ""
    try:
        return importlib.metadata.version(GRAMMARS[suffix].module.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return ""
