"""The product all projections share: BN rows of a weight times up to 16 activations.

One row: fused multiply-add, all of the program's weights in registers at once. More: matrix units,
the rows padded to 8 or 16. The first tiles are asked for before the wait for the kernel that makes
the activations.
"""
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (its types know neither static_range nor what a constant may be)

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
def first_tiles(w, rows, K: tl.constexpr, BK: tl.constexpr, FIRST: tl.constexpr):
    """So many tiles [BN, BK] of the weight's `rows` [BN], for `product`."""
    return _tiles(w, rows, K, BK, 0, FIRST)


@triton.jit
def _tiles(w, rows, K: tl.constexpr, BK: tl.constexpr, FROM: tl.constexpr, TO: tl.constexpr):
    tiles = ()
    for i in tl.static_range(FROM, TO):
        tiles += (_tile(w + i * BK, rows, K - i * BK, K, BK),)
    return tiles


@triton.jit
def _tile(w, rows, left: tl.constexpr, K: tl.constexpr, BK: tl.constexpr):
    k = tl.arange(0, BK)
    place = w + rows[:, None] * K + k[None, :]
    if left >= BK:
        return tl.load(place, eviction_policy="evict_first")
    else:
        return tl.load(place, mask=k[None, :] < left, other=0.0, eviction_policy="evict_first")


@triton.jit
def _by_columns(tiles, w, rows, h, K: tl.constexpr, BK: tl.constexpr, FIRST: tl.constexpr):
    """Of one row, h [K]: [BN, BK], float32, whose rows sum to the product."""
    k = tl.arange(0, BK)
    COUNT: tl.constexpr = (K + BK - 1) // BK
    tiles += _tiles(w, rows, K, BK, FIRST, COUNT)
    sums = tl.zeros(tiles[0].shape, tl.float32)
    for i in tl.static_range(COUNT):
        own = tl.load(h + i * BK + k, mask=k < K - i * BK, other=0.0)
        sums += tiles[i].to(tl.float32) * own[None, :].to(tl.float32)
    return sums


@triton.jit
def product(
    tiles,
    w,
    rows,
    h,
    count,
    K: tl.constexpr,
    BK: tl.constexpr,
    ROWS: tl.constexpr,
    FIRST: tl.constexpr,
    STAGES: tl.constexpr,
):
    """w[rows] @ h.T: [BN, ROWS], float32, of which `tiles` are the first FIRST tiles.

    w is advanced to the program's rows, `rows` [BN] are relative to it. h: [count <= ROWS, K].
    """
    if ROWS == 1:
        return tl.sum(_by_columns(tiles, w, rows, h, K, BK, FIRST), 1)[:, None]
    else:
        k = tl.arange(0, BK)
        row = tl.arange(0, ROWS)
        others = h + row[None, :] * K + k[:, None]
        there = row[None, :] < count
        total = tl.zeros([rows.shape[0], ROWS], tl.float32)
        for i in tl.static_range(FIRST):
            own = tl.load(others + i * BK, mask=there & (k[:, None] < K - i * BK), other=0.0)
            total = tl.dot(tiles[i], own, total, input_precision="ieee")
        tile = w + rows[:, None] * K + k[None, :]
        for at in tl.range(FIRST * BK, K, BK, num_stages=STAGES):
            weight = tl.load(
                tile + at, mask=k[None, :] < K - at, other=0.0, eviction_policy="evict_first"
            )
            own = tl.load(others + at, mask=there & (k[:, None] < K - at), other=0.0)
            total = tl.dot(weight, own, total, input_precision="ieee")
        return total


@triton.jit
def normed_product(
    tiles,
    w,
    rows,
    h,
    squares,
    count,
    eps,
    K: tl.constexpr,
    PARTS: tl.constexpr,
    BK: tl.constexpr,
    ROWS: tl.constexpr,
    FIRST: tl.constexpr,
    STAGES: tl.constexpr,
):
    """`product` with the norm of h = x·gamma, of whose x the squares [count, PARTS] are sums."""
    if ROWS == 1:
        sums = _by_columns(tiles, w, rows, h, K, BK, FIRST)
        k = tl.arange(0, BK)
        part = tl.zeros([BK], tl.float32)
        for i in tl.static_range(0, PARTS, BK):
            part += tl.load(squares + i + k, mask=k < PARTS - i, other=0.0)
        # One trip across the warps for both sums; a second costs what 1% of the weights cost.
        both = tl.join(sums, tl.broadcast_to(part[None, :], sums.shape))
        total, square = tl.split(tl.sum(both, 1))
        return (total * tl.rsqrt(square / K + eps))[:, None]
    else:
        row = tl.arange(0, ROWS)[:, None]
        part = tl.arange(0, triton.next_power_of_2(PARTS))[None, :]
        there = (row < count) & (part < PARTS)
        sums = tl.load(squares + row * PARTS + part, mask=there, other=0.0)
        scale = tl.rsqrt(tl.sum(sums, 1) / K + eps)
        total = product(tiles, w, rows, h, count, K, BK, ROWS, FIRST, STAGES)
        return total * scale[None, :]


@triton.jit
def pairs(tile, ROWS: tl.constexpr):
    """[2·n, ROWS] whose rows alternate -> two of [n, ROWS]."""
    apart = tl.reshape(tile, [tile.shape[0] // 2, 2, ROWS])
    return tl.split(tl.permute(apart, (0, 2, 1)))
