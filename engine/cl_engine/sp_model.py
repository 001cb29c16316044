"""The one place that reads and writes the SentencePiece model file's protobuf framing.

A `tokenizer.model` is a `ModelProto`: field 1, repeated, are the pieces in id order. Cutting that
list is all we need, so that control pieces cannot come out of file text; the generated protobuf
module that sentencepiece ships demands one exact protobuf runtime, which we cannot ask of users.
"""

import struct
from collections.abc import Iterator

PIECE_FIELD = 1
LENGTH_DELIMITED = 2


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The base-128 integer at `at`, and the offset behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(proto: bytes) -> Iterator[tuple[int, bytes]]:
    """(field number, whole encoded field) for every top-level field, or ValueError."""
    at = 0
    try:
        while at < len(proto):
            start = at
            key, at = _varint(proto, at)
            if key & 7 != LENGTH_DELIMITED:
                raise ValueError(f"wire type {key & 7} at byte {start}")
            size, at = _varint(proto, at)
            at += size
            yield key >> 3, proto[start:at]
    except IndexError:
        at = len(proto) + 1
    if at != len(proto):
        raise ValueError("it ends in the middle of a field")


def without_pieces_from(proto: bytes, first_dropped: int) -> bytes:
    """The same model with only the pieces of id < `first_dropped`."""
    kept, piece_id = [], 0
    for field, encoded in _fields(proto):
        if field == PIECE_FIELD:
            piece_id += 1
            if piece_id > first_dropped:
                continue
        kept.append(encoded)
    return b"".join(kept)


def with_pieces(proto: bytes, pieces: list[tuple[str, float]]) -> bytes:
    """The same model with normal pieces `(text, score)` appended after its last id."""
    added = []
    for text, score in pieces:
        raw = text.encode()
        body = b"\x0a" + _encode_varint(len(raw)) + raw + b"\x15" + struct.pack("<f", score)
        added.append(b"\x0a" + _encode_varint(len(body)) + body)
    fields = list(_fields(proto))
    pieces_in = [encoded for field, encoded in fields if field == PIECE_FIELD]
    rest = [encoded for field, encoded in fields if field != PIECE_FIELD]
    return b"".join(pieces_in + added + rest)
