"""Query, key and value of the normed stream, rotated; keys and values go into their cache slots."""
# pyright: reportArgumentType=false, reportCallIssue=false
# (its types know neither launches nor their constants)

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from cl_kernels import tiles
from cl_kernels.product import first_tiles, normed_product, pairs, start, wait
from cl_kernels.stream import Stream


@dataclass(frozen=True)
class Places:
    """Where the rows of a step stand."""

    positions: torch.Tensor  # [rows], int32: in the sequence, for the rotary tables
    slots: torch.Tensor  # [rows], int64: in the pool, page · page size + offset; < 0: not kept


@triton.jit
def _norm_qkv_rope_append_kernel(
    scaled,
    squares,
    w,
    cos,
    sin,
    positions,
    slots,
    q,
    keys,
    values,
    head_stride,
    table_stride,
    count,
    eps,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
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
    HALF: tl.constexpr = HEAD_DIM // 2
    WIDTH: tl.constexpr = BN // 2
    head = tl.program_id(0) // (HALF // WIDTH)
    first = tl.program_id(0) % (HALF // WIDTH) * WIDTH
    tile = tl.arange(0, BN)
    rows = (tile % 2) * HALF + tile // 2  # d and d + half, which rotate together
    own = w + (head * HEAD_DIM + first) * K
    tiles = first_tiles(own, rows, K, BK, FIRST)
    row = tl.arange(0, ROWS)
    there = row < count
    d = first + tl.arange(0, WIDTH)[:, None]
    angle = tl.load(positions + row, mask=there, other=0)[None, :] * table_stride + d
    c = tl.load(cos + angle)
    s = tl.load(sin + angle)
    slot = tl.load(slots + row, mask=there, other=-1)[None, :]
    wait(PDL)
    sums = normed_product(
        tiles, own, rows, scaled, squares, count, eps, K, PARTS, BK, ROWS, FIRST, STAGES
    )
    a, b = pairs(sums, ROWS)
    if head < HEADS + KV_HEADS:
        turned = a * c - b * s
        b = b * c + a * s
        a = turned
    if head < HEADS:
        at = (row[None, :] * HEADS + head) * HEAD_DIM + d
        tl.store(q + at, a.to(q.dtype.element_ty), mask=there[None, :])
        tl.store(q + at + HALF, b.to(q.dtype.element_ty), mask=there[None, :])
    else:
        kept = slot >= 0
        kv_head = ((head - HEADS) % KV_HEADS).to(tl.int64)
        if head < HEADS + KV_HEADS:
            place = keys + kv_head * head_stride + slot * HEAD_DIM + d
        else:
            place = values + kv_head * head_stride + slot * HEAD_DIM + d
        tl.store(place, a.to(keys.dtype.element_ty), mask=kept)
        tl.store(place + HALF, b.to(keys.dtype.element_ty), mask=kept)


def norm_qkv_rope_append(
    stream: Stream,
    w: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    places: Places,
    eps: float,
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> None:
    """q [rows, heads, head_dim] out; keys and values [kv_heads, slots, head_dim] written in place.

    w: [(heads + 2·kv_heads)·head_dim, dim]; cos, sin: [context, ≥ head_dim / 2], float32, of which
    the first half counts (half-split rotation, as in Hugging Face's weights).
    """
    stream.check()
    rows, heads, head_dim = q.shape
    kv_heads = len(keys)
    assert w.shape == ((heads + 2 * kv_heads) * head_dim, stream.dim) and w.is_contiguous()
    assert w.dtype == stream.scaled.dtype and rows == stream.rows and q.is_contiguous()
    assert keys.shape == values.shape and keys.stride() == values.stride()
    assert keys.shape[2] == head_dim == keys.stride(1) and keys.stride(2) == 1
    assert keys.dtype == values.dtype and cos.dtype == sin.dtype == torch.float32
    assert cos.stride() == sin.stride() and cos.stride(-1) == 1
    assert places.positions.shape == places.slots.shape == (rows,)
    assert places.positions.dtype == torch.int32 and places.slots.dtype == torch.int64
    tile = tiles.choose("norm_qkv_rope_append", rows, len(w), stream.dim, w.device)
    assert head_dim % tile.bn == 0
    _norm_qkv_rope_append_kernel[(len(w) // tile.bn,)](
        stream.scaled,
        stream.squares,
        w,
        cos,
        sin,
        places.positions,
        places.slots,
        q,
        keys,
        values,
        keys.stride(0),
        cos.stride(0),
        rows,
        eps,
        HEADS=heads,
        KV_HEADS=kv_heads,
        HEAD_DIM=head_dim,
        PARTS=stream.squares.shape[1],
        **tiles.options(tile, rows, w),
    )


def norm_qkv_rope_append_ref(
    stream: Stream,
    w: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    places: Places,
    eps: float,
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> None:
    (rows, heads, head_dim), kv_heads, half = q.shape, len(keys), q.shape[2] // 2
    qkv = (stream.normed(eps) @ w.float().T).view(rows, -1, head_dim)
    at = places.positions.long()
    c, s = cos[at, None, :half], sin[at, None, :half]
    a, b = qkv[:, : heads + kv_heads].split(half, 2)
    turned = torch.cat((a * c - b * s, b * c + a * s), 2)
    q.copy_(turned[:, :heads])
    kept = places.slots >= 0
    new = torch.cat((turned[:, heads:], qkv[:, heads + kv_heads :]), 1)[kept].to(keys.dtype)
    keys[:, places.slots[kept]] = new[:, :kv_heads].transpose(0, 1)
    values[:, places.slots[kept]] = new[:, kv_heads:].transpose(0, 1)
