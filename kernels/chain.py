"""A whole decode step of random weights, for kernels/bench.py: ours, and torch as the peer."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from cl_kernels.embed import embed
from cl_kernels.norm_gate_up_silu import norm_gate_up_silu
from cl_kernels.norm_lm_head import norm_lm_head
from cl_kernels.norm_qkv_rope_append import Places, norm_qkv_rope_append
from cl_kernels.paged_attention import Sequences, new_scratch, paged_attention
from cl_kernels.project_residual import project_residual
from cl_kernels.sample import Choices, sample
from cl_kernels.stream import new_stream

from tests.ops.cases import EPS, Maker, Shape

PAGE = 16


@dataclass(frozen=True)
class Model:
    table: torch.Tensor
    layers: list[dict[str, torch.Tensor]]
    gamma: torch.Tensor
    head: torch.Tensor

    @property
    def read_bytes(self) -> int:
        """Of a step: all but the embedding's table."""
        tensors = [self.head, self.gamma, *(t for layer in self.layers for t in layer.values())]
        return sum(t.nbytes for t in tensors)


def new_model(make: Maker, s: Shape, layers: int) -> Model:
    def layer() -> dict[str, torch.Tensor]:
        return {
            "attention_norm": make.gamma(s.dim),
            "qkv": make.weight((s.heads + 2 * s.kv_heads) * s.head_dim, s.dim),
            "out": make.weight(s.dim, s.heads * s.head_dim),
            "ffn_norm": make.gamma(s.dim),
            "gate_up": make.weight(2 * s.ffn, s.dim),
            "down": make.weight(s.dim, s.ffn),
        }

    return Model(
        make.normal(s.vocab, s.dim),
        [layer() for _ in range(layers)],
        make.gamma(s.dim),
        make.weight(s.vocab, s.dim),
    )


