"""What the embedded model learns from: a corpus, its tokenizer, and rows packed with examples.

An example is a window of one document, either as it is or cut like an infilling prompt.
"""

import io
import lzma
import multiprocessing
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from cl_engine.sp_model import with_pieces
from cl_engine.tokenizer import INFILL_PIECES, Tokenizer

VOCAB, CONTEXT = 8192, 4096
# Of a middle's token against any other: middles are a few percent of the tokens.
MIDDLE_WEIGHT = 5.0
# What str.splitlines splits at besides \n, which alone ends a line here.
ODD_LINE_ENDS = [c.encode() for c in "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"]

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def read_corpus(folder: Path) -> list[bytes]:
    """The documents of every corpus-*.bin.xz: UTF-8 texts, each followed by a NUL byte."""
    paths = sorted(folder.glob("corpus*.bin.xz"))
    # lzma lets go of the GIL, so threads unpack the files side by side and copy nothing.
    with ThreadPoolExecutor(max(1, len(paths))) as pool:
        texts = pool.map(lambda path: lzma.decompress(path.read_bytes()), paths)
    return [document for text in texts for document in text.split(b"\0") if document]


def train_tokenizer(corpus: Path, out: Path, sample_bytes: int) -> None:
    """Llama's kind of vocabulary: BPE, byte fallback, split digits, runs of spaces, infilling."""
    documents = read_corpus(corpus)
    random.Random(0).shuffle(documents)
    spaces = [" " * n for n in range(2, 17)]
    learnt = VOCAB - len(INFILL_PIECES) - len(spaces)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_sentences(documents, sample_bytes),
        model_writer=model,
        model_type="bpe",
        vocab_size=learnt,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=0.9999,
        required_chars="☺",
        max_sentencepiece_length=16,
        input_sentence_size=4_000_000,
        shuffle_input_sentence=True,
        num_threads=os.cpu_count(),
    )
    # Runs of spaces merge last (score -1e9), so that the last space stays with its word.
    added = [(run.replace(" ", "▁"), -1e9) for run in spaces]
    added += [(p, float(259 - learnt - len(spaces) - i)) for i, p in enumerate(INFILL_PIECES)]
    out.write_bytes(with_pieces(model.getvalue(), added))
    tokenizer = Tokenizer(out)
    assert tokenizer.size == VOCAB and tokenizer.infill is not None
    sample = b"".join(documents[:200]).decode()
    print(f"{out}: {len(sample) / len(tokenizer.encode(sample)):.2f} characters a token")


def _sentences(documents: list[bytes], sample_bytes: int) -> Iterator[str]:
    taken = 0
    for document in documents:
        # Tabs stay byte pieces, as in Llama's vocabulary.
        for line in document.decode().replace("\t", "\n").split("\n"):
            taken += len(line)
            if line.strip():
                yield line[:4000]
        if taken > sample_bytes:
            return


@dataclass
class Corpus:
    """Every line of every document, as text and as ids, in flat arrays shared by all workers."""

    text: bytes
    line_bytes: np.ndarray  # [lines + 1] offsets into text
    tokens: np.ndarray  # uint16, all lines one after the other, each encoded without a dummy space
    line_tokens: np.ndarray  # [lines + 1] offsets into tokens
    doc_lines: np.ndarray  # [documents + 1] offsets into lines

    def line(self, i: int) -> str:
        return self.text[self.line_bytes[i] : self.line_bytes[i + 1]].decode()

    def ids(self, first: int, last: int) -> np.ndarray:
        """Ids of lines first..last-1."""
        return self.tokens[self.line_tokens[first] : self.line_tokens[last]]


