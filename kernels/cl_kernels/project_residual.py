"""x += h @ w.T, and what the next norm needs: attention's output projection, and the down one."""
# pyright: reportArgumentType=false, reportCallIssue=false
# (its types know neither launches nor their constants)

import torch
import triton
import triton.language as tl

from cl_kernels import tiles
from cl_kernels.product import first_tiles, product, start, wait
from cl_kernels.stream import Stream


@triton.jit
def _project_residual_kernel(
    h,
    w,
    gamma,
    x,
    scaled,
    squares,
    count,
    N: tl.constexpr,
    PART: tl.constexpr,
    K: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    ROWS: tl.constexpr,
    FIRST: tl.constexpr,
    STAGES: tl.constexpr,
    PDL: tl.constexpr,
):
    start(PDL)
    first = tl.program_id(0) * BN
    rows = tl.arange(0, BN)
    own = w + first * K
    tiles = first_tiles(own, rows, K, BK, FIRST)
    n = first + rows[:, None]
    weight = tl.load(gamma + n).to(tl.float32)
    wait(PDL)
    row = tl.arange(0, ROWS)
    at = row[None, :] * N + n
    there = row[None, :] < count
    old = tl.load(x + at, mask=there, other=0.0)
    new = old + product(tiles, own, rows, h, count, K, BK, ROWS, FIRST, STAGES)
    # Threads that hold copies of a tile's entry load it too: one that is late would find the sum
    # that another has written, and square it (seen on an H200: 1.5e-3 off in the sums of squares).
    tl.debug_barrier()
    tl.store(x + at, new, mask=there)
    tl.store(scaled + at, (new * weight).to(scaled.dtype.element_ty), mask=there)
    parts = tl.arange(0, BN // PART)[:, None]
    sums = tl.sum(tl.reshape(new * new, [BN // PART, PART, ROWS]), 1)
    at = row[None, :] * (N // PART) + first // PART + parts
    tl.store(squares + at, sums, mask=there)


def project_residual(h: torch.Tensor, w: torch.Tensor, gamma: torch.Tensor, stream: Stream) -> None:
    """Adds h [rows, k] times w [dim, k] to `stream`. gamma: [dim], of the norm that comes next."""
    stream.check()
    rows, k = h.shape
    assert rows == stream.rows and w.shape == (stream.dim, k) and len(gamma) == stream.dim
    assert h.dtype == w.dtype == stream.scaled.dtype and h.is_contiguous() and w.is_contiguous()
    tile = tiles.choose("project_residual", rows, stream.dim, k, w.device)
    assert tile.bn % stream.part == 0
    _project_residual_kernel[(stream.dim // tile.bn,)](
        h,
        w,
        gamma,
        stream.x,
        stream.scaled,
        stream.squares,
        rows,
        N=stream.dim,
        PART=stream.part,
        **tiles.options(tile, rows, w),
    )


def project_residual_ref(
    h: torch.Tensor, w: torch.Tensor, gamma: torch.Tensor, stream: Stream
) -> None:
    stream.put_ref(stream.x + h.float() @ w.float().T, gamma)
