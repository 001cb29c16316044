"""Text to ids and back: Meta's rules, no control ids out of text, no byte lost."""

from pathlib import Path
from typing import cast

import pytest
import sentencepiece
from cl_engine.errors import BrokenCheckpoint
from cl_engine.sp_model import with_pieces, without_pieces_from
from cl_engine.tokenizer import INFILL_PIECES, InfillIds, StreamDecoder, Tokenizer
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import TOKENIZER
from tests.vocabularies import CODE, PLAIN, SIZES, TEXT, TEXTS, UNTIMED, meta, scalars, tokenizer

TOK = Tokenizer(TOKENIZER)
INFILL = cast(InfillIds, TOK.infill)
SP = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER))


def test_vocabulary_has_code_llamas_layout() -> None:
    assert TOK.size == 8192
    assert (TOK.bos, TOK.eos) == (1, 2)
    assert (INFILL.prefix, INFILL.suffix, INFILL.middle, INFILL.eot) == (8183, 8184, 8185, 8186)
    first = TOK.size - len(INFILL_PIECES)
    assert tuple(SP.id_to_piece(first + i) for i in range(len(INFILL_PIECES))) == INFILL_PIECES
    assert TOK.encode_infilling("\n\t\r") == [13, 12, 16]  # byte pieces: id 3 + byte


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_a_vocabulary_without_controls(size: int, text: str) -> None:
    own, reference = tokenizer(size), meta(size)
    assert own.encode(text) == reference.encode(text)
    assert own.encode_infilling(text) == reference.encode_infilling(text)


@pytest.mark.parametrize("size", SIZES)
@UNTIMED
@given(text=TEXT)
def test_ids_are_metas_on_any_text(size: int, text: str) -> None:
    own, reference = tokenizer(size), meta(size)
    assert own.encode(text) == reference.encode(text)
    assert own.encode_infilling(text) == reference.encode_infilling(text)


@pytest.mark.parametrize("piece", [" <PRE>", " <SUF>", " <MID>", " <EOT>", " <EOT><EOT>"])
def test_file_text_never_becomes_a_control_id(piece: str) -> None:
    assert max(SP.encode("x" + piece)) >= INFILL.prefix  # as SentencePiece itself would have it
    for text in (piece, "x" + piece + "y", piece * 3, piece + "\n" + piece):
        for ids in (TOK.encode(text), TOK.encode_infilling(text)):
            assert max(ids) < INFILL.prefix
    assert TOK.to_bytes(TOK.encode_infilling("a" + piece)).decode() == "a" + piece


def test_step_is_a_control_id_where_it_is_a_piece() -> None:
    with_step, without = tokenizer(CODE, step=True), tokenizer(CODE)
    assert (with_step.step, without.step) == (CODE - 1, None)
    assert with_step.infill == without.infill
    for text in ("<step>", " <step> ", "a<step>"):
        assert with_step.encode(text) == without.encode(text)


def test_what_ends_a_text_is_named() -> None:
    controls = dict.fromkeys(range(32007, 32016), "control") | {2: "eos", 32010: "eot"}
    assert tokenizer(CODE).stop_ids == controls
    assert tokenizer(CODE, step=True).stop_ids == controls | {32015: "step"}
    assert tokenizer(PLAIN).stop_ids == {2: "eos"}


def test_a_vocabulary_without_the_pieces_cannot_infill() -> None:
    plain = tokenizer(PLAIN)
    assert (plain.infill, plain.size, plain.first_control) == (None, PLAIN, PLAIN)
    assert [plain.first_control, tokenizer(CODE).first_control] == [32000, 32007]


def test_rendered_ids_show_controls_by_their_pieces() -> None:
    ids = [TOK.bos, INFILL.prefix, *TOK.encode("é\r\n"), INFILL.middle, TOK.eos, 0]
    assert TOK.render(ids) == "<s>▁<PRE> é\r\n▁<MID></s><unk>"


def test_merge_steps_stay_ordinary() -> None:
    pieces = [SP.id_to_piece(i) for i in TOK.encode_infilling("List <E>")]
    assert "▁<E" in pieces  # as ` <E>` is `29871 32005 29958` in Code Llama


def test_dummy_space_only_where_meta_has_it() -> None:
    assert TOK.encode("") == []
    assert TOK.encode("def") == TOK.encode_infilling(" def")
    assert TOK.to_bytes(TOK.encode_infilling("def")) == b"def"


# "▁" is how SentencePiece writes a space, so it comes back as one.
@given(TEXT)
def test_no_byte_is_lost(text: str) -> None:
    ids = TOK.encode_infilling(text)
    assert TOK.to_bytes(ids).decode() == scalars(text).replace("▁", " ")
    assert all(i < INFILL.prefix for i in ids)


@given(TEXT)
def test_streamed_text_equals_whole_text(text: str) -> None:
    decoder = StreamDecoder()
    ids = TOK.encode_infilling(text)
    streamed = "".join(decoder.feed(TOK.piece_bytes[i]) for i in ids)
    assert streamed + decoder.feed(b"", final=True) == scalars(text).replace("▁", " ")


@given(st.one_of(TEXT.map(lambda text: scalars(text).encode()), st.binary()), st.data())
def test_however_bytes_are_split_their_text_is_the_same(whole: bytes, data: st.DataObject) -> None:
    decoder, text, rest = StreamDecoder(), "", whole
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        text += decoder.feed(rest[:size])
        rest = rest[size:]
    assert text + decoder.feed(b"", final=True) == whole.decode(errors="replace")


def test_a_generated_leading_space_is_kept() -> None:
    ids = TOK.encode_infilling(" items)")
    assert TOK.piece_bytes[ids[0]] == b" items"
    assert StreamDecoder().feed(TOK.piece_bytes[ids[0]]) == " items"


def test_a_character_waits_for_its_last_byte() -> None:
    decoder, ids = StreamDecoder(), TOK.encode_infilling("\U0001f9ff")
    assert len(ids) == 4
    assert [decoder.feed(TOK.piece_bytes[i]) for i in ids] == ["", "", "", "\U0001f9ff"]


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
    names = [SP.id_to_piece(i) for i in range(TOK.size - 9, TOK.size)]
    scores = [SP.get_score(i) for i in range(TOK.size - 9, TOK.size)]
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


def test_a_directory_offers_one_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(BrokenCheckpoint, match=r"no tokenizer\.model or tokenizer\.json"):
        Tokenizer.open(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(BrokenCheckpoint, match=r"tokenizer\.json"):
        Tokenizer.open(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(TOKENIZER.read_bytes())
    assert Tokenizer.open(tmp_path).size == TOK.size  # SentencePiece's own file comes first
