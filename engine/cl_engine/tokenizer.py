"""Code Llama's tokenizer: text to ids by Meta's rules, ids to bytes without loss.

File text never becomes a control token: text is encoded as if the control pieces were absent. What
a prompt is made of is `prompt.py`'s business. Source: facebookresearch/codellama
`llama/tokenizer.py`.
"""

import bisect
import codecs
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path

from .errors import BrokenCheckpoint
from .tokenizer_json import read_tokenizer_json
from .vocabulary import read_sentencepiece

# A piece that never merges to its right, so that what follows it is encoded without a dummy space.
ANCHOR = "☺"
# The last 16 pieces in id order: seven merge steps, four controls, `▁<EOT>` + n × `<EOT>`.
MERGE_STEPS = ("▁<SU", "▁<SUF", "▁<PRE", "▁<M", "▁<MID", "▁<E", "▁<EOT")
CONTROLS = ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>")
TAIL = tuple("▁<EOT>" + "<EOT>" * n for n in range(1, 6))
INFILL_PIECES = MERGE_STEPS + CONTROLS + TAIL
# Lines whose ids are kept, and the length (in characters) from which a line is not kept; and of
# whole lines, as they stand above or below the one that is typed into.
KNOWN_LINES, LONG_LINE, KNOWN_TEXTS = 20_000, 500, 32
# Ends a message in 70B-Instruct's chats; it took the place of the last of those 16.
STEP = "<step>"


@dataclass(frozen=True)
class InfillIds:
    """Ids of the four control pieces of a vocabulary that can infill."""

    prefix: int
    suffix: int
    middle: int
    eot: int


class Tokenizer:
    """One vocabulary. Thread-safe: after construction only its memory of texts changes.

    `infill` and `step` are None if the vocabulary lacks those pieces. Ids from `first_control` on
    (`size`, if there are none) never come out of text and stand for none.
    """

    def __init__(self, path: Path):
        """`path`: a `tokenizer.model`, or a `tokenizer.json` converted from one.

        Raises BrokenCheckpoint if it is missing or anything else.
        """
        read = read_tokenizer_json if path.suffix == ".json" else read_sentencepiece
        self._vocabulary = read(path)
        ids = {piece: i for i, piece in enumerate(self._vocabulary.pieces)}
        controls = [ids[piece] for piece in CONTROLS if piece in ids]
        self.infill = InfillIds(*controls) if len(controls) == len(CONTROLS) else None
        step = ids.get(STEP, -1)
        self.step = step if step >= self.size - len(INFILL_PIECES) else None
        # They are the last ids, so nothing else moves when text is encoded without them.
        found = (controls if self.infill else []) + ([] if self.step is None else [self.step])
        self.first_control = min(found, default=self.size)
        self._encode = self._vocabulary.encoder(self.first_control)
        self._anchor_len = len(self._encode(ANCHOR))
        # A line's end is a byte piece, and no piece crosses it: lines can be encoded apart.
        (self._newline, *more) = self._encode_anchored("\n")
        crossing = any("\n" in piece for piece in self._vocabulary.pieces)
        self._lines_part = self.is_byte(self._newline) and not more and not crossing
        self._known_line = lru_cache(KNOWN_LINES)(self._encode_anchored)
        self._known_text = lru_cache(KNOWN_TEXTS)(self._encode_whole_lines)

    @classmethod
    def open(cls, folder: Path) -> "Tokenizer":
        """The tokenizer of a checkpoint's directory: SentencePiece's own file before a converted.

        Raises BrokenCheckpoint if there is neither, or if the one there is unusable.
        """
        for name in ("tokenizer.model", "tokenizer.json"):
            if (folder / name).is_file():
                return cls(folder / name)
        raise BrokenCheckpoint(f"{folder}: no tokenizer.model or tokenizer.json")

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self._vocabulary.pieces)

    @property
    def bos(self) -> int:
        return self._vocabulary.bos

    @property
    def eos(self) -> int:
        return self._vocabulary.eos

    @cached_property
    def stop_ids(self) -> dict[int, str]:
        """Ids that end any text, each with the name of its reason.

        EOS, `▁<EOT>` after an infilling, `<step>` in a chat with 70B-Instruct (Meta's
        `generate(stop_token=…)`); no other control id can be shown, so each of them ends it too.
        """
        stops = dict.fromkeys(range(self.first_control, self.size), "control")
        stops[self.eos] = "eos"
        if self.infill is not None:
            stops[self.infill.eot] = "eot"
        if self.step is not None:
            stops[self.step] = "step"
        return stops

    def encode(self, text: str) -> list[int]:
        """Ids of `text` with SentencePiece's dummy leading space and without BOS; `""`: `[]`."""
        first, newline, rest = _clean(text).partition("\n")
        if not self._lines_part:
            return self._encode(first + newline + rest)
        return self._encode(first + newline) + self._encode_lines(rest)

    def encode_infilling(self, text: str) -> list[int]:
        """Ids of `text` without the dummy leading space (Meta's `encode_infilling`)."""
        text = _clean(text)
        return self._encode_lines(text) if self._lines_part else self._encode_anchored(text)

    def _encode_lines(self, text: str) -> list[int]:
        """Each line by itself: a key changes one line, and the others' ids are known."""
        above, newline, last = text.rpartition("\n")
        return [*(self._known_text(above) if newline else ()), *self._encode_line(last)]

    def _encode_whole_lines(self, text: str) -> list[int]:
        ids: list[int] = []
        for line in text.split("\n"):
            ids += self._encode_line(line)
            ids.append(self._newline)
        return ids

    def _encode_line(self, line: str) -> list[int]:
        return self._known_line(line) if len(line) < LONG_LINE else self._encode_anchored(line)

    def _encode_anchored(self, text: str) -> list[int]:
        return self._encode(ANCHOR + text)[self._anchor_len :]

    @cached_property
    def piece_bytes(self) -> list[bytes]:
        """The UTF-8 bytes that each id stands for; `b""` for control ids."""
        return [self._bytes_of(i) for i in range(self.size)]

    def _bytes_of(self, token: int) -> bytes:
        vocabulary = self._vocabulary
        if token in vocabulary.silent or token >= self.first_control:
            return b""
        if (byte := vocabulary.byte_of.get(token)) is not None:
            return bytes([byte])
        return vocabulary.pieces[token].replace("▁", " ").encode()

    def is_byte(self, token: int) -> bool:
        """Whether `token` is a byte piece: those never merge with what follows."""
        return token in self._vocabulary.byte_of

    def to_bytes(self, ids: list[int]) -> bytes:
        """The bytes of `ids`, the dummy leading space included."""
        return b"".join(self.piece_bytes[i] for i in ids)

    def render(self, ids: list[int]) -> str:
        """`ids` for a reader: text as it is, dummy spaces too, and control ids by their pieces."""
        text = ""
        for shown, run in groupby(ids, key=lambda i: bool(self.piece_bytes[i])):
            if shown:
                text += self.to_bytes(list(run)).decode(errors="replace")
            else:
                text += "".join(self._vocabulary.pieces[i] for i in run)
        return text

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
