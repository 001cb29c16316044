"""The one seam between the model and the machine: what a layer is made of, here in plain torch.

Between the products activations are float32: residual stream, norms, rotary tables and what a
product returns. Inside they have the weight's type, or bfloat16 for int8, whose product gives a row
the same bits whatever the other rows are, so that a reused KV cache decodes as a fresh one does.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

CPU_BLOCK = 512  # positions; what torch's attention takes at once on a CPU


@dataclass(frozen=True)
class Matrix:
    """A weight [out, in]: float32, bfloat16, or int8 with a bfloat16 `scale` [out] per row."""

    weight: torch.Tensor
    scale: torch.Tensor | None = None

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """Embedding look-up: [n] -> [n, in], float32."""
        picked = self.weight[ids].float()
        return picked if self.scale is None else picked * self.scale[ids, None].float()


def linear(x: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    """[n, in] -> [n, out], float32."""
    if matrix.scale is None:
        return F.linear(x.to(matrix.weight.dtype), matrix.weight).float()
    product = torch.ops.aten._weight_int8pack_mm(x.bfloat16(), matrix.weight, matrix.scale)
    return product.float()


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """[n, 2·ffn] -> [n, ffn]: silu of the first half times the second."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


def rope_table(context: int, head_dim: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [context, 1, head_dim], float32: bf16 tables cost accuracy."""
    inverse = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), inverse)
    return angles.cos().float().repeat(1, 2)[:, None], angles.sin().float().repeat(1, 2)[:, None]


def rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Half-split rotary, as in Hugging Face's weights. x: [n, heads, head_dim]."""
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


def padded(total: int, device: torch.device) -> int:
    """How many positions `attention` is given for `total`: the rest is masked.

    The CPU's attention sums blocks of 512 positions, in another order if the last is shorter. Whole
    blocks give a position the same bits, whatever comes behind it and whatever it is computed with:
    so a reused KV cache decodes as a fresh one does (of 692 random rows 12 differ with 256).
    """
    return total if device.type == "cuda" else -(-total // CPU_BLOCK) * CPU_BLOCK


def causal_mask(
    n: int, total: int, group: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """What the last `n` of `total` positions see, for `attention` with `group` heads to a KV head.

    [group·n, padded(total)]: 0, or -inf for what is later. In the cache's type: as bools it takes
    an eighth longer.
    """
    last = torch.arange(total - n, total, device=device)
    hidden = torch.arange(padded(total, device), device=device)[None] > last[:, None]
    mask = torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)
    return mask.repeat(group, 1)


def attention(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Attention of new tokens over a KV cache that already holds them.

    q: [n, heads, head_dim]; keys, values: [kv_heads, padded(total), head_dim], finite also where
    `mask` hides them, whose type the result [n, heads·head_dim] has. The query heads of a group
    become rows of one product, so keys and values are never repeated.
    """
    n, heads, head_dim = q.shape
    kv_heads = len(keys)
    q = q.to(keys.dtype).view(n, kv_heads, -1, head_dim)
    rows = q.permute(1, 2, 0, 3).reshape(kv_heads, -1, head_dim)
    out = F.scaled_dot_product_attention(rows[None], keys[None], values[None], attn_mask=mask)[0]
    return out.view(kv_heads, -1, n, head_dim).permute(2, 0, 1, 3).reshape(n, heads * head_dim)
