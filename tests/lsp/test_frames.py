"""The frames of the base protocol: cut anywhere, and wrong in every way."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_lsp.frames import HEAD, Frames

A, B = b'{"a": 1}', b'{"b": [2, "\xc3\xa9"]}'


def framed(body: bytes, length: int | None = None) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body) if length is None else length, body)


def bodies(*pieces: bytes) -> list[bytes]:
    """What comes out, as stdio asks for it: what is no JSON is given back."""
    frames, found = Frames(), list[bytes]()
    for piece in pieces:
        frames.feed(piece)
        while (body := frames.next()) is not None:
            try:
                json.loads(body)
            except ValueError:
                frames.reject(body)
            else:
                found.append(body)
    return found


@given(st.lists(st.sampled_from([A, B, b"[]"]), max_size=5), st.integers(1, 40))
def test_bodies_come_out_wherever_the_stream_is_cut(sent: list[bytes], size: int) -> None:
    stream = b"".join(map(framed, sent))
    assert bodies(*(stream[i : i + size] for i in range(0, len(stream), size))) == sent


@pytest.mark.parametrize(
    "wrong",
    [
        b"\x00" * 3_000_000 + b"\r\n\r\n",
        b"x" * (HEAD + 1),
        b"Content-Length: many\r\n\r\n{}",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 9999999999999\r\n\r\n",
        b"Content-Length: 7\r\n" + b"x" * (HEAD + 1),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        framed(A, 3),
        framed(A, 100),
        framed(A, 1_000_000),
        framed(b"{]"),
        b"\r\n\r\n\r\n",
    ],
)
def test_what_is_wrong_is_said_and_skipped(wrong: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "cl_lsp.frames"):
        found = bodies(wrong, framed(B), framed(A))
        assert found[-2:] == [B, A]
        one_by_one = bodies(*((wrong + framed(B) + framed(A))[i : i + 1000] for i in
                              range(0, len(wrong) + 100, 1000)))  # fmt: skip
        assert one_by_one[-2:] == [B, A]
    if not wrong.endswith(b"{]"):
        assert "ignored: " in caplog.text


def test_other_headers_and_spellings_are_read() -> None:
    kind = b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\n"
    length = b"content-length:%d\n" % len(A)
    assert bodies(kind + length + kind + b"\n" + A + framed(B)) == [A, B]


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_bytes_do_no_harm_to_what_follows(before: bytes, between: bytes) -> None:
    found = bodies(before, between, framed(B), framed(A), framed(B))
    assert found[-1] == B
