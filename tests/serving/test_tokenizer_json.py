"""A directory with a `tokenizer.json` only: the same ids as from SentencePiece's own file."""

import functools
import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import pytest
from cl_engine.errors import BrokenCheckpoint
from cl_engine.tokenizer import Tokenizer
from hypothesis import given
from transformers import AutoTokenizer

from tests.vocabularies import (
    CODE,
    EMBEDDED,
    PLAIN,
    SIZES,
    TEXT,
    TEXTS,
    UNTIMED,
    Form,
    proto,
    tokenizer,
    tokenizer_json,
)

FORMS: tuple[Form, ...] = ("prepend", "metaspace")
CASES = [(size, form) for size in SIZES for form in FORMS]


@functools.cache
def converted(size: int, form: Form, step: bool = False) -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        written = json.dumps(tokenizer_json(proto(size, step), form))
        (Path(folder) / "tokenizer.json").write_text(written)
        return Tokenizer.open(Path(folder))


def assert_same(one: Tokenizer, other: Tokenizer, text: str) -> None:
    assert one.encode(text) == other.encode(text)
    assert one.encode_infilling(text) == other.encode_infilling(text)


@pytest.mark.parametrize(("size", "form"), CASES)
def test_ids_equal_sentencepieces(size: int, form: Form) -> None:
    for text in TEXTS:
        assert_same(converted(size, form), tokenizer(size), text)


@pytest.mark.parametrize(("size", "form"), CASES)
@UNTIMED
@given(text=TEXT)
def test_ids_equal_sentencepieces_on_any_text(size: int, form: Form, text: str) -> None:
    assert_same(converted(size, form), tokenizer(size), text)


@pytest.mark.parametrize("step", [False, True])
def test_facts_equal_sentencepieces(step: bool) -> None:
    ours, reference = converted(CODE, "prepend", step), tokenizer(CODE, step)
    for fact in ("size", "bos", "eos", "infill", "step", "first_control", "stop_ids"):
        assert getattr(ours, fact) == getattr(reference, fact)
    assert ours.piece_bytes == reference.piece_bytes
    assert all(ours.is_byte(i) == reference.is_byte(i) for i in range(CODE))
    assert ours.continuations(b" re") == reference.continuations(b" re")
    assert_same(ours, reference, " <step> x")


def test_runs_of_spaces_merge_last_even_if_transformers_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(proto(EMBEDDED))
    settings = {"tokenizer_class": "CodeLlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    saved = tmp_path / "saved"
    AutoTokenizer.from_pretrained(tmp_path).save_pretrained(saved)
    assert not (saved / "tokenizer.model").exists()
    ours, reference = Tokenizer.open(saved), tokenizer(EMBEDDED)
    assert ours.size == EMBEDDED  # without the <FILL_ME> that transformers added
    for text in [*TEXTS, *("x" + " " * n + "y" for n in range(70))]:
        assert_same(ours, reference, text)


def test_a_vocabulary_of_its_own_keeps_its_order(tmp_path: Path) -> None:
    """Only Llama's runs of spaces are known to merge last."""
    raw = tokenizer_json(proto(PLAIN), "prepend")
    raw["model"]["merges"].sort(key=lambda merge: not set(merge) <= {"▁", " "})
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw))
    moved = Tokenizer.open(tmp_path)
    assert moved.piece_bytes[moved.encode_infilling("\n    return")[1]] == b"    "
    assert moved.piece_bytes[tokenizer(PLAIN).encode_infilling("\n    return")[1]] == b"   "


def test_the_dummy_space_is_the_files(tmp_path: Path) -> None:
    raw = tokenizer_json(proto(PLAIN), "bare")
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw))
    bare = Tokenizer.open(tmp_path)
    assert bare.encode("def") == bare.encode_infilling("def")
    assert bare.encode_infilling("def") == tokenizer(PLAIN).encode_infilling("def")


def test_pieces_beyond_the_vocabulary_are_not_the_models(tmp_path: Path) -> None:
    """transformers adds the infilling pieces to every 34B, whose embedding has no rows for them."""
    raw = tokenizer_json(proto(PLAIN), "prepend")
    for i, piece in enumerate(("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>")):
        raw["added_tokens"].append({"id": PLAIN + i, "content": piece, "special": True})
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw))
    ours = Tokenizer.open(tmp_path)
    assert (ours.size, ours.infill) == (PLAIN, None)
    assert_same(ours, tokenizer(PLAIN), "x <PRE> y")


def test_special_tokens_are_not_merged_from_text(tmp_path: Path) -> None:
    raw = tokenizer_json(proto(PLAIN), "prepend")
    vocab = raw["model"]["vocab"]
    vocab["s>"] = vocab.pop("\ue0007\ue001")
    raw["model"]["merges"][:0] = ["s >", "< s>"]  # as converters write it, whatever the piece is
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw))
    ours = Tokenizer.open(tmp_path)
    assert ours.to_bytes(ours.encode_infilling("<s>")) == b"<s>"
    assert vocab["s>"] in ours.encode("<s>")


def test_controls_are_found_by_their_pieces(tmp_path: Path) -> None:
    raw = tokenizer_json(proto(CODE), "prepend")
    raw["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw))
    ours = Tokenizer.open(tmp_path)
    assert ours.infill == tokenizer(CODE).infill
    for text in TEXTS:
        assert_same(ours, tokenizer(CODE), text)


def test_threads_share_it() -> None:
    ours = converted(CODE, "metaspace")
    expected = [ours.encode(text) for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        rounds = [pool.submit(lambda: [ours.encode(text) for text in TEXTS]) for _ in range(16)]
    assert all(each.result() == expected for each in rounds)


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda raw: raw["model"].pop(key)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("vocab"), "vocab"),
        (without("merges"), "merges"),
        (lambda raw: raw["model"].update(type="Unigram"), "a Unigram model, not BPE"),
        (lambda raw: raw["model"]["vocab"].pop("<0x41>"), "gaps"),
        (lambda raw: raw["model"]["vocab"].update({"<s>": 99999}), "gaps"),
        (lambda raw: raw["model"]["merges"].append("a \ue0005"), "unknown pieces"),
        (lambda raw: raw["model"]["merges"].append("abc"), "no usable"),
        (lambda raw: raw.update(normalizer=None), "space"),
        (lambda raw: raw.update(pre_tokenizer={"type": "ByteLevel"}), "ByteLevel"),
        (lambda raw: raw.update(normalizer={"type": "NFKC"}), "NFKC"),
        (lambda raw: raw.pop("model"), "model"),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object], message: str
) -> None:
    raw = tokenizer_json(proto(EMBEDDED), "prepend")
    spoil(raw)
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw))
    with pytest.raises(BrokenCheckpoint, match=rf"tokenizer\.json.*{message}"):
        Tokenizer.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"model": 3}'])
def test_what_is_no_tokenizer_at_all_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BrokenCheckpoint, match=r"tokenizer\.json"):
        Tokenizer.open(tmp_path)


def test_both_forms_are_tested() -> None:
    assert {*FORMS, "bare"} == set(get_args(Form))
