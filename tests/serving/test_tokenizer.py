"""Text to ids and back: Meta's rules, no control ids out of text, no byte lost."""

from typing import cast

import pytest
from cl_engine.errors import BrokenCheckpoint
from cl_engine.sp_model import with_pieces, without_pieces_from
from cl_engine.tokenizer import INFILL_PIECES, InfillIds, StreamDecoder, Tokenizer
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import TOKENIZER

TOK = Tokenizer(TOKENIZER)
INFILL = cast(InfillIds, TOK.infill)
# "▁" is how SentencePiece writes a space; surrogates are no text.
TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="▁"),
        st.sampled_from(list(" \n\t(){}<>PRESUFMIDEOT_=")),
    )
)


def test_vocabulary_has_code_llamas_layout() -> None:
    assert TOK.size == 8192
    assert (TOK.bos, TOK.eos) == (1, 2)
    assert (INFILL.prefix, INFILL.suffix, INFILL.middle, INFILL.eot) == (8183, 8184, 8185, 8186)
    first = TOK.size - len(INFILL_PIECES)
    tail = [TOK._full.id_to_piece(first + i) for i in range(len(INFILL_PIECES))]
    assert tuple(tail) == INFILL_PIECES
    assert TOK.encode_infilling("\n\t\r") == [13, 12, 16]  # byte pieces: id 3 + byte


@pytest.mark.parametrize("piece", [" <PRE>", " <SUF>", " <MID>", " <EOT>", " <EOT><EOT>"])
def test_file_text_never_becomes_a_control_id(piece: str) -> None:
    for text in (piece, "x" + piece + "y", piece * 3, piece + "\n" + piece):
        for ids in (TOK.encode(text), TOK.encode_infilling(text)):
            assert max(ids) < INFILL.prefix
    assert TOK.to_bytes(TOK.encode_infilling("a" + piece)).decode() == "a" + piece


def test_merge_steps_stay_ordinary() -> None:
    pieces = [TOK._full.id_to_piece(i) for i in TOK.encode_infilling("List <E>")]
    assert "▁<E" in pieces  # as ` <E>` is `29871 32005 29958` in Code Llama


def test_dummy_space_only_where_meta_has_it() -> None:
    assert TOK.encode("") == []
    assert TOK.encode("def") == TOK.encode_infilling(" def")
    assert TOK.to_bytes(TOK.encode_infilling("def")) == b"def"


@given(TEXT)
def test_no_byte_is_lost(text: str) -> None:
    ids = TOK.encode_infilling(text)
    assert TOK.to_bytes(ids).decode() == text
    assert all(i < INFILL.prefix for i in ids)


@given(TEXT)
def test_streamed_text_equals_whole_text(text: str) -> None:
    decoder = StreamDecoder()
    ids = TOK.encode_infilling(text)
    streamed = "".join(decoder.feed(TOK.piece_bytes[i]) for i in ids)
    assert streamed + decoder.feed(b"", final=True) == text


def test_lone_surrogates_become_replacement_characters() -> None:
    assert TOK.encode("a\ud83db") == TOK.encode("a\ufffdb")
    assert TOK.encode("\ud83d\ude00") == TOK.encode("😀")


@given(st.sampled_from([b" re", b"self", b"\n", b" ", b"\xf0\x9f", b"    "]))
def test_continuations_are_exactly_the_compatible_pieces(required: bytes) -> None:
    compatible = {
        i
        for i, piece in enumerate(TOK.piece_bytes)
        if piece and (piece.startswith(required) or required.startswith(piece))
    }
    found = TOK.continuations(required)
    assert set(found) == compatible
    assert len(found) == len(compatible)


def test_pieces_can_be_cut_and_added() -> None:
    proto = TOKENIZER.read_bytes()
    cut = without_pieces_from(proto, TOK.size - 9)
    assert len(cut) < len(proto)
    names = [TOK._full.id_to_piece(i) for i in range(TOK.size - 9, TOK.size)]
    scores = [TOK._full.get_score(i) for i in range(TOK.size - 9, TOK.size)]
    again = with_pieces(cut, list(zip(names, scores, strict=True)))
    assert without_pieces_from(again, TOK.size) == again
    assert len(again) == len(proto)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x0a\xff\xff"])
def test_a_broken_file_is_named(tmp_path, content: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(BrokenCheckpoint, match=r"tokenizer\.model"):
        Tokenizer(path)
    with pytest.raises(BrokenCheckpoint, match="missing"):
        Tokenizer(tmp_path / "missing")