def encode_corpus(documents: list[bytes], tokenizer: Path, workers: int) -> Corpus:
    documents = [d for d in documents if not any(c in d for c in ODD_LINE_ENDS)]
    step = max(1, len(documents) // (workers * 8))
    chunks = [(tokenizer, documents[i : i + step]) for i in range(0, len(documents), step)]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        parts = pool.starmap(_encode_chunk, chunks, chunksize=1)
    return Corpus(
        text=b"".join(documents),
        line_bytes=_offsets(np.concatenate([p[2] for p in parts])),
        tokens=np.concatenate([p[0] for p in parts]),
        line_tokens=_offsets(np.concatenate([p[1] for p in parts])),
        doc_lines=_offsets(np.array([d.count(b"\n") + (not d.endswith(b"\n")) for d in documents])),
    )


def _encode_chunk(path: Path, documents: list[bytes]) -> Arrays:
    """The ids of all lines, and each line's number of ids and of bytes."""
    tokenizer = Tokenizer(path)
    tokens: list[int] = []
    lengths, sizes = [], []
    for document in documents:
        for line in document.decode().splitlines(keepends=True) or [""]:
            ids = tokenizer.encode_infilling(line)
            tokens += ids
            lengths.append(len(ids))
            sizes.append(len(line.encode()))
    return np.array(tokens, np.uint16), np.array(lengths, np.int64), np.array(sizes, np.int64)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _joined(*parts: object) -> np.ndarray:
    return np.concatenate([np.asarray(p, np.uint16).reshape(-1) for p in parts])


class Examples:
    """An endless stream of examples (ids, weights), each at most so many ids long, never split."""

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, seed: int):
        self.corpus, self.tokenizer = corpus, tokenizer
        self.rng = random.Random(seed)
        assert tokenizer.infill
        self.infill = tokenizer.infill
        self.doc_starts = corpus.line_tokens[corpus.doc_lines]

    def window(self, limit: int) -> tuple[int, int]:
        """Lines [first, last) of one document, of at most `limit` tokens; documents by size."""
        c, rng = self.corpus, self.rng
        while True:
            at = rng.randrange(len(c.tokens))
            doc = int(np.searchsorted(self.doc_starts, at, side="right")) - 1
            low, high = int(c.doc_lines[doc]), int(c.doc_lines[doc + 1])
            first = low
            if self.doc_starts[doc + 1] - self.doc_starts[doc] > limit and rng.random() < 0.7:
                first = int(np.searchsorted(c.line_tokens, at, side="right")) - 1
            end = (
                int(np.searchsorted(c.line_tokens, c.line_tokens[first] + limit, side="right")) - 1
            )
            last = min(high, end)
            if last - first >= 2:
                return first, last

    def cut(self, first: int, last: int) -> tuple[int, int, int, int] | None:
        """Where a middle begins and ends: (line, character, line, character), or None for none."""
        rng, line = self.rng, self.corpus.line
        kind = rng.random()
        if kind < 0.12:
            return None
        i = rng.randrange(first, last)
        text = line(i).rstrip("\n")
        begin = rng.randint(0, len(text))
        if kind < 0.57:  # the rest of the line, from a character inside its code
            code = len(text) - len(text.lstrip())
            if code >= len(text):
                return None
            begin = rng.randint(code, len(text) - 1)
            if kind > 0.50:  # or a part of it
                return i, begin, i, rng.randint(begin, len(text))
            return i, begin, i, len(text)
        if kind < 0.82:  # the next few lines
            j = min(last - 1, i + rng.choice((1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 10)))
            if rng.random() < 0.5:
                begin = len(text)
            return i, begin, j, len(line(j).rstrip("\n"))
        span = 3 if kind < 0.92 else last - first  # any two characters: Code Llama's own cut
        j = min(last - 1, i + rng.randrange(max(1, span)))
        end = rng.randint(begin if i == j else 0, len(line(j).rstrip("\n")))
        return i, begin, j, end

    def example(self, limit: int) -> tuple[np.ndarray, np.ndarray]:
        first, last = self.window(limit - 24)
        cut = self.cut(first, last)
        ids, middle = self.infilling(first, last, cut) if cut else (self.plain(first, last), 0)
        weights = np.ones(len(ids), np.float32)
        weights[len(ids) - middle :] = MIDDLE_WEIGHT
        return ids[:limit], weights[:limit]

    def plain(self, first: int, last: int) -> np.ndarray:
        ends_document = last in self.corpus.doc_lines
        end = [self.tokenizer.eos] if ends_document else []
        return _joined(self.tokenizer.bos, self.text_ids(first, last, ""), end)

    def infilling(
        self, first: int, last: int, cut: tuple[int, int, int, int]
    ) -> tuple[np.ndarray, int]:
        """A prompt and its middle, suffix first or prefix first; how many ids the middle has."""
        c, infill, encode = self.corpus, self.infill, self.tokenizer.encode_infilling
        i, begin, j, end = cut
        line_i, line_j = c.line(i), c.line(j)
        prefix = self.text_ids(first, i, line_i[:begin])
        suffix = _joined(encode(line_j[end:]), c.ids(j + 1, last))
        if self.rng.random() < 0.04:
            suffix = suffix[:0]
        start = _joined(self.tokenizer.bos, infill.prefix)
        if self.rng.random() < 0.5:
            whole = self.text_ids(first, j, line_j[:end])
            ids = _joined(start, infill.suffix, suffix, infill.middle, whole, infill.eot)
            # The token in which the prefix ends counts too: it may hold some of the middle.
            return ids, min(len(whole), max(0, len(whole) - len(prefix)) + 1) + 1
        if i == j:
            middle = encode(line_i[begin:end])
        else:
            middle = _joined(encode(line_i[begin:]), c.ids(i + 1, j), encode(line_j[:end]))
        ids = _joined(start, prefix, infill.suffix, suffix, infill.middle, middle, infill.eot)
        return ids, len(middle) + 1

    def text_ids(self, start: int, stop: int, tail: str) -> np.ndarray:
        """Lines [start, stop) and `tail`, with the dummy space in front."""
        c, tokenizer = self.corpus, self.tokenizer
        if start == stop:
            return _joined(tokenizer.encode(tail))
        head = tokenizer.encode(c.line(start))
        return _joined(head, c.ids(start + 1, stop), tokenizer.encode_infilling(tail))

    def rows(self, length: int) -> Iterator[Arrays]:
        """Packed rows: ids, the weight of the prediction at each, and its place in its example."""
        rng = self.rng
        while True:
            ids = np.zeros(length, np.int64)
            weights = np.zeros(length, np.float32)
            positions = np.arange(length, dtype=np.int64)
            at = 0
            while length - at >= 96:
                limit = min(length - at, rng.choice((256, 512, 512, 1024, 1024, 2048, CONTEXT)))
                e, w = self.example(limit)
                n = len(e)
                ids[at : at + n] = e
                weights[at : at + n - 1] = w[1:]
                positions[at : at + n] = np.arange(n)
                at += n
            positions[at:] = np.arange(length - at)
            yield ids, weights, positions


class Rows(torch.utils.data.IterableDataset):
    """`Examples.rows`, with another seed in each worker of a loader."""

    def __init__(self, corpus: Corpus, tokenizer: Path, length: int):
        self.corpus, self.tokenizer, self.length = corpus, tokenizer, length

    def __iter__(self) -> Iterator[Arrays]:
        info = torch.utils.data.get_worker_info()
        torch.set_num_threads(1)
        examples = Examples(self.corpus, Tokenizer(self.tokenizer), info.id if info else 0)
        return examples.rows(self.length)
