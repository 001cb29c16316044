"""The model in our kernels: up to 16 rows as a chain of launches with no library in it, any
number of rows with cuBLAS' products between kernels.

Nothing here allocates when it runs, nothing waits for the device, and nothing depends on values:
what differs from step to step is read from `Inputs`, so that CUDA graphs can be made of it.
"""

from dataclasses import dataclass, replace

import torch
from cl_kernels.add_norm import add_norm, embed_norm
from cl_kernels.embed import embed
from cl_kernels.norm_gate_up_silu import norm_gate_up_silu
from cl_kernels.norm_lm_head import norm_lm_head
from cl_kernels.norm_qkv_rope_append import Places, norm_qkv_rope_append
from cl_kernels.paged_attention import Sequences, new_scratch, paged_attention
from cl_kernels.prefill_attention import prefill_attention
from cl_kernels.project_residual import project_residual
from cl_kernels.rope_append import rope_append
from cl_kernels.sample import Choices, sample
from cl_kernels.silu_mul import silu_mul
from cl_kernels.stream import Stream, new_stream

from .llama import KVPool, Llama


@dataclass(frozen=True)
class Inputs:
    """A step, on the device."""

    ids: torch.Tensor  # [rows], int64
    places: Places
    sequences: Sequences
    runs: torch.Tensor  # [sequences], and blocks [n, 2], int32: see `prefill_attention`
    blocks: torch.Tensor

    def of(self, rows: int, sequences: int, most: int, blocks: int = 0) -> "Inputs":
        """Its first rows and sequences, of which each has at most so many rows."""
        s, p = self.sequences, self.places
        return Inputs(
            self.ids[:rows],
            Places(p.positions[:rows], p.slots[:rows]),
            replace(
                s,
                pages=s.pages[:sequences],
                lengths=s.lengths[:sequences],
                first=s.first[: sequences + 1],
                most=most,
            ),
            self.runs[:sequences],
            self.blocks[:blocks],
        )


class Fused:
    """What all steps of a model share. `rows` is the most that a step has."""

    def __init__(self, llama: Llama, pool: KVPool, rows: int):
        self.llama, self.pool = llama, pool
        c, dtype, device = llama.config, llama.cache_dtype, llama.device
        self.cos, self.sin = llama.cos[:, 0], llama.sin[:, 0]  # [context, head_dim]
        width = (c.heads + 2 * c.kv_heads) * c.head_dim

        def buffer(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
            return torch.zeros(shape, device=device, dtype=dtype)

        self.x = buffer(rows, c.dim, dtype=torch.float32)
        self.h, self.delta = buffer(rows, c.dim), buffer(rows, c.dim)
        self.qkv, self.mixed = buffer(rows, width), buffer(rows, c.heads * c.head_dim)
        self.gate_up, self.wide = buffer(rows, 2 * c.ffn), buffer(rows, c.ffn)

    def stream(self, rows: int) -> Stream:
        c = self.llama.config
        widths = (c.heads * c.head_dim, c.ffn)
        return new_stream(rows, c.dim, widths, self.llama.device, self.llama.cache_dtype)

    def many(self, step: Inputs) -> None:
        """`x` [rows, dim] is behind the last layer then."""
        c, w, n = self.llama.config, self.llama.weights, len(step.ids)
        x, h, delta, qkv = self.x[:n], self.h[:n], self.delta[:n], self.qkv[:n]
        mixed, gate_up, wide = self.mixed[:n], self.gate_up[:n], self.wide[:n]
        heads = qkv.view(n, -1, c.head_dim)
        out = mixed.view(n, c.heads, c.head_dim)
        embed_norm(step.ids, w.embedding.weight, w.layers[0].attention_norm, c.norm_eps, x, h)
        for i, layer in enumerate(w.layers):
            keys, values = self.pool.keys[i], self.pool.values[i]
            torch.mm(h, layer.qkv.weight.T, out=qkv)
            rope_append(heads, self.cos, self.sin, step.places, c.heads, keys, values)
            q = heads[:, : c.heads]
            prefill_attention(q, keys, values, step.sequences, step.runs, step.blocks, out)
            torch.mm(mixed, layer.out.weight.T, out=delta)
            add_norm(delta, layer.ffn_norm, c.norm_eps, x, h)
            torch.mm(h, layer.gate_up.weight.T, out=gate_up)
            silu_mul(gate_up, wide)
            torch.mm(wide, layer.down.weight.T, out=delta)
            after = w.layers[i + 1].attention_norm if i + 1 < c.layers else w.norm
            add_norm(delta, after, c.norm_eps, x, h)


class Head:
    """Logits of up to 16 rows, and their tokens."""

    def __init__(self, fused: Fused, stream: Stream, choices: Choices):
        self._fused, self._stream, self._choices = fused, stream, choices
        llama = fused.llama
        self.logits = torch.zeros(stream.rows, llama.config.vocab, device=llama.device)
        self.chosen = torch.zeros(stream.rows, device=llama.device, dtype=torch.int64)

    def launch(self) -> None:
        """From the stream, on which the last norm's gamma lies already."""
        llama = self._fused.llama
        norm_lm_head(self._stream, llama.weights.head.weight, llama.config.norm_eps, self.logits)
        sample(self.logits, self._choices, self.chosen)

    def launch_for(self, rows: torch.Tensor) -> None:
        """From the `rows` [≤ 16], int64, of what `Fused.many` has computed."""
        embed(rows, self._fused.x, self._fused.llama.weights.norm, self._stream)
        self.launch()


class Few:
    """A step of up to 16 rows; all of it is in `launch`, which depends on no value."""

    def __init__(self, fused: Fused, step: Inputs, choices: Choices):
        self._fused, self._step = fused, step
        c, device, rows = fused.llama.config, fused.llama.device, len(step.ids)
        n, most = len(step.sequences.lengths), step.sequences.most
        self._stream = fused.stream(rows)
        self._scratch = new_scratch(n, most, c.heads, c.kv_heads, c.head_dim, device)
        self.head = Head(fused, self._stream, choices)

    def launch(self) -> None:
        fused, stream, step = self._fused, self._stream, self._step
        c, w, n = fused.llama.config, fused.llama.weights, len(step.ids)
        q = fused.qkv.view(-1)[: n * c.heads * c.head_dim].view(n, c.heads, c.head_dim)
        mixed, wide = fused.mixed[:n], fused.wide[:n]
        embed(step.ids, w.embedding.weight, w.layers[0].attention_norm, stream)
        for i, layer in enumerate(w.layers):
            keys, values = fused.pool.keys[i], fused.pool.values[i]
            norm_qkv_rope_append(
                stream,
                layer.qkv.weight,
                fused.cos,
                fused.sin,
                step.places,
                c.norm_eps,
                q,
                keys,
                values,
            )
            out = mixed.view(n, c.heads, c.head_dim)
            paged_attention(q, keys, values, step.sequences, self._scratch, out)
            project_residual(mixed, layer.out.weight, layer.ffn_norm, stream)
            norm_gate_up_silu(stream, layer.gate_up.weight, c.norm_eps, wide)
            after = w.layers[i + 1].attention_norm if i + 1 < c.layers else w.norm
            project_residual(wide, layer.down.weight, after, stream)
        self.head.launch()
