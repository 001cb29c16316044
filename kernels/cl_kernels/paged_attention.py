"""Attention of a few new rows per sequence over a paged KV cache, all sequences in one launch.

Split over the cached positions; lengths are read on the device, so a graph's grid fits all of them.
The rows of a sequence, and the query heads of a KV head, share one read of keys and values. The
last program of a head and sequence to arrive merges their parts. No prefill: at most 16 rows.
"""
# pyright: reportArgumentType=false, reportCallIssue=false
# (its types know neither launches nor their constants)

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from cl_kernels import tiles
from cl_kernels.product import start, wait


@dataclass(frozen=True)
class Sequences:
    """What a step attends to; sequence s has the rows first[s] .. first[s + 1] - 1."""

    pages: torch.Tensor  # [sequences, longest], int32: position p is in pages[s, p // page_size]
    lengths: torch.Tensor  # [sequences], int32: positions, the new rows included; 0: not there
    first: torch.Tensor  # [sequences + 1], int32
    page_size: int
    most: int  # rows that one sequence may have


@dataclass(frozen=True)
class Scratch:
    """Parts of split sequences. Counters must be 0 at first; every launch leaves them so."""

    sums: torch.Tensor  # [kv_heads, programs, query rows, head_dim], float32
    tops: torch.Tensor  # [kv_heads, programs, 2, query rows]: largest score and sum of weights
    counters: torch.Tensor  # [kv_heads, sequences], int32


