"""A `tokenizer.json` as the SentencePiece vocabulary that it was converted from.

Only the pieces and merges are the file's; `tokenizers` merges them. What it does around that (BOS,
special tokens found in text, a dummy space only where no space is) is not Meta's and is left out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers.models import BPE

from .errors import BrokenCheckpoint, in_words
from .vocabulary import Encoder, Vocabulary

SPACE = "▁"
BYTE_PIECES = {f"<0x{value:02X}>": value for value in range(256)}
BOS, EOS, UNKNOWN = "<s>", "</s>", "<unk>"
# Both of Code Llama's vocabularies begin so, after the bytes.
LLAMA_BEGINS = {"▁▁": 259, "▁t": 260, "er": 261, "in": 262}

Merge = tuple[str, str]


def read_tokenizer_json(path: Path) -> Vocabulary:
    """Raises BrokenCheckpoint if `path` is unreadable or was not made from a SentencePiece BPE.

    Tokens that the file adds to the model's own vocabulary are left out: transformers adds some
    (`<FILL_ME>`, or the infilling pieces to every 34B) that no row of the embedding stands for.
    """
    try:
        raw = json.loads(path.read_bytes())
        model = raw["model"]
        if model.get("type", "BPE") != "BPE":
            raise ValueError(f"a {model['type']} model, not BPE")
        dummy = SPACE if _has_dummy_space(raw) else ""
        vocab: dict[str, int] = model["vocab"]
        if sorted(vocab.values()) != list(range(len(vocab))):
            raise ValueError("its ids have gaps")
        if lacking := {BOS, EOS, *BYTE_PIECES} - vocab.keys():
            raise ValueError(f"it lacks {min(lacking)}")
        merges = [_merge(merge, vocab) for merge in model["merges"]]
        special = {t["content"] for t in raw.get("added_tokens", ()) if t.get("special")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BrokenCheckpoint(f"{path}: no usable tokenizer.json ({in_words(error)})") from error
    silent = (special | {BOS, EOS, UNKNOWN}) & vocab.keys()
    merges = _ranked(merges, vocab)
    never = silent | BYTE_PIECES.keys()

    def encoder(first_dropped: int) -> Encoder:
        kept = {piece: i for piece, i in vocab.items() if i < first_dropped}
        products = kept.keys() - never
        usable = [(a, b) for a, b in merges if {a, b} <= kept.keys() and a + b in products]
        bpe = tokenizers.Tokenizer(BPE(kept, usable, byte_fallback=True))

        def encode(text: str) -> list[int]:
            written = dummy + text.replace(" ", SPACE) if text else ""
            return bpe.encode(written, add_special_tokens=False).ids

        return encode

    return Vocabulary(
        pieces=sorted(vocab, key=vocab.__getitem__),
        silent=frozenset(vocab[piece] for piece in silent),
        byte_of={vocab[piece]: value for piece, value in BYTE_PIECES.items()},
        bos=vocab[BOS],
        eos=vocab[EOS],
        encoder=encoder,
    )


def _merge(merge: Any, vocab: dict[str, int]) -> Merge:
    """`merge` in either spelling: "a b" or ["a", "b"]."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    if left not in vocab or right not in vocab or left + right not in vocab:
        raise ValueError(f"a merge of unknown pieces, {left!r} and {right!r}")
    return left, right


def _has_dummy_space(raw: dict[str, Any]) -> bool:
    """Whether text begins with a space that nobody wrote; ValueError if text is written otherwise.

    Converters write SentencePiece's normaliser as `Prepend` and `Replace`, or as `Metaspace`.
    """
    dummy = escapes = False
    for step in [*_steps(raw.get("normalizer")), *_steps(raw.get("pre_tokenizer"))]:
        match step:
            case {"type": "Prepend", "prepend": "▁"}:
                dummy = True
            case {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}:
                escapes = True
            case {"type": "Metaspace", "replacement": "▁"}:
                legacy = "always" if step.get("add_prefix_space", True) else "never"
                dummy = dummy or step.get("prepend_scheme", legacy) != "never"
                escapes = True
            case _:
                raise ValueError(f"{step.get('type')} is not SentencePiece's way with text")
    if not escapes:
        raise ValueError("nothing in it writes a space as ▁, as SentencePiece does")
    return dummy


def _steps(stage: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A normaliser or pre-tokeniser without the sequences around its steps."""
    if stage is None:
        return
    if stage.get("type") == "Sequence":
        for inner in stage.get("normalizers") or stage.get("pretokenizers") or ():
            yield from _steps(inner)
    else:
        yield stage


def _ranked(merges: list[Merge], vocab: dict[str, int]) -> list[Merge]:
    """`merges` in SentencePiece's order, where Llama's runs of spaces come last (score -1e9).

    All runs rank equal there, so that the leftmost grows first: here the longest left part. They
    are moved because transformers 5.23 converts a tokenizer.model without reading its scores:
    `\\n` + 4 spaces + `return` becomes 13 268 2457 where SentencePiece has 13 1678 736.
    """
    runs = [merge for merge in merges if not "".join(merge).strip(SPACE)]
    words = [merge for merge in merges if "".join(merge).strip(SPACE)]
    llama = all(vocab.get(piece) == i for piece, i in LLAMA_BEGINS.items())
    if llama or "▁<PRE>" in vocab or merges[len(words) :] == runs:
        return words + sorted(runs, key=lambda run: (-len(run[0]), -len(run[1])))
    return merges
