"""The product all projections share: BN rows of a weight times up to 16 activations.

One row: fused multiply-add in registers. More: matrix units, the rows padded to 8 or 16. The first
tile of weights is loaded before the wait for the kernel that makes the activations.
"""

import triton
import triton.language as tl


@triton.jit
def start(PDL: tl.constexpr):
    """Lets the next kernel's programs start as soon as this one's all have."""
    if PDL:
        tl.extra.cuda.gdc_launch_dependents()  # pyright: ignore[reportAttributeAccessIssue]


@triton.jit
def wait(PDL: tl.constexpr):
    """Until the kernel before is complete and what it wrote can be seen."""
    if PDL:
        tl.extra.cuda.gdc_wait()  # pyright: ignore[reportAttributeAccessIssue]


@triton.jit
def product(
    w,
    rows,
    h,
    count,
    K: tl.constexpr,
    BK: tl.constexpr,
    ROWS: tl.constexpr,
    STAGES: tl.constexpr,
    PDL: tl.constexpr,
):
    """w[rows] @ h.T: [BN, ROWS], float32. w is advanced to the tile, rows [BN] are relative to it.

    h: [count, K]; `count` <= ROWS. Waits for the kernel before.
    """
    k = tl.arange(0, BK)
    tile = w + rows[:, None] * K + k[None, :]
    now = tl.load(tile, mask=k[None, :] < K, other=0.0, eviction_policy="evict_first")
    wait(PDL)
    if ROWS == 1:
        sums = tl.zeros(now.shape, tl.float32)
        for at in tl.range(0, K, BK):
            # Asked for before this tile is used: two tiles are in flight with 4 warps.
            left = K - BK - at
            after = tl.load(
                tile + (at + BK), mask=k[None, :] < left, other=0.0, eviction_policy="evict_first"
            )
            own = tl.load(h + at + k, mask=k < K - at, other=0.0)
            sums += now.to(tl.float32) * own[None, :].to(tl.float32)
            now = after
        return tl.sum(sums, 1)[:, None]
    else:
        row = tl.arange(0, ROWS)
        others = h + row[None, :] * K + k[:, None]
        there = (row[None, :] < count) & (k[:, None] < K)
        first = tl.load(others, mask=there, other=0.0)
        total = tl.zeros([rows.shape[0], ROWS], tl.float32)
        total = tl.dot(now, first, total, input_precision="ieee")
        for at in tl.range(BK, K, BK, num_stages=STAGES):
            weight = tl.load(
                tile + at, mask=k[None, :] < K - at, other=0.0, eviction_policy="evict_first"
            )
            there = (row[None, :] < count) & (k[:, None] < K - at)
            own = tl.load(others + at, mask=there, other=0.0)
            total = tl.dot(weight, own, total, input_precision="ieee")
        return total


@triton.jit
def pairs(tile, ROWS: tl.constexpr):
    """[2·n, ROWS] whose rows alternate -> two of [n, ROWS]."""
    apart = tl.reshape(tile, [tile.shape[0] // 2, 2, ROWS])
    return tl.split(tl.permute(apart, (0, 2, 1)))