@triton.jit
def _load(pool, table, at, there, d, first, last, PAGE: tl.constexpr, HEAD_DIM: tl.constexpr):
    """[BLOCK, HEAD_DIM] of the positions `at` in first..last-1, else 0."""
    own = there & (at >= first) & (at < last)
    page = tl.load(table + at // PAGE, mask=own, other=0).to(tl.int64)
    where = (page * PAGE + at % PAGE) * HEAD_DIM
    return tl.load(pool + where[:, None] + d[None, :], mask=own[:, None], other=0.0)


@triton.jit
def _paged_attention_kernel(
    q,
    keys,
    values,
    pages,
    lengths,
    firsts,
    out,
    sums,
    tops,
    counters,
    head_stride,
    table_stride,
    scale,
    SEQUENCES: tl.constexpr,
    PROGRAMS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE: tl.constexpr,
    BLOCK: tl.constexpr,
    QUERIES: tl.constexpr,  # query heads x rows of one sequence, padded
    STAGES: tl.constexpr,
    PDL: tl.constexpr,
):
    program = tl.program_id(0)
    kv_head = tl.program_id(1)
    if SEQUENCES == 1:
        blocks = tl.cdiv(tl.load(lengths), BLOCK)
        share = tl.maximum(tl.cdiv(blocks, PROGRAMS), 1)
        parts = tl.cdiv(blocks, share)
        own_blocks = blocks
        mine = (program >= parts).to(tl.int32)
        first_program = 0
    else:
        sequence = tl.arange(0, triton.next_power_of_2(SEQUENCES))
        inside = sequence < SEQUENCES
        each_blocks = tl.cdiv(tl.load(lengths + sequence, mask=inside, other=0), BLOCK)
        # Equal shares of all blocks; with this many, the shares sequences round up still fit.
        share = tl.maximum(tl.cdiv(tl.sum(each_blocks, 0), PROGRAMS - SEQUENCES + 1), 1)
        splits = tl.cdiv(each_blocks, share)
        ends = tl.cumsum(splits, 0)
        mine = tl.sum((inside & (ends <= program)).to(tl.int32), 0)
        parts = tl.sum(tl.where(sequence == mine, splits, 0), 0)
        own_blocks = tl.sum(tl.where(sequence == mine, each_blocks, 0), 0)
        first_program = tl.sum(tl.where(sequence == mine, ends, 0), 0) - parts
    if mine >= SEQUENCES:
        wait(PDL)
        start(PDL)
        return
    length = tl.load(lengths + mine)
    row = tl.load(firsts + mine)
    count = tl.load(firsts + mine + 1) - row
    old = length - count  # positions below are of earlier steps
    # Even within a sequence: 65 blocks in shares of at most 58 are 33 and 32, not 58 and 7.
    part_length = tl.cdiv(own_blocks, parts) * BLOCK
    begin = (program - first_program) * part_length
    end = tl.minimum(begin + part_length, length)

    table = pages + mine * table_stride
    keys += kv_head * head_stride
    values += kv_head * head_stride
    d = tl.arange(0, HEAD_DIM)
    block = tl.arange(0, BLOCK)
    at = begin + block
    k = _load(keys, table, at, at < end, d, 0, old, PAGE, HEAD_DIM)
    v = _load(values, table, at, at < end, d, 0, old, PAGE, HEAD_DIM)
    # The wait comes before the start: what the kernels after this one read early is then complete.
    wait(PDL)
    start(PDL)
    if begin + BLOCK > old:
        # 0 where the other is not, and -0 + x is x: adding joins old and new positions.
        k += _load(keys, table, at, at < end, d, old, length, PAGE, HEAD_DIM)
        v += _load(values, table, at, at < end, d, old, length, PAGE, HEAD_DIM)

    query = tl.arange(0, QUERIES)
    asked = query < count * GROUP
    limit = old + query // GROUP  # the last position a query sees
    head = (row + query // GROUP) * (KV_HEADS * GROUP) + kv_head * GROUP + query % GROUP
    if QUERIES == 1:
        own = tl.load(q + (row * KV_HEADS + kv_head) * HEAD_DIM + d).to(tl.float32) * scale
        top = -float("inf")
        total = 0.0
        mixed = tl.zeros([BLOCK, HEAD_DIM], tl.float32)
        for b in tl.range(begin, end, BLOCK):
            # Asked for before this block is used.
            later = b + BLOCK + block
            next_k = _load(keys, table, later, later < end, d, 0, length, PAGE, HEAD_DIM)
            next_v = _load(values, table, later, later < end, d, 0, length, PAGE, HEAD_DIM)
            at = b + block
            score = tl.sum(k.to(tl.float32) * own[None, :], 1)
            score = tl.where(at < end, score, -float("inf"))
            higher = tl.maximum(top, tl.max(score, 0))
            weight = tl.exp2(score - higher)
            fade = tl.exp2(top - higher)
            total = total * fade + tl.sum(weight, 0)
            mixed = mixed * fade + weight[:, None] * v.to(tl.float32)
            top = higher
            k = next_k
            v = next_v
        # One sum over the positions at the end, not one per block: it crosses the warps.
        result = tl.sum(mixed, 0)[None, :]
        tops_now = tl.full([QUERIES], 0.0, tl.float32) + top
        total_now = tl.full([QUERIES], 0.0, tl.float32) + total
    else:
        own = tl.load(q + head[:, None] * HEAD_DIM + d[None, :], mask=asked[:, None], other=0.0)
        own = own.to(k.dtype)
        score = tl.dot(own, tl.trans(k), input_precision="ieee") * scale
        seen = (at[None, :] < end) & (at[None, :] <= limit[:, None])
        score = tl.where(seen, score, -float("inf"))
        # A part may hold nothing that a query sees: its top stays finite, its weights 0.
        tops_now = tl.maximum(tl.max(score, 1), -1e30)
        weight = tl.exp2(score - tops_now[:, None])
        total_now = tl.sum(weight, 1)
        result = tl.dot(weight.to(v.dtype), v, input_precision="ieee")
        for b in tl.range(begin + BLOCK, end, BLOCK, num_stages=STAGES):
            at = b + block
            k = _load(keys, table, at, at < end, d, 0, length, PAGE, HEAD_DIM)
            v = _load(values, table, at, at < end, d, 0, length, PAGE, HEAD_DIM)
            score = tl.dot(own, tl.trans(k), input_precision="ieee") * scale
            seen = (at[None, :] < end) & (at[None, :] <= limit[:, None])
            score = tl.where(seen, score, -float("inf"))
            higher = tl.maximum(tops_now, tl.max(score, 1))
            weight = tl.exp2(score - higher[:, None])
            fade = tl.exp2(tops_now - higher)
            total_now = total_now * fade + tl.sum(weight, 1)
            result = tl.dot(weight.to(v.dtype), v, result * fade[:, None], input_precision="ieee")
            tops_now = higher

    target = out + head[:, None] * HEAD_DIM + d[None, :]
    if parts == 1:
        result = result / total_now[:, None]
        tl.store(target, result.to(out.dtype.element_ty), mask=asked[:, None])
    else:
        slot = kv_head * PROGRAMS + program
        part = sums + slot * (QUERIES * HEAD_DIM)
        one = query[:, None] * HEAD_DIM + d[None, :]
        tl.store(part + one, result)
        tl.store(tops + slot * (2 * QUERIES) + query, tops_now)
        tl.store(tops + slot * (2 * QUERIES) + QUERIES + query, total_now)
        tl.debug_barrier()  # all threads' parts are written before one thread says so
        arrived = tl.atomic_add(counters + kv_head * SEQUENCES + mine, 1, sem="acq_rel")
        if arrived == parts - 1:
            tl.debug_barrier()
            tl.store(counters + kv_head * SEQUENCES + mine, 0)
            all_tops = tops + (kv_head * PROGRAMS + first_program) * (2 * QUERIES)
            all_sums = sums + (kv_head * PROGRAMS + first_program) * (QUERIES * HEAD_DIM)
            each = tl.arange(0, triton.next_power_of_2(PROGRAMS))[:, None]
            place = all_tops + each * (2 * QUERIES) + query[None, :]
            # .cg: the other programs' writes are in L2, not in this multiprocessor's L1.
            part_top = tl.load(place, mask=each < parts, other=-float("inf"), cache_modifier=".cg")
            part_total = tl.load(
                place + QUERIES, mask=each < parts, other=0.0, cache_modifier=".cg"
            )
            highest = tl.max(part_top, 0)  # [QUERIES]
            share_of = tl.exp2(part_top - highest[None, :])
            divisor = tl.sum(share_of * part_total, 0)
            if QUERIES == 1:
                # All parts at once: one after the other, each would cost a trip to L2.
                place = all_sums + each * HEAD_DIM + d[None, :]
                part_sum = tl.load(place, mask=each < parts, other=0.0, cache_modifier=".cg")
                merged = tl.sum(part_sum * share_of, 0)[None, :]
            else:
                merged = tl.zeros([QUERIES, HEAD_DIM], tl.float32)
                for other in tl.range(0, parts, num_stages=4):
                    other_top = tl.load(
                        all_tops + other * (2 * QUERIES) + query, cache_modifier=".cg"
                    )
                    part_sum = tl.load(
                        all_sums + other * (QUERIES * HEAD_DIM) + one, cache_modifier=".cg"
                    )
                    merged += part_sum * tl.exp2(other_top - highest)[:, None]
            merged = merged / divisor[:, None]
            tl.store(target, merged.to(out.dtype.element_ty), mask=asked[:, None])


def _tile(queries: int, heads: int, head_dim: int, device: torch.device) -> tiles.Tile:
    """bn: programs per multiprocessor; bk: positions at a time."""
    return tiles.choose("paged_attention", min(queries, 16), heads, head_dim, device)


def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 2
    return torch.cuda.get_device_properties(device).multi_processor_count


def _queries(most: int, group: int) -> int:
    n = most * group
    return 1 if n == 1 else max(16, triton.next_power_of_2(n))  # pyright: ignore[reportReturnType]


def new_scratch(
    sequences: int, most: int, heads: int, kv_heads: int, head_dim: int, device: torch.device
) -> Scratch:
    """For launches with this many sequences, whose rows are at most `most`."""
    queries = _queries(most, heads // kv_heads)
    wanted = _tile(queries, heads, head_dim, device).bn * _multiprocessors(device) // kv_heads
    splits = max(2, 4 * sequences, wanted)  # programs per KV head, which all sequences share
    return Scratch(
        torch.empty(kv_heads, splits, queries, head_dim, device=device),
        torch.empty(kv_heads, splits, 2, queries, device=device),
        torch.zeros(kv_heads, sequences, device=device, dtype=torch.int32),
    )


def paged_attention(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: Sequences,
    scratch: Scratch,
    out: torch.Tensor,
) -> None:
    """out [rows, heads, head_dim], as q; keys, values: [kv_heads, slots, head_dim].

    The new rows' keys and values are in the cache already; each row sees what is not after it.
    Rows of no sequence are left as they are.
    """
    rows, heads, head_dim = q.shape
    kv_heads, group, n = len(keys), heads // len(keys), len(sequences.lengths)
    queries, splits = _queries(sequences.most, group), scratch.sums.shape[1]
    assert rows <= 16 and out.shape == q.shape and q.is_contiguous() and out.is_contiguous()
    assert keys.shape == values.shape and keys.stride() == values.stride()
    assert keys.shape[2] == head_dim == keys.stride(1) and keys.stride(2) == 1
    assert len(sequences.pages) == n == len(sequences.first) - 1 and sequences.pages.stride(1) == 1
    for t in (sequences.pages, sequences.lengths, sequences.first):
        assert t.dtype == torch.int32
    assert scratch.sums.shape == (kv_heads, splits, queries, head_dim) and splits >= n
    assert scratch.counters.shape == (kv_heads, n)
    pdl = tiles.pdl(q)
    tile = _tile(queries, heads, head_dim, q.device)
    _paged_attention_kernel[(splits, kv_heads)](
        q,
        keys,
        values,
        sequences.pages,
        sequences.lengths,
        sequences.first,
        out,
        scratch.sums,
        scratch.tops,
        scratch.counters,
        keys.stride(0),
        sequences.pages.stride(0),
        head_dim**-0.5 * 1.4426950408889634,  # exp2 instead of exp
        SEQUENCES=n,
        PROGRAMS=splits,
        KV_HEADS=kv_heads,
        GROUP=group,
        HEAD_DIM=head_dim,
        PAGE=sequences.page_size,
        BLOCK=tile.bk,
        QUERIES=queries,
        STAGES=tile.stages,
        PDL=pdl,
        num_warps=tile.warps,
        **tiles.launch(pdl),
    )


def paged_attention_ref(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: Sequences,
    scratch: Scratch,
    out: torch.Tensor,
) -> None:
    group, size, first = q.shape[1] // len(keys), sequences.page_size, sequences.first.tolist()
    for s, length in enumerate(sequences.lengths.tolist()):
        if not length:
            continue
        at = torch.arange(length, device=q.device)
        slots = sequences.pages[s].long()[at // size] * size + at % size
        own = q[first[s] : first[s + 1]].float()
        k, v = (t[:, slots].float().repeat_interleave(group, 0) for t in (keys, values))
        score = torch.einsum("nhd,htd->hnt", own, k) * q.shape[2] ** -0.5
        last = torch.arange(length - len(own), length, device=q.device)
        score = score.masked_fill(at[None] > last[:, None], -torch.inf)
        out[first[s] : first[s + 1]] = torch.einsum("hnt,htd->nhd", score.softmax(2), v)
