"""What a tokenizer's file says, whichever format it has; here SentencePiece's `tokenizer.model`.

No rule of Code Llama's is in here: `tokenizer.py` knows which pieces control the model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from .errors import BrokenCheckpoint
from .sp_model import without_pieces_from

Encoder = Callable[[str], list[int]]


@dataclass(frozen=True)
class Vocabulary:
    """Pieces by id. `encoder(n)` encodes as if the pieces of id n and higher were absent."""

    pieces: list[str]
    silent: frozenset[int]  # the control and unknown pieces of the format: they stand for no text
    byte_of: dict[int, int]  # byte pieces
    bos: int
    eos: int
    encoder: Callable[[int], Encoder]


def read_sentencepiece(path: Path) -> Vocabulary:
    """Raises BrokenCheckpoint if `path` is missing or is no SentencePiece model."""
    try:
        if not (proto := path.read_bytes()):
            raise ValueError("it is empty")
        model = sentencepiece.SentencePieceProcessor(model_proto=proto)
        ids = range(model.get_piece_size())
        without_pieces_from(proto, len(ids))  # raises for framing that we cannot cut
        pieces = [model.id_to_piece(i) for i in ids]
        byte_of = {i: int(pieces[i][3:5], 16) for i in ids if model.is_byte(i)}
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise BrokenCheckpoint(f"{path}: no usable SentencePiece model ({error})") from error
    return Vocabulary(
        pieces=pieces,
        silent=frozenset(i for i in ids if model.is_control(i) or model.is_unknown(i)),
        byte_of=byte_of,
        bos=model.bos_id(),
        eos=model.eos_id(),
        encoder=lambda first_dropped: _encoder(without_pieces_from(proto, first_dropped)),
    )


def _encoder(proto: bytes) -> Encoder:
    return sentencepiece.SentencePieceProcessor(model_proto=proto).encode
