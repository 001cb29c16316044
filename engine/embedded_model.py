"""The embedded model in training: a small Llama over packed examples, and its optimiser."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from embedded_data import VOCAB
from torch import Tensor

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch 2.9; only a GPU needs it
    varlen_attn = None

HEAD_DIM = 64
ROPE_THETA, NORM_EPS = 1e6, 1e-5
EXAMPLES_PER_ROW = 16  # room for them; five or six are usual

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama: `heads` query heads share `kv_heads` keys and values."""

    dim: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int


SHAPES = {
    # 23.6 M parameters: an H200 for 19 minutes.
    "full": Shape(dim=512, layers=8, heads=8, kv_heads=2, ffn=1152),
    # 5.0 M parameters: two CPU cores for 80 minutes.
    "small": Shape(dim=256, layers=4, heads=4, kv_heads=2, ffn=704),
}


class Block(torch.nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        dim, kv, ffn = shape.dim, shape.kv_heads * HEAD_DIM, shape.ffn

        def matrix(rows: int, columns: int, scale: float = 1) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.randn(rows, columns) * columns**-0.5 * scale)

        self.norms = torch.nn.Parameter(torch.ones(2, dim))
        self.q, self.k, self.v = matrix(dim, dim), matrix(kv, dim), matrix(kv, dim)
        self.o = matrix(dim, dim, 0.3)
        self.gate, self.up, self.down = matrix(ffn, dim), matrix(ffn, dim), matrix(dim, ffn, 0.3)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """[tokens, dim] to the same."""
        s = self.shape
        h = F.rms_norm(x, (s.dim,), self.norms[0], NORM_EPS)
        q = rotate(F.linear(h, self.q).view(-1, s.heads, HEAD_DIM), cos, sin)
        k = rotate(F.linear(h, self.k).view(-1, s.kv_heads, HEAD_DIM), cos, sin)
        v = F.linear(h, self.v).view(-1, s.kv_heads, HEAD_DIM)
        shared = s.heads // s.kv_heads
        k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
        x = x + F.linear(attend(q, k, v).reshape(-1, s.dim), self.o)
        h = F.rms_norm(x, (s.dim,), self.norms[1], NORM_EPS)
        return x + F.linear(F.silu(F.linear(h, self.gate)) * F.linear(h, self.up), self.down)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Half-split rotary, as in Hugging Face's Llama."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Model(torch.nn.Module):
    inverse: Tensor

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.embedding = torch.nn.Parameter(torch.randn(VOCAB, shape.dim) * 0.02)
        self.norm = torch.nn.Parameter(torch.ones(shape.dim))
        self.blocks = torch.nn.ModuleList(Block(shape) for _ in range(shape.layers))
        inverse = ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2, dtype=torch.float64) / HEAD_DIM)
        self.register_buffer("inverse", inverse.float(), persistent=False)

    def forward(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """[tokens] to logits [tokens, VOCAB]."""
        angles = positions.float()[:, None, None] * self.inverse
        cos, sin = angles.cos(), angles.sin()
        x = F.embedding(ids, self.embedding)
        for block in self.blocks:
            x = block(x, cos, sin, attend)
        return F.linear(F.rms_norm(x, (self.shape.dim,), self.norm, NORM_EPS), self.embedding)

    def state(self, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
        """Parameters under Hugging Face's names; in float32 they share the model's storage."""
        out: dict[str, Tensor] = {
            "model.embed_tokens.weight": self.embedding,
            "model.norm.weight": self.norm,
        }
        for i, block in enumerate(self.blocks.children()):
            layer, matrices = f"model.layers.{i}", dict(block.named_parameters())
            before, after = matrices.pop("norms")
            out[f"{layer}.input_layernorm.weight"] = before
            out[f"{layer}.post_attention_layernorm.weight"] = after
            for name, matrix in matrices.items():
                part = "self_attn" if name in ("q", "k", "v", "o") else "mlp"
                out[f"{layer}.{part}.{name}_proj.weight"] = matrix
        return {k: v.detach().to(dtype).contiguous() for k, v in out.items()}


def example_bounds(positions: Tensor, length: int) -> Tensor:
    """Where the examples of packed rows begin, and the end: int32, [examples + 1].

    `positions` [tokens] are those in the examples. The result has a fixed length for the compiler:
    empty examples fill it up.
    """
    most = len(positions) // length * EXAMPLES_PER_ROW
    starts = (positions == 0).nonzero().view(-1)
    if len(starts) > most:
        # Whole rows then, whose examples see those before them; merging those past `most` would
        # give the kernel more than the `length` tokens it is told of, and it skips the rest.
        starts = torch.arange(0, len(positions), length)
    bounds = torch.full((most + 1,), len(positions), dtype=torch.int32)
    bounds[: len(starts)] = starts
    return bounds


def attention(bounds: Tensor | None, length: int) -> Attend:
    """Causal attention inside each example, as `example_bounds` gives them.

    Without bounds (a CPU has no such kernel) examples also see those before them in their row.
    """

    def within_rows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.view(-1, length, t.shape[1], HEAD_DIM).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    def within_examples(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert varlen_attn is not None and bounds is not None
        out = varlen_attn(q, k, v, bounds, bounds, length, length, **CAUSAL)
        assert isinstance(out, Tensor)
        return out

    return within_rows if bounds is None else within_examples


def _causal_argument() -> dict:
    """varlen_attn's spelling of `causal`: torch 2.10 had is_causal, later ones window_size."""
    if varlen_attn and "is_causal" in inspect.signature(varlen_attn).parameters:
        return {"is_causal": True}
    return {"window_size": (-1, 0)}


CAUSAL = _causal_argument()


class Muon:
    """Momentum, orthogonalised by Newton-Schulz, for matrices of equal shape at once.

    Source: Keller Jordan's Muon; update scale 0.2·sqrt(max side), so AdamW's learning rates fit
    (arXiv 2502.16982).
    """

    def __init__(self, parameters: list[torch.nn.Parameter], decay: float = 0.1):
        groups: dict[tuple[int, ...], list[Tensor]] = {}
        for p in parameters:
            groups.setdefault(tuple(p.shape), []).append(p)
        self.groups = list(groups.values())
        self.momentum = [torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self.groups]
        self.decay = decay

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for group, momentum in zip(self.groups, self.momentum, strict=True):
            grads = torch.stack([p.grad for p in group if p.grad is not None])
            momentum.lerp_(grads, 0.05)
            update = orthogonal(grads.lerp(momentum, 0.95))
            scale = 0.2 * max(update.shape[-2:]) ** 0.5
            updates = list(update.float().unbind())
            # torch's optimisers use these too; the stubs do not export them.
            torch._foreach_mul_(group, 1 - lr * self.decay)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_add_(group, updates, alpha=-lr * scale)  # pyright: ignore[reportPrivateImportUsage]


def orthogonal(g: Tensor) -> Tensor:
    """The nearest orthogonal matrices, roughly, to g [matrices, n, k]."""
    x = g.bfloat16()
    flip = x.shape[-2] > x.shape[-1]
    x = x.mT if flip else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if flip else x


class Optimiser:
    """Muon for the matrices of the blocks, AdamW for the rest."""

    def __init__(self, model: Model, lr: float, device: str):
        named = list(model.blocks.named_parameters())
        matrices = [p for name, p in named if not name.endswith("norms")]
        others = [p for p in model.parameters() if not any(p is m for m in matrices)]
        self.model, self.lr, self.muon = model, lr, Muon(matrices)
        self.adam = torch.optim.AdamW(
            others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=device == "cuda"
        )

    def step(self, share: float) -> None:
        """One step at this share of the peak learning rate."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.muon.step(self.lr * share)
        self.adam.param_groups[0]["lr"] = self.lr * share
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
