"""Prompts by token, and what healing takes off."""

from typing import cast

import pytest
from cl_engine.errors import InvalidRequest, Unsupported
from cl_engine.prompt import Order, Prompt, completion_prompt, heal, infilling_prompt, split_fill
from cl_engine.tokenizer import InfillIds, Tokenizer
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import TOKENIZER
from tests.vocabularies import CODE, EMBEDDED, PLAIN, SIZES, TEXT, TEXTS, UNTIMED, meta, tokenizer

TOK = Tokenizer(TOKENIZER)
INFILL = cast(InfillIds, TOK.infill)
SOURCE = st.text(st.sampled_from(list("abxyz_ \n\t().:=12'é😀")), max_size=60)


def assert_metas(size: int, prefix: str, suffix: str) -> None:
    """Meta's `infilling_prompt_tokens`, written down anew on raw SentencePiece."""
    own, rules = tokenizer(size), meta(size)
    pre, suf, mid = (size - 9, size - 8, size - 7)
    before, after = rules.encode(prefix), rules.encode_infilling(suffix)
    psm = infilling_prompt(own, prefix, suffix, 4096, "psm")
    spm = infilling_prompt(own, prefix, suffix, 4096, "spm")
    assert psm == Prompt([1, pre, *before, suf, *after, mid], healable=0)
    assert spm == Prompt([1, pre, suf, *after, mid, *before], healable=len(before))


@pytest.mark.parametrize("size", [EMBEDDED, CODE])
def test_infilling_is_metas_sequence(size: int) -> None:
    for text, other in zip(TEXTS, reversed(TEXTS), strict=True):
        assert_metas(size, text, other)
        assert_metas(size, text, text)
        assert_metas(size, text, "")
        assert_metas(size, "", text)


@pytest.mark.parametrize("size", [EMBEDDED, CODE])
@UNTIMED
@given(prefix=TEXT, suffix=TEXT)
def test_infilling_is_metas_sequence_on_any_text(size: int, prefix: str, suffix: str) -> None:
    assert_metas(size, prefix, suffix)


def test_control_ids_of_code_llama() -> None:
    ids = infilling_prompt(tokenizer(CODE), "", "", 4096, "psm").ids
    assert ids == [1, 32007, 32008, 32009]  # an empty part stays an infilling prompt


def test_a_vocabulary_without_the_pieces_cannot_infill() -> None:
    with pytest.raises(Unsupported, match="cannot infill"):
        infilling_prompt(tokenizer(PLAIN), "x", "y", 4096)


@pytest.mark.parametrize("size", SIZES)
@UNTIMED
@given(text=TEXT)
def test_completion_is_the_prompt_verbatim(size: int, text: str) -> None:
    ids = meta(size).encode(text)
    assert completion_prompt(tokenizer(size), text, 4096) == Prompt([1, *ids], healable=len(ids))


def test_an_emoji_cut_at_the_cursor_is_two_replacement_characters() -> None:
    ids = infilling_prompt(TOK, "a\ud83d", "\ude00b", 4096, "psm").ids
    assert TOK.render(ids) == "<s>▁<PRE> a\ufffd▁<SUF>\ufffdb▁<MID>"


@given(TEXT, TEXT)
def test_fill_splits_where_it_stands(prefix: str, suffix: str) -> None:
    prefix, suffix = prefix.replace("<FILL>", ""), suffix.replace("<FILL>", "")
    if "<FILL>" not in prefix + suffix:
        assert split_fill(f"{prefix}<FILL>{suffix}") == (prefix, suffix)


def test_fill_must_be_there_once() -> None:
    with pytest.raises(InvalidRequest, match="no <FILL>"):
        split_fill("def f(): <fill>")
    with pytest.raises(InvalidRequest, match="2 <FILL> marks"):
        split_fill("<FILL>\n<FILL>")


def test_parts_do_not_merge_over_their_border() -> None:
    ids = infilling_prompt(TOK, "a", "\r\nb", 4096, "psm").ids
    at = ids.index(INFILL.suffix)
    assert ids[at + 1 : at + 3] == [16, 13]  # the bytes \r and \n, not one piece with `>`


@given(st.integers(20, 200), st.integers(0, 300), st.integers(0, 300))
def test_a_long_prompt_keeps_what_is_next_to_the_cursor(limit: int, lines: int, below: int) -> None:
    prefix = "".join(f"a{i}\n" for i in range(lines))
    suffix = "".join(f"b{i}\n" for i in range(below))
    prompt = infilling_prompt(TOK, prefix, suffix, limit)
    assert len(prompt.ids) <= limit
    kept = TOK.to_bytes(prompt.ids[len(prompt.ids) - prompt.healable :])
    assert (b" " + prefix.encode()).endswith(kept)
    shown = len(TOK.to_bytes(prompt.ids)) - (kept == b" " + prefix.encode() and prefix != "")
    assert prompt.dropped == len(prefix) + len(suffix) - shown


