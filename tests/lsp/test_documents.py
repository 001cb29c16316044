"""Incremental sync and positions, against a plain model of both."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from cl_lsp.documents import Documents, offset_at, positions_at, read_file, width
from cl_lsp.errors import Unreadable
from cl_lsp.line_ends import LINE_END, line_at, near_line

ENCODINGS = ["utf-8", "utf-16", "utf-32"]
TEXT = st.text(st.sampled_from(list("ab \t\n\r\f\u2028é😀")), max_size=40)


def position_of(text: str, offset: int, encoding: str) -> types.Position:
    """Slow and plain: count the line ends before the offset."""
    ends = [m.end() for m in LINE_END.finditer(text) if m.end() <= offset]
    start = ends[-1] if ends else 0
    return types.Position(len(ends), width(text[start:offset], encoding))


def inside_a_line_end(text: str, offset: int) -> bool:
    return text[offset - 1 : offset + 1] == "\r\n" and offset > 0


@given(TEXT, st.sampled_from(ENCODINGS))
def test_positions_and_offsets_are_inverse(text: str, encoding: str) -> None:
    for offset in range(len(text) + 1):
        if not inside_a_line_end(text, offset):
            assert offset_at(text, position_of(text, offset, encoding), encoding) == offset


@given(TEXT, st.integers(0, 50), st.integers(0, 99), st.sampled_from(ENCODINGS))
def test_any_position_is_clamped_into_its_line(
    text: str, line: int, character: int, encoding: str
) -> None:
    offset = offset_at(text, types.Position(line, character), encoding)
    ends = [m.end() for m in LINE_END.finditer(text)]
    starts = [0, *ends]
    if line >= len(starts):
        assert offset == len(text)
    else:
        end = LINE_END.search(text, starts[line])
        assert starts[line] <= offset <= (end.start() if end else len(text))


def test_inside_a_surrogate_pair_is_before_the_character() -> None:
    assert offset_at("a😀b", types.Position(0, 2), "utf-16") == 1
    assert offset_at("a😀b", types.Position(0, 3), "utf-16") == 2


@given(
    TEXT,
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), TEXT), max_size=6),
    st.sampled_from(ENCODINGS),
)
def test_edits_arrive_as_the_client_made_them(text: str, edits: list, encoding: str) -> None:
    documents = Documents()
    documents.encoding = encoding
    documents.open(types.TextDocumentItem("u", "python", 1, text))
    for version, (a, b, new) in enumerate(edits, 2):
        start, end = sorted((min(a, len(text)), min(b, len(text))))
        if inside_a_line_end(text, start) or inside_a_line_end(text, end):
            continue
        edit = types.TextDocumentContentChangePartial(
            types.Range(position_of(text, start, encoding), position_of(text, end, encoding)), new
        )
        identity = types.VersionedTextDocumentIdentifier(version, "u")
        documents.change(types.DidChangeTextDocumentParams(identity, [edit]))
        text = text[:start] + new + text[end:]
        snapshot = documents.snapshot("u", types.Position(10**6, 0))
        assert (snapshot.text, snapshot.version) == (text, version)
        assert snapshot.offset == len(text)
        for offset in {0, start, start + len(new), len(text) // 2, len(text)}:
            if not inside_a_line_end(text, offset):
                position = position_of(text, offset, encoding)
                assert documents.snapshot("u", position).offset == offset


@given(TEXT)
def test_the_cursors_line(text: str) -> None:
    documents = Documents()
    documents.open(types.TextDocumentItem("u", "python", 1, text))
    lines = LINE_END.split(text)
    for number, line in enumerate(lines):
        for column in range(len(line) + 1):
            position = types.Position(number, width(line[:column], "utf-16"))
            snapshot = documents.snapshot("u", position)
            assert snapshot.line_before == line[:column]
            assert snapshot.line_after == line[column:]


def test_a_document_that_grew_too_large_comes_back_whole() -> None:
    documents = Documents()
    documents.open(types.TextDocumentItem("u", "python", 1, "a\0b"))
    with pytest.raises(Unreadable, match="binary"):
        documents.snapshot("u", types.Position(0, 0))
    whole = types.TextDocumentContentChangeWholeDocument("a = 1")
    identity = types.VersionedTextDocumentIdentifier(2, "u")
    documents.change(types.DidChangeTextDocumentParams(identity, [whole]))
    assert documents.snapshot("u", types.Position(0, 5)).before == "a = 1"


def test_files_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes("é = 1\r\nb".encode())
    assert read_file(path, 1, 2).before == "é"
    assert read_file(path, 2, 2).before == "é = 1\r\nb"
    for line, column, message in (
        (3, 1, "line 3 is outside .*, which has 2 lines"),
        (1, 7, "column 7 is outside line 1, which ends at column 6"),
        (0, 1, "line 0"),
    ):
        with pytest.raises(Unreadable, match=message):
            read_file(path, line, column)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Unreadable, match="not UTF-8"):
        read_file(path, 1, 1)
    path.write_bytes(b"a\0")
    with pytest.raises(Unreadable, match="binary"):
        read_file(path, 1, 1)
    with pytest.raises(Unreadable, match="cannot read"):
        read_file(tmp_path, 1, 1)
    path.write_bytes(b"x" * 20_000_000)
    with pytest.raises(Unreadable, match="too large"):
        read_file(path, 1, 1)


PARTS = st.lists(st.sampled_from(["a", "bc", "\n", "\r", "\r\n"]), max_size=20)


@given(PARTS, st.integers(1, 40), st.data())
def test_a_line_is_found_from_any_other(parts: list[str], times: int, data: st.DataObject) -> None:
    text = "".join(parts) * times  # more lines than one walks
    known = list(enumerate([0, *(m.end() for m in LINE_END.finditer(text))]))
    near, line = data.draw(st.sampled_from(known)), data.draw(st.integers(0, len(known)))
    assert near_line(text, line, near) == known[min(line, len(known) - 1)]
    offset = data.draw(st.integers(0, len(text)))
    if not inside_a_line_end(text, offset):
        wanted = max(one for one in known if one[1] <= offset)
        assert line_at(text, offset, near) == line_at(text, offset) == wanted


@given(TEXT, st.sampled_from(ENCODINGS), st.data())
def test_positions_of_several_offsets(text: str, encoding: str, data: st.DataObject) -> None:
    places = [n for n in range(len(text) + 1) if not inside_a_line_end(text, n)]
    offsets = data.draw(st.lists(st.sampled_from(places)))
    wanted = [position_of(text, offset, encoding) for offset in offsets]
    assert list(positions_at(text, offsets, encoding)) == wanted


@pytest.mark.alone
def test_a_place_in_a_very_long_document_takes_no_time() -> None:
    """Bar: 2 ms in 2 MB, to find a line, to tell an offset's position, or a hundred of them."""
    text = "    value = some_function(argument, 1)\n" * 50_000
    documents = Documents()
    documents.open(types.TextDocumentItem("u", "python", 1, text))
    last, every = types.Position(49_999, 4), range(0, len(text), len(text) // 100)
    tasks: list[Callable[[], object]] = [
        lambda: documents.snapshot("u", last, exact=True),
        lambda: list(positions_at(text, [len(text) - 9], "utf-16")),
        lambda: list(positions_at(text, every, "utf-16")),
    ]
    for task in tasks:
        took = []
        for _ in range(20):
            began = time.perf_counter()
            task()
            took.append((time.perf_counter() - began) * 1e3)
        assert min(took) <= 2
