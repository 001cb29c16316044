"""A model with the KV cache of one sequence, for tests that step by hand."""

import random

import torch
from cl_engine.models.llama import Llama, Span

PAGE = 16


class Cached:
    """Its pages lie in random order, and what nobody has written is noise."""

    def __init__(self, llama: Llama, seed: int = 0):
        self.llama, count = llama, -(-llama.config.context // PAGE)
        self.pool = llama.new_pool(count, PAGE)
        self.pool.keys.normal_(std=30)
        self.pool.values.normal_(std=30)
        self.pages = list(range(count))
        random.Random(seed).shuffle(self.pages)

    def run(self, ids: list[int], start: int = 0, rows: int | None = None) -> torch.Tensor:
        """The logits [rows, vocab] of the last `rows` of `ids`; of all, if nothing is said."""
        span = Span(ids, start, self.pages, len(ids) if rows is None else rows)
        return self.llama.forward([span], self.pool)