def test_the_cut_moves_in_steps() -> None:
    text = "".join(f"line {i}\n" for i in range(400))
    starts = set()
    for extra in range(100):
        prompt = completion_prompt(TOK, text + " a" * extra, 1024)
        starts.add(tuple(prompt.ids[1:40]))
    assert len(starts) == 2  # one hundred keys, one jump


OTHERS = [("a.py", "ALPHA = 1\n"), ("empty.py", " \n"), ("b.py", "BETA = 2\n\n\n")]
OTHERS_TEXT = "# a.py\nALPHA = 1\n\n# b.py\nBETA = 2\n\n"


@pytest.mark.parametrize("order", ["spm", "psm"])
def test_other_files_stand_before_the_prompt_for_the_hole(order: Order) -> None:
    alone = infilling_prompt(TOK, "x = ", "y\n", 1024, order)
    prompt = infilling_prompt(TOK, "x = ", "y\n", 1024, order, OTHERS)
    lead = TOK.encode(OTHERS_TEXT)
    assert prompt.ids == [TOK.bos, *lead, *alone.ids[1:]]
    assert (prompt.healable, prompt.dropped) == (alone.healable, 0)


@given(st.integers(20, 200), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_of_a_long_prompt_other_files_go_first(
    limit: int, lines: int, below: int, beside: int
) -> None:
    prefix, suffix = (
        "".join(f"a{i}\n" for i in range(lines)),
        "".join(f"b{i}\n" for i in range(below)),
    )
    text = "".join(f"c{i}\n" for i in range(beside))
    alone = infilling_prompt(TOK, prefix, suffix, limit)
    prompt = infilling_prompt(TOK, prefix, suffix, limit, "spm", [("c.py", text)])
    assert len(prompt.ids) <= limit
    lead = len(prompt.ids) - len(alone.ids)
    assert prompt.ids[1 + lead :] == alone.ids[1:]  # nothing of the file itself makes room
    whole = f"# c.py\n{text.rstrip()}\n\n" if beside else ""
    kept = TOK.to_bytes(prompt.ids[1 : 1 + lead]).decode()
    assert f" {whole}".endswith(kept)
    assert prompt.dropped - alone.dropped == len(whole) - len(kept) + (kept == f" {whole}")


def test_with_too_many_other_files_the_cut_moves_in_steps() -> None:
    others = [("c.py", "".join(f"line {i}\n" for i in range(400)))]
    starts = set()
    for extra in range(100):
        ids = infilling_prompt(TOK, " a" * extra, "", 1024, "spm", others).ids
        starts.add(tuple(ids[1:40]))
    assert len(starts) == 2


def test_no_room_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no room"):
        completion_prompt(TOK, "x = 1", 1)


@given(SOURCE, st.integers(0, 8))
def test_healing_takes_off_whole_tokens_and_loses_nothing(text: str, depth: int) -> None:
    prompt = completion_prompt(TOK, text, 4096)
    healed = heal(TOK, prompt, depth)
    assert healed.ids + healed.draft == prompt.ids
    assert healed.required == TOK.to_bytes(healed.draft)
    assert len(healed.draft) <= depth
    assert len(healed.ids) >= 1


@pytest.mark.parametrize(
    ("text", "required"),
    [
        ("x = foo(ba", b" foo(ba"),  # back to the space
        ("return\n", b""),  # a newline never merges
        ("if x:\n    ", b"    "),  # the indentation may lose its last space to a word
        ("if x:\n    ret", b" ret"),
        ("", b""),
    ],
)
def test_healing_stops_at_borders(text: str, required: bytes) -> None:
    assert heal(TOK, completion_prompt(TOK, text, 4096), depth=8).required == required


def test_depth_bounds_healing() -> None:
    ids = TOK.encode("aa.bb.cc.dd.ee")
    assert len(heal(TOK, Prompt([1, *ids], len(ids)), depth=2).draft) == 2


@given(SOURCE)
def test_the_middle_that_was_trained_is_reachable(text: str) -> None:
    """Whatever comes next, some tokenisation of the whole text begins with the healed prompt."""
    for cut in range(len(text) + 1):
        healed = heal(TOK, completion_prompt(TOK, text[:cut], 4096), depth=64)
        whole = [1, *TOK.encode(text)]
        assert whole[: len(healed.ids)] == healed.ids
