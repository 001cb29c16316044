"""Attention of many new rows per sequence over a paged KV cache that holds them already.

Each program has a block of a sequence's rows and one head. Which block is whose is worked out on
the host (`blocks_of`), so any mix of sequences and lengths is one launch.
"""
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# (its types know neither launches nor their constants)

import torch
import triton
import triton.language as tl

from cl_kernels import tiles
from cl_kernels.paged_attention import Sequences, paged_attention_ref


@triton.jit
def _positions(
    pool, table, at, there, d, PAGE: tl.constexpr, HEAD_DIM: tl.constexpr, ONE_RUN: tl.constexpr
):
    """[BLOCK, HEAD_DIM] of the positions `at`, 0 where they are not `there` (None: all are)."""
    if ONE_RUN:
        slot = at  # the pool begins with the sequence's first page
    else:
        page = tl.load(table + at // PAGE, mask=there, other=0 if there is not None else None)
        slot = page.to(tl.int64) * PAGE + at % PAGE
    place = pool + (slot * HEAD_DIM)[:, None] + d[None, :]
    if there is None:
        return tl.load(place)
    else:
        return tl.load(place, mask=there[:, None], other=0.0)


@triton.jit
def _attend(
    queries,
    keys,
    values,
    table,
    mixed,
    top,
    total,
    limit,
    begin,
    end,
    scale,
    BLOCK: tl.constexpr,
    PAGE: tl.constexpr,
    STAGES: tl.constexpr,
    ONE_RUN: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Positions begin..end-1 join what was attended to; all are seen unless MASKED."""
    HEAD_DIM: tl.constexpr = queries.shape[1]
    d = tl.arange(0, HEAD_DIM)
    for b in tl.range(begin, end, BLOCK, num_stages=STAGES):
        at = b + tl.arange(0, BLOCK)
        there = at < end if MASKED else None
        k = _positions(keys, table, at, there, d, PAGE, HEAD_DIM, ONE_RUN)
        score = tl.dot(queries, tl.trans(k), input_precision="ieee")
        if MASKED:
            seen = (at[None, :] <= limit[:, None]) & (at < end)[None, :]
            score = tl.where(seen, score, -float("inf"))
        higher = tl.maximum(top, tl.max(score, 1) * scale)
        weight = tl.exp2(score * scale - higher[:, None])
        fade = tl.exp2(top - higher)
        total = total * fade + tl.sum(weight, 1)
        mixed = mixed * fade[:, None]
        v = _positions(values, table, at, there, d, PAGE, HEAD_DIM, ONE_RUN)
        mixed = tl.dot(weight.to(v.dtype), v, mixed, input_precision="ieee")
        top = higher
    return mixed, top, total


@triton.jit
def _attend_all(
    queries,
    keys,
    values,
    table,
    mixed,
    top,
    total,
    limit,
    all_see,
    end,
    scale,
    BLOCK: tl.constexpr,
    PAGE: tl.constexpr,
    STAGES: tl.constexpr,
    ONE_RUN: tl.constexpr,
):
    mixed, top, total = _attend(
        queries, keys, values, table, mixed, top, total, limit, 0, all_see,
        scale, BLOCK, PAGE, STAGES, ONE_RUN, False,
    )  # fmt: skip
    return _attend(
        queries, keys, values, table, mixed, top, total, limit, all_see, end,
        scale, BLOCK, PAGE, STAGES, ONE_RUN, True,
    )  # fmt: skip


@triton.jit
def _prefill_attention_kernel(
    q,
    keys,
    values,
    pages,
    lengths,
    firsts,
    runs,
    blocks,
    out,
    row_stride,
    head_stride,
    table_stride,
    scale,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    program = tl.program_id(0)
    head = tl.program_id(1)
    sequence = tl.load(blocks + 2 * program)
    if sequence >= 0:
        first = tl.load(blocks + 2 * program + 1)  # of this block's rows, in its sequence
        length = tl.load(lengths + sequence)
        row = tl.load(firsts + sequence)
        count = tl.load(firsts + sequence + 1) - row
        table = pages + sequence * table_stride
        kv_head = (head // GROUP).to(tl.int64)
        keys += kv_head * head_stride
        values += kv_head * head_stride
        own = first + tl.arange(0, ROWS)
        d = tl.arange(0, HEAD_DIM)
        asked = (own < count)[:, None]
        where = (row + own).to(tl.int64)[:, None]
        place = q + where * row_stride + head * HEAD_DIM + d[None, :]
        queries = tl.load(place, mask=asked, other=0.0)
        limit = length - count + own  # the last position that a row sees
        mixed = tl.zeros([ROWS, HEAD_DIM], tl.float32)
        top = tl.full([ROWS], -1e30, tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        # Whole blocks that every row sees, then those on the diagonal.
        all_see = (length - count + first + 1) // BLOCK * BLOCK
        end = tl.minimum(length - count + first + ROWS, length)
        run = tl.load(runs + sequence).to(tl.int64)
        if run >= 0:
            start = run * (PAGE * HEAD_DIM)
            mixed, top, total = _attend_all(
                queries, keys + start, values + start, table, mixed, top, total, limit,
                all_see, end, scale, BLOCK, PAGE, STAGES, True,
            )  # fmt: skip
        else:
            mixed, top, total = _attend_all(
                queries, keys, values, table, mixed, top, total, limit,
                all_see, end, scale, BLOCK, PAGE, STAGES, False,
            )  # fmt: skip
        result = (mixed / total[:, None]).to(out.dtype.element_ty)
        tl.store(out + (where * HEADS + head) * HEAD_DIM + d[None, :], result, mask=asked)


def _tile(dtype: torch.dtype, device: torch.device) -> tiles.Tile:
    """bn: rows of a program's block; bk: positions at a time."""
    tile = tiles.choose("prefill_attention", 16, 0, 0, device)
    return tile if dtype.itemsize == 2 else tiles.Tile(64, 32, 4, 1)


def most_blocks(rows: int, sequences: int, dtype: torch.dtype, device: torch.device) -> int:
    """How many blocks there can be of so many rows and sequences."""
    return -(-rows // _tile(dtype, device).bn) + sequences - 1


def blocks_of(
    lengths: list[int], counts: list[int], dtype: torch.dtype, device: torch.device
) -> list[tuple[int, int]]:
    """(sequence, first row in it) of every block, those that attend to most first."""
    rows = _tile(dtype, device).bn
    found = [(s, first) for s, count in enumerate(counts) for first in range(0, count, rows)]
    return sorted(found, key=lambda b: counts[b[0]] - lengths[b[0]] - b[1])


def prefill_attention(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: Sequences,
    runs: torch.Tensor,
    blocks: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """out [rows, heads, head_dim], contiguous; q may have wider rows.

    keys, values: [kv_heads, slots, head_dim]. runs [sequences], int32: its first page where a
    sequence's pages are consecutive, which takes a fifth less time than the table; else -1.
    blocks [n, 2], int32: those of `blocks_of`, and behind them any with a sequence below 0.
    """
    rows, heads, head_dim = q.shape
    assert out.shape == q.shape and out.is_contiguous() and q.stride()[1:] == (head_dim, 1)
    assert keys.shape == values.shape and keys.stride() == values.stride()
    assert keys.shape[2] == head_dim == keys.stride(1) and keys.stride(2) == 1
    assert blocks.dtype == runs.dtype == torch.int32 and blocks.is_contiguous()
    assert len(runs) == len(sequences.lengths)
    tile = _tile(q.dtype, q.device)
    _prefill_attention_kernel[(len(blocks), heads)](
        q,
        keys,
        values,
        sequences.pages,
        sequences.lengths,
        sequences.first,
        runs,
        blocks,
        out,
        q.stride(0),
        keys.stride(0),
        sequences.pages.stride(0),
        head_dim**-0.5 * 1.4426950408889634,  # exp2 instead of exp
        HEADS=heads,
        GROUP=heads // len(keys),
        HEAD_DIM=head_dim,
        PAGE=sequences.page_size,
        ROWS=tile.bn,
        BLOCK=tile.bk,
        STAGES=tile.stages,
        num_warps=tile.warps,
    )


def prefill_attention_ref(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: Sequences,
    runs: torch.Tensor,
    blocks: torch.Tensor,
    out: torch.Tensor,
) -> None:
    paged_attention_ref(q, keys, values, sequences, None, out)
