"""LlamaForCausalLM as a function of token ids and a KV cache; the weights are plain data."""

import math
from dataclasses import dataclass

import numpy
import torch

from cl_engine import ops
from cl_engine.config import LlamaConfig


@dataclass(frozen=True)
class Layer:
    attention_norm: torch.Tensor  # [dim]
    qkv: ops.Matrix  # [(heads + 2·kv_heads)·head_dim, dim]
    out: ops.Matrix  # [dim, heads·head_dim]
    ffn_norm: torch.Tensor  # [dim]
    gate_up: ops.Matrix  # [2·ffn, dim]
    down: ops.Matrix  # [dim, ffn]


@dataclass(frozen=True)
class Weights:
    embedding: ops.Matrix  # [vocab, dim]
    layers: list[Layer]
    norm: torch.Tensor  # [dim]
    head: ops.Matrix  # [vocab, dim]


@dataclass(frozen=True)
class Span:
    """What one sequence has in a step: `ids` at positions start.. on top of start cached tokens.

    Position p is kept in page `pages[p // page size]`. The logits of the last `rows` ids are asked
    for.
    """

    ids: list[int]
    start: int
    pages: list[int]
    rows: int

    @property
    def end(self) -> int:
        return self.start + len(self.ids)


class KVPool:
    """Keys and values of all sequences, in pages: [layers, kv_heads, pages · size, head_dim].

    Never written is zero, and behind the last page are more positions: attention reads past a
    sequence's end, and what it masks must be finite.
    """

    def __init__(
        self, config: LlamaConfig, pages: int, size: int, device: torch.device, dtype: torch.dtype
    ):
        self.pages, self.size = pages, size
        positions = pages * size + ops.padded(1, device)
        shape = (config.layers, config.kv_heads, positions, config.head_dim)
        self.keys, self.values = (_zeros(shape, device, dtype) for _ in range(2))

    def copy(self, source: int, destination: int, tokens: int) -> None:
        """The first `tokens` of one page to another."""
        a, b = source * self.size, destination * self.size
        for pool in (self.keys, self.values):
            pool[:, :, b : b + tokens] = pool[:, :, a : a + tokens]

    def runs(self, pages: list[int], start: int, end: int) -> list[slice]:
        """Where positions start..end-1 lie: consecutive pages make one slice."""
        found: list[slice] = []
        for p in range(start // self.size, -(-end // self.size)):
            first = pages[p] * self.size
            a = first + max(0, start - p * self.size)
            b = first + min(self.size, end - p * self.size)
            if found and found[-1].stop == a:
                found[-1] = slice(found[-1].start, b)
            else:
                found.append(slice(a, b))
        return found


def _zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """On a CPU zeros that take memory on first use: torch's own are written at once."""
    if device.type != "cpu":
        return torch.zeros(shape, device=device, dtype=dtype)
    untouched = numpy.zeros(math.prod(shape) * dtype.itemsize, numpy.uint8)
    return torch.from_numpy(untouched).view(dtype).view(shape)


def _read(pool: torch.Tensor, runs: list[slice], length: int) -> torch.Tensor:
    """[kv_heads, length, head_dim] of one layer, from the runs on: a view if there is but one."""
    if len(runs) == 1:
        return pool[:, runs[0].start : runs[0].start + length]
    rest = length - sum(run.stop - run.start for run in runs)
    return torch.cat(
        [*(pool[:, run] for run in runs), pool.new_zeros(len(pool), rest, pool.shape[-1])], 1
    )


def _write(pool: torch.Tensor, runs: list[slice], new: torch.Tensor) -> None:
    """`new` [tokens, kv_heads, head_dim] into one layer."""
    at = 0
    for run in runs:
        n = run.stop - run.start
        pool[:, run] = new[at : at + n].transpose(0, 1)
        at += n


class Llama:
    def __init__(self, config: LlamaConfig, weights: Weights):
        self.config, self.weights = config, weights
        self.device = weights.norm.device
        cos, sin = ops.rope_table(config.context, config.head_dim, config.rope_theta)
        self.cos, self.sin = cos.to(self.device), sin.to(self.device)

        dtype = weights.embedding.weight.dtype
        # Under int8 weights activations are bfloat16 too. Reading the cache is memory-bound: a step
        # of the embedded model at 2,300 tokens takes 6.6 ms with bfloat16 and 7.9 with float32.
        self.cache_dtype = dtype if dtype.is_floating_point else torch.bfloat16

    def new_pool(self, pages: int, size: int) -> KVPool:
        """On the model's device: float32 under float32 weights, else bfloat16."""
        return KVPool(self.config, pages, size, self.device, self.cache_dtype)

    @property
    def token_bytes(self) -> int:
        """Memory that the keys and values of a token take."""
        return self.config.kv_bytes(self.cache_dtype.itemsize)

    @property
    def weight_bytes(self) -> int:
        return self.config.weight_bytes(self.weights.embedding.weight.itemsize)

    @torch.inference_mode()
    def forward(self, spans: list[Span], pool: KVPool) -> torch.Tensor:
        """Run all spans at once and write their keys and values into the pool.

        Returns the logits [sum of rows, vocab] that they ask for, in their order: float32, on the
        model's device.
        """
        c, device = self.config, self.device
        ids = torch.tensor([i for span in spans for i in span.ids], device=device)
        n = len(ids)
        positions = [slice(span.start, span.end) for span in spans]
        cos = torch.cat([self.cos[at] for at in positions])  # [n, 1, head_dim]
        sin = torch.cat([self.sin[at] for at in positions])
        news = [pool.runs(span.pages, span.start, span.end) for span in spans]
        alls = [pool.runs(span.pages, 0, span.end) for span in spans]
        group = c.heads // c.kv_heads
        masks = [
            ops.causal_mask(len(span.ids), span.end, group, pool.keys.dtype, device)
            for span in spans
        ]
        lengths = [len(span.ids) for span in spans]

        def attend(keys: torch.Tensor, values: torch.Tensor, qkv: torch.Tensor) -> torch.Tensor:
            q, k, v = qkv.split([c.heads, c.kv_heads, c.kv_heads], 1)
            q, k = ops.rope(q, cos, sin), ops.rope(k, cos, sin)
            mixed: list[torch.Tensor] = []
            parts = zip(*(t.split(lengths) for t in (q, k, v)), news, alls, masks, strict=True)
            for own_q, own_k, own_v, new, whole, mask in parts:
                _write(keys, new, own_k)
                _write(values, new, own_v)
                length = mask.shape[1]
                cached = _read(keys, whole, length), _read(values, whole, length)
                mixed.append(ops.attention(own_q, *cached, mask))
            return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

        x = self.weights.embedding.rows(ids)  # [n, dim]
        for i, layer in enumerate(self.weights.layers):
            h = ops.rms_norm(x, layer.attention_norm, c.norm_eps)
            qkv = ops.linear(h, layer.qkv).view(n, -1, c.head_dim)
            x = x + ops.linear(attend(pool.keys[i], pool.values[i], qkv), layer.out)
            h = ops.rms_norm(x, layer.ffn_norm, c.norm_eps)
            x = x + ops.linear(ops.silu_mul(ops.linear(h, layer.gate_up)), layer.down)
        ends = [
            own[len(own) - span.rows :] for own, span in zip(x.split(lengths), spans, strict=True)
        ]
        last = ops.rms_norm(torch.cat(ends), self.weights.norm, c.norm_eps)
        return ops.linear(last, self.weights.head) if len(last) else last.new_empty(0, c.vocab)
