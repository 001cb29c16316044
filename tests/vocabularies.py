"""Vocabularies of all sizes, what raw SentencePiece makes of a text, and texts to trip over."""

import functools
import re
import tempfile
from pathlib import Path
from typing import Any, Literal

import sentencepiece
from cl_engine.sp_model import with_pieces, without_pieces_from
from cl_engine.tokenizer import CONTROLS, STEP, Tokenizer
from hypothesis import settings
from hypothesis import strategies as st

from tests.checkpoints import TOKENIZER, make_tokenizer

EMBEDDED, CODE, PLAIN = 8192, 32016, 32000
SIZES = (EMBEDDED, CODE, PLAIN)
ORDINARY = 8176  # the embedded vocabulary's ids before the 16 infilling pieces

HALVES = "\ud83d", "\ude00"  # of 😀, as an editor cuts it at the cursor
TEXTS = [
    *("", " ", "   ", " x", "x ", "  def f():", "\n", "\n    return", "\r", "\r\n", "a\r\n\r\nb"),
    *("\t", "\tx\t\ty\t", " \t \n", ">\r\n", "x" + " " * 17 + "y", " " * 33 + "z", "=" * 41),
    *("☺", "☺☺ x", " ☺", "😀", *HALVES, f"a{HALVES[0]}", f"{HALVES[1]}b", "".join(HALVES)),
    *("日本語 ", "e\u0301", "\u2028", "\x00", "\U0010ffff", "\ue0001\ue001"),
    *(" <EOT>", "x <EOT> y", " <EOT><EOT>", " <PRE>", "<SUF>", " <SUF>", " <MID>", "▁<MID>"),
    *(" <E>", "List <E>", " <SU", " <EOT", "<FILL>", "<FILL_ME>"),
    *("<s>", "</s>", "</s><s>", "<unk>", "<0x0A>", "<step>", " <step> ", "x<step>"),
    *("[INST]", " [/INST] ", "<<SYS>>\n", "\n<</SYS>>\n\n", "Source: user\n\n "),
]
UNTIMED = settings(deadline=None)  # the first example builds the vocabulary, on shared CPUs
TEXT = st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=8)), max_size=6).map("".join)


@functools.cache
def proto(size: int, step: bool = False) -> bytes:
    """A `tokenizer.model`; with `step` the last piece is `<step>`, as in 70B-Instruct's."""
    with tempfile.TemporaryDirectory() as folder:
        model = make_tokenizer(Path(folder) / "tokenizer.model", size).read_bytes()
    if step:
        return with_pieces(without_pieces_from(model, size - 1), [(STEP, -2e6)])
    return model


@functools.cache
def tokenizer(size: int, step: bool = False) -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(proto(size, step))
        return Tokenizer(path)


class Meta:
    """Meta's `llama/tokenizer.py` on a SentencePiece model that never had the control pieces."""

    def __init__(self, size: int):
        whole = _load(proto(size))
        names = range(ORDINARY, size if size == PLAIN else size - 9)
        added = [(whole.id_to_piece(i), whole.get_score(i)) for i in names]
        self.sp = _load(with_pieces(without_pieces_from(TOKENIZER.read_bytes(), ORDINARY), added))
        assert all(self.sp.piece_to_id(piece) == self.sp.unk_id() for piece in CONTROLS)

    def encode(self, text: str) -> list[int]:
        return self.sp.encode(scalars(text))

    def encode_infilling(self, text: str) -> list[int]:
        return self.sp.encode("☺" + scalars(text))[2:]


meta = functools.cache(Meta)


def scalars(text: str) -> str:
    """`text` as UTF-8 can hold it: pairs of surrogates joined, single ones U+FFFD."""

    def joined(pair: re.Match[str]) -> str:
        high, low = map(ord, pair[0])
        return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)

    text = re.sub("[\ud800-\udbff][\udc00-\udfff]", joined, text)
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


Form = Literal["prepend", "metaspace", "bare"]
PREPEND = {"type": "Prepend", "prepend": "▁"}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def tokenizer_json(model: bytes, form: Form) -> dict[str, Any]:
    """A `tokenizer.json` as the published ones are: merges in the order of their scores.

    `form`: the two ways to write SentencePiece's normaliser, or none with a dummy space.
    """
    sp = _load(model)
    pieces = [sp.id_to_piece(i) for i in range(sp.get_piece_size())]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    ranked = sorted(pieces, key=lambda piece: -sp.get_score(vocab[piece]))
    splits = [(piece[:n], piece[n:]) for piece in ranked for n in range(1, len(piece))]
    merges = [f"{a} {b}" for a, b in splits if a in vocab and b in vocab]
    special = ["<unk>", "<s>", "</s>", *(p for p in (*CONTROLS, STEP) if p in vocab)]
    metaspace = {
        "type": "Metaspace",
        "replacement": "▁",
        "prepend_scheme": "never" if form == "bare" else "first",
        "split": False,
    }
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": vocab[piece], "content": piece, "special": True, "normalized": False}
            for piece in special
        ],
        "normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE]}
        if form == "prepend"
        else None,
        "pre_tokenizer": None if form == "prepend" else metaspace,
        "post_processor": {"type": "TemplateProcessing", "single": [], "special_tokens": {}},
        "model": {"type": "BPE", "byte_fallback": True, "vocab": vocab, "merges": merges},
    }


def _load(model: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=model)
