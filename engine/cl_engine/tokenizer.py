"""Code Llama's SentencePiece tokenizer: text to ids by Meta's rules, ids to bytes without loss.

File text never becomes a control token: text is encoded as if the control pieces were absent. What
a prompt is made of is `prompt.py`'s business. Source: facebookresearch/codellama
`llama/tokenizer.py`.
"""

import bisect
import codecs
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sentencepiece

from .errors import BrokenCheckpoint
from .sp_model import without_pieces_from

# A piece that never merges to its right, so that what follows it is encoded without a dummy space.
ANCHOR = "☺"
# The last 16 pieces in id order: seven merge steps, four controls, `▁<EOT>` + n × `<EOT>`.
MERGE_STEPS = ("▁<SU", "▁<SUF", "▁<PRE", "▁<M", "▁<MID", "▁<E", "▁<EOT")
CONTROLS = ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>")
TAIL = tuple("▁<EOT>" + "<EOT>" * n for n in range(1, 6))
INFILL_PIECES = MERGE_STEPS + CONTROLS + TAIL


@dataclass(frozen=True)
class InfillIds:
    """Ids of the four control pieces of a vocabulary that can infill."""

    prefix: int
    suffix: int
    middle: int
    eot: int


class Tokenizer:
    """One `tokenizer.model`. Thread-safe: all state is read-only after construction."""

    def __init__(self, path: Path):
        """Raises BrokenCheckpoint if `path` is missing or is no SentencePiece model."""
        try:
            proto = path.read_bytes()
            self._full = sentencepiece.SentencePieceProcessor(model_proto=proto)
            self.infill = self._find_infill()
            # Encode with the control pieces cut off: they are the last ids, so nothing else moves.
            text_proto = (
                proto if self.infill is None else without_pieces_from(proto, self.infill.prefix)
            )
            self._text = sentencepiece.SentencePieceProcessor(model_proto=text_proto)
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise BrokenCheckpoint(f"{path}: no usable SentencePiece model ({error})") from error
        self._anchor_len = len(self._text.encode(ANCHOR))

    @property
    def size(self) -> int:
        """Number of ids."""
        return self._full.get_piece_size()

    @property
    def bos(self) -> int:
        return self._full.bos_id()

    @property
    def eos(self) -> int:
        return self._full.eos_id()

    def _find_infill(self) -> InfillIds | None:
        ids = [self._full.piece_to_id(piece) for piece in CONTROLS]
        if any(self._full.id_to_piece(i) != p for i, p in zip(ids, CONTROLS, strict=True)):
            return None
        return InfillIds(*ids)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` with SentencePiece's dummy leading space; `""` gives `[]`."""
        return self._text.encode(_clean(text))

    def encode_infilling(self, text: str) -> list[int]:
        """Ids of `text` without the dummy leading space (Meta's `encode_infilling`)."""
        return self._text.encode(ANCHOR + _clean(text))[self._anchor_len :]

    @cached_property
    def piece_bytes(self) -> list[bytes]:
        """The UTF-8 bytes that each id stands for; `b""` for control ids."""
        return [self._bytes_of(i) for i in range(self.size)]

    def _bytes_of(self, token: int) -> bytes:
        sp = self._full
        if sp.is_control(token) or sp.is_unknown(token):
            return b""
        if self.infill and token >= self.infill.prefix:
            return b""
        piece = sp.id_to_piece(token)
        if sp.is_byte(token):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("▁", " ").encode()

    def is_byte(self, token: int) -> bool:
        """Whether `token` is a byte piece: those never merge with what follows."""
        return self._full.is_byte(token)

    def to_bytes(self, ids: list[int]) -> bytes:
        """The bytes of `ids`, the dummy leading space included."""
        return b"".join(self.piece_bytes[i] for i in ids)

    @cached_property
    def _by_bytes(self) -> tuple[list[bytes], list[int]]:
        pairs = sorted((b, i) for i, b in enumerate(self.piece_bytes) if b)
        return [b for b, _ in pairs], [i for _, i in pairs]

    def continuations(self, required: bytes) -> list[int]:
        """Ids whose bytes begin with `required` (not empty), or are a beginning of it."""
        keys, ids = self._by_bytes
        first = bisect.bisect_left(keys, required)
        last = first
        while last < len(keys) and keys[last].startswith(required):
            last += 1
        found = ids[first:last]
        for n in range(1, len(required)):
            at = bisect.bisect_left(keys, required[:n])
            while at < len(keys) and keys[at] == required[:n]:
                found.append(ids[at])
                at += 1
        return found


class StreamDecoder:
    """Bytes to text as they come: a character cut by a token boundary waits for its rest."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes, final: bool = False) -> str:
        return self._decoder.decode(data, final)


def _clean(text: str) -> str:
    """`text` with lone surrogates, which UTF-8 cannot hold, as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
