"""The frames of LSP's base protocol in a stream of bytes; whatever is none is skipped, and said.

A header inside a body proves that an earlier one lied (JSON has no bare line end in a text): what
came before it is dropped, and reading goes on there.
"""

import logging
import re

log = logging.getLogger(__name__)
HEADER = re.compile(rb"Content-Length:[ \t]*(\d{1,18})[ \t]*\r?\n", re.IGNORECASE)
OTHER = re.compile(rb"[!-9;-~]{1,40}:[^\r\n]*\r?\n")  # such as Content-Type
BLANK = re.compile(rb"\r?\n")
MOST = 512 << 20  # bytes of a body: four times a file of 100 MB, whose text may be escaped
HEAD = 1 << 12  # bytes in which a header's lines must end


class Frames:
    """Bytes go in, bodies come out."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._begins = 0  # of the body that is under way
        self._length: int | None = None  # bytes of it; None: a header is awaited
        self._searched = 0  # up to where it holds no header

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def next(self) -> bytes | None:
        """A body that is complete, if there is one."""
        while self._length is not None or self._head():
            assert self._length is not None
            ends = self._begins + self._length
            if len(self._bytes) >= ends:
                body = bytes(self._bytes[self._begins : ends])
                del self._bytes[:ends]
                self._length = None
                return body
            if not self._lied():
                return None
        return None

    def reject(self, body: bytes) -> None:
        """It was no message: if it has swallowed a header, reading goes on there."""
        if (found := HEADER.search(body)) is not None:
            self._bytes[:0] = body[found.start() :]
            log.warning("ignored: %d bytes before a header that came too early", found.start())

    def _head(self) -> bool:
        """Find the next header; whether it is complete."""
        while (found := HEADER.search(self._bytes)) is not None:
            if found.start():
                self._skip(found.start(), "bytes that are no header")
                continue
            length, at = int(found[1]), found.end()
            while (other := OTHER.match(self._bytes, at)) is not None:
                if (again := HEADER.fullmatch(other[0])) is not None:
                    length = int(again[1])
                at = other.end()
            if (blank := BLANK.match(self._bytes, at)) is not None and length <= MOST:
                self._begins, self._length, self._searched = blank.end(), length, blank.end()
                return True
            if length > MOST:
                self._skip(at, f"bytes of a header that promises {length:,}")
            elif len(self._bytes) - at < HEAD and b"\n" not in self._bytes[at:].rstrip(b"\r\n"):
                return False  # the rest of its line is still to come
            else:
                self._skip(at, "bytes of a header that does not end")
        if len(self._bytes) > HEAD:  # of which the end may be the beginning of a header
            self._skip(len(self._bytes) - 64, "bytes that are no header")
        return False

    def _lied(self) -> bool:
        """Whether the body that is awaited has a header in it: then that is the next one."""
        start = max(self._begins, self._searched - 64)
        found = HEADER.search(self._bytes, start)
        self._searched = len(self._bytes)
        if found is None:
            return False
        self._skip(found.start(), "bytes of a body that is shorter than its header says")
        self._length = None
        return True

    def _skip(self, count: int, what: str) -> None:
        log.warning("ignored: %d %s", count, what)
        del self._bytes[:count]