class Step:
    """`counts` new rows for sequences that then have `lengths` positions, at fixed places."""

    def __init__(self, make: Maker, s: Shape, model: Model, lengths: list[int], counts: list[int]):
        self.shape, self.model, self.lengths, self.counts = s, model, lengths, counts
        rows, device = sum(counts), make.device
        per = -(-max(lengths) // PAGE)
        pages = len(lengths) * per
        pool = (len(model.layers), s.kv_heads, pages * PAGE, s.head_dim)
        self.keys, self.values = make.normal(*pool), make.normal(*pool)
        table = torch.randperm(pages, generator=make.generator, device=device).int()
        table = table.view(len(lengths), per)
        first = torch.tensor([0, *counts], device=device).cumsum(0).int()
        ends = torch.tensor(lengths, device=device).int()
        self.sequences = Sequences(table, ends, first, PAGE, max(counts))
        places = [
            (p, int(table[i, p // PAGE]) * PAGE + p % PAGE)
            for i, (length, count) in enumerate(zip(lengths, counts, strict=True))
            for p in range(length - count, length)
        ]
        positions, slots = (torch.tensor(t, device=device) for t in zip(*places, strict=True))
        self.places = Places(positions.int(), slots.long())
        self.scratch = new_scratch(
            len(lengths), max(counts), s.heads, s.kv_heads, s.head_dim, device
        )
        self.cos, self.sin = make.rope(max(lengths) + 1, s.head_dim)
        self.ids = make.ints(0, s.vocab, rows)
        self.stream = new_stream(rows, s.dim, (s.heads * s.head_dim, s.ffn), device, make.dtype)
        self.q, self.mixed = (make.nan(rows, s.heads, s.head_dim) for _ in range(2))
        self.wide = make.nan(rows, s.ffn)
        self.logits = make.nan(rows, s.vocab, dtype=torch.float32)
        self.chosen = torch.zeros(rows, device=device, dtype=torch.int64)
        z = torch.zeros(rows, device=device)
        self.choices = Choices(
            z,
            z.int(),
            z + 1,
            z,
            z.long(),
            positions.int(),
            z.int(),
            torch.zeros(rows, -(-s.vocab // 32), device=device).int(),
        )

    @property
    def read_bytes(self) -> int:
        kv = 2 * self.keys[:, :, : sum(self.lengths)].nbytes
        return self.model.read_bytes + kv

    def run(self) -> None:
        m, stream = self.model, self.stream

        embed(self.ids, m.table, m.layers[0]["attention_norm"], stream)
        for i, layer in enumerate(m.layers):
            keys, values = self.keys[i], self.values[i]
            norm_qkv_rope_append(
                stream, layer["qkv"], self.cos, self.sin, self.places, EPS, self.q, keys, values
            )
            paged_attention(self.q, keys, values, self.sequences, self.scratch, self.mixed)
            project_residual(
                self.mixed.view(stream.rows, -1), layer["out"], layer["ffn_norm"], stream
            )
            norm_gate_up_silu(stream, layer["gate_up"], EPS, self.wide)
            last = i + 1 == len(m.layers)
            after = m.gamma if last else m.layers[i + 1]["attention_norm"]
            project_residual(self.wide, layer["down"], after, stream)
        norm_lm_head(stream, m.head, EPS, self.logits)
        sample(self.logits, self.choices, self.chosen)

    def gather(self) -> None:
        """The cache in one piece per sequence, as the peer wants it; not in its time."""
        self.whole = []
        for i, length in enumerate(self.lengths):
            at = torch.arange(length, device=self.keys.device)
            slots = self.sequences.pages[i].long()[at // PAGE] * PAGE + at % PAGE
            self.whole.append((self.keys[:, :, slots], self.values[:, :, slots]))

    def run_peer(self) -> None:
        self.run_torch(torch.bfloat16)

    def run_torch(self, dtype: torch.dtype) -> torch.Tensor:
        """Logits; in float32 the reference, in bfloat16 the peer. Its cache is contiguous."""
        m, s = self.model, self.shape
        rows, half = sum(self.counts), s.head_dim // 2
        x = m.table[self.ids].float()
        at = self.places.positions.long()
        c, r = self.cos[at, None, :half], self.sin[at, None, :half]

        def linear(h: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            return F.linear(h.to(dtype), w.to(dtype)).float()

        for i, layer in enumerate(m.layers):
            h = F.rms_norm(x, (s.dim,), layer["attention_norm"].float(), EPS)
            qkv = linear(h, layer["qkv"]).view(rows, -1, s.head_dim)
            a, b = qkv[:, : s.heads + s.kv_heads].chunk(2, 2)
            turned = torch.cat((a * c - b * r, b * c + a * r), 2).to(dtype)
            new_k, new_v = turned[:, s.heads :], qkv[:, s.heads + s.kv_heads :].to(dtype)
            mixed = []
            first = 0
            for (keys, values), length, n in zip(
                self.whole, self.lengths, self.counts, strict=True
            ):
                own = slice(first, first + n)
                first += n
                k, v = keys[i], values[i]
                k[:, length - n :] = new_k[own].transpose(0, 1)
                v[:, length - n :] = new_v[own].transpose(0, 1)
                q = turned[own, : s.heads].transpose(0, 1)[None]
                seen = None
                if n > 1:
                    seen = torch.ones(n, length, device=x.device, dtype=torch.bool)
                    seen = seen.tril(length - n)
                out = F.scaled_dot_product_attention(
                    q,
                    k[None].to(dtype),
                    v[None].to(dtype),
                    attn_mask=seen,
                    enable_gqa=s.heads != s.kv_heads,
                )
                mixed.append(out[0].transpose(0, 1).reshape(n, -1))
            x = x + linear(torch.cat(mixed), layer["out"])
            h = F.rms_norm(x, (s.dim,), layer["ffn_norm"].float(), EPS)
            gate, up = linear(h, layer["gate_up"]).chunk(2, 1)
            x = x + linear(F.silu(gate) * up, layer["down"])
        return linear(F.rms_norm(x, (s.dim,), m.gamma.float(), EPS), m.head)
