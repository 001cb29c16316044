"""LlamaForCausalLM as a function of token ids and a KV cache; the weights are plain data."""

from dataclasses import dataclass

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


class KVCache:
    """Keys and values of one sequence: [layers, kv_heads, context, head_dim]."""

    def __init__(
        self,
        config: LlamaConfig,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        shape = (config.layers, config.kv_heads, config.context, config.head_dim)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)


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

    def new_cache(self) -> KVCache:
        """On the model's device: float32 under float32 weights, else bfloat16."""
        return KVCache(self.config, self.device, self.cache_dtype)

    @property
    def cache_bytes(self) -> int:
        """Memory that a new cache takes."""
        c = self.config
        return 2 * c.layers * c.kv_heads * c.context * c.head_dim * self.cache_dtype.itemsize

    @torch.inference_mode()
    def forward(self, ids: list[int], start: int, kv: KVCache, rows: int) -> torch.Tensor:
        """Run `ids` at positions start.. on top of kv[:start], and write their keys and values.

        Returns the logits [rows, vocab] of the last `rows` ids (none for 0): float32, on the
        model's device.
        """
        c, n, end = self.config, len(ids), start + len(ids)
        cos, sin = self.cos[start:end], self.sin[start:end]
        x = self.weights.embedding.rows(torch.tensor(ids, device=self.device))  # [n, dim]
        for i, layer in enumerate(self.weights.layers):
            h = ops.rms_norm(x, layer.attention_norm, c.norm_eps)
            qkv = ops.linear(h, layer.qkv).view(n, -1, c.head_dim)
            q, k, v = qkv.split([c.heads, c.kv_heads, c.kv_heads], 1)
            kv.keys[i, :, start:end] = ops.rope(k, cos, sin).transpose(0, 1)
            kv.values[i, :, start:end] = v.transpose(0, 1)
            mixed = ops.attention(
                ops.rope(q, cos, sin), kv.keys[i, :, :end], kv.values[i, :, :end], start
            )
            x = x + ops.linear(mixed, layer.out)
            h = ops.rms_norm(x, layer.ffn_norm, c.norm_eps)
            x = x + ops.linear(ops.silu_mul(ops.linear(h, layer.gate_up)), layer.down)
        last = ops.rms_norm(x[n - rows :], self.weights.norm, c.norm_eps)
        return ops.linear(last, self.weights.head) if rows else last.new_empty(0, c.vocab)
