"""Rotates queries and keys of many rows; keys and values go into their cache slots."""
# pyright: reportArgumentType=false, reportCallIssue=false
# (its types know neither launches nor their constants)

import torch
import triton
import triton.language as tl

from cl_kernels.norm_qkv_rope_append import Places


@triton.jit
def _rope_append_kernel(
    qkv,
    cos,
    sin,
    positions,
    slots,
    keys,
    values,
    head_stride,
    table_stride,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[:, None]
    HALF: tl.constexpr = HEAD_DIM // 2
    d = tl.arange(0, HALF)[None, :]
    place = qkv + row * ((HEADS + 2 * KV_HEADS) * HEAD_DIM) + head * HEAD_DIM + d
    there = head < HEADS + 2 * KV_HEADS
    a = tl.load(place, mask=there, other=0.0).to(tl.float32)
    b = tl.load(place + HALF, mask=there, other=0.0).to(tl.float32)
    angle = tl.load(positions + row) * table_stride + d
    turns = head < HEADS + KV_HEADS
    c = tl.where(turns, tl.load(cos + angle), 1.0)
    s = tl.where(turns, tl.load(sin + angle), 0.0)
    first = (a * c - b * s).to(qkv.dtype.element_ty)
    second = (b * c + a * s).to(qkv.dtype.element_ty)
    tl.store(place, first, mask=head < HEADS)
    tl.store(place + HALF, second, mask=head < HEADS)
    slot = tl.load(slots + row)
    kept = there & (tl.where(slot >= 0, head, -1) >= HEADS)
    of_values = head >= HEADS + KV_HEADS
    kv_head = ((head - HEADS) % KV_HEADS).to(tl.int64)
    into = kv_head * head_stride + slot * HEAD_DIM + d
    tl.store(keys + into, first, mask=kept & turns)
    tl.store(keys + into + HALF, second, mask=kept & turns)
    tl.store(values + into, first, mask=kept & of_values)
    tl.store(values + into + HALF, second, mask=kept & of_values)


def rope_append(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    places: Places,
    heads: int,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> None:
    """The queries of qkv [rows, heads + 2·kv_heads, head_dim] are rotated in place.

    keys and values [kv_heads, slots, head_dim] are written; cos, sin as in norm_qkv_rope_append.
    """
    rows, width, head_dim = qkv.shape
    kv_heads = len(keys)
    assert width == heads + 2 * kv_heads and qkv.is_contiguous() and qkv.dtype == keys.dtype
    assert keys.shape == values.shape and keys.stride() == values.stride()
    assert keys.shape[2] == head_dim == keys.stride(1) and keys.stride(2) == 1
    assert cos.stride() == sin.stride() and cos.stride(-1) == 1
    assert places.positions.shape == places.slots.shape == (rows,)
    block = min(32, triton.next_power_of_2(width))
    _rope_append_kernel[(rows, triton.cdiv(width, block))](
        qkv,
        cos,
        sin,
        places.positions,
        places.slots,
        keys,
        values,
        keys.stride(0),
        cos.stride(0),
        HEADS=heads,
        KV_HEADS=kv_heads,
        HEAD_DIM=head_dim,
        BLOCK=block,
        num_warps=4,
    )


def rope_append_ref(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    places: Places,
    heads: int,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> None:
    kv_heads, half = len(keys), qkv.shape[2] // 2
    at = places.positions.long()
    c, s = cos[at, None, :half], sin[at, None, :half]
    a, b = qkv[:, : heads + kv_heads].float().split(half, 2)
    turned = torch.cat((a * c - b * s, b * c + a * s), 2).to(qkv.dtype)
    qkv[:, :heads] = turned[:, :heads]
    kept = places.slots >= 0
    keys[:, places.slots[kept]] = turned[kept, heads:].transpose(0, 1)
    values[:, places.slots[kept]] = qkv[kept, heads + kv_heads :].transpose(0, 1)
