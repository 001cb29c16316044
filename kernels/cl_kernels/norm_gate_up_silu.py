"""silu(gate) · up of the normed stream: both products and the activation in one kernel."""
# pyright: reportArgumentType=false, reportCallIssue=false
# (its types know neither launches nor their constants)

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from cl_kernels import tiles
from cl_kernels.product import first_tiles, normed_product, pairs, start, wait
from cl_kernels.stream import Stream


@triton.jit
def _norm_gate_up_silu_kernel(
    scaled,
    squares,
    w,
    out,
    count,
    eps,
    FFN: tl.constexpr,
    K: tl.constexpr,
    PARTS: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    ROWS: tl.constexpr,
    FIRST: tl.constexpr,
    STAGES: tl.constexpr,
    PDL: tl.constexpr,
):
    start(PDL)
    HALF: tl.constexpr = BN // 2
    first = tl.program_id(0) * HALF
    tile = tl.arange(0, BN)
    rows = (tile % 2) * FFN + tile // 2  # gate and up of the same column, side by side
    own = w + first * K
    tiles = first_tiles(own, rows, K, BK, FIRST)
    wait(PDL)
    sums = normed_product(
        tiles, own, rows, scaled, squares, count, eps, K, PARTS, BK, ROWS, FIRST, STAGES
    )
    gate, up = pairs(sums, ROWS)
    row = tl.arange(0, ROWS)[None, :]
    at = row * FFN + first + tl.arange(0, HALF)[:, None]
    value = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out + at, value.to(out.dtype.element_ty), mask=row < count)


def norm_gate_up_silu(stream: Stream, w: torch.Tensor, eps: float, out: torch.Tensor) -> None:
    """out [rows, ffn] from w [2·ffn, dim], gate above up."""
    stream.check()
    ffn = len(w) // 2
    assert w.shape == (2 * ffn, stream.dim) and out.shape == (stream.rows, ffn)
    assert w.dtype == stream.scaled.dtype and w.is_contiguous() and out.is_contiguous()
    tile = tiles.choose("norm_gate_up_silu", stream.rows, 2 * ffn, stream.dim, w.device)
    assert ffn % (tile.bn // 2) == 0, f"{ffn} columns do not divide into tiles of {tile.bn // 2}"
    _norm_gate_up_silu_kernel[(2 * ffn // tile.bn,)](
        stream.scaled,
        stream.squares,
        w,
        out,
        stream.rows,
        eps,
        FFN=ffn,
        PARTS=stream.squares.shape[1],
        **tiles.options(tile, stream.rows, w),
    )


def norm_gate_up_silu_ref(stream: Stream, w: torch.Tensor, eps: float, out: torch.Tensor) -> None:
    gate, up = (stream.normed(eps) @ w.float().T).chunk(2, 1)
    out.copy_(F.silu(gate) * up)
