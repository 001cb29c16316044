"""Attention of a few new rows per sequence over a paged KV cache, all sequences in one launch.

Split over the cached positions; lengths are read on the device, so a graph's grid fits all of them.
The rows of a sequence, and the query heads of a KV head, share one read of keys and values. The
last program of a head and sequence to arrive merges their parts. No prefill: at most 16 rows.
"""
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportAssignmentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
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
def _splits(lengths, BLOCK: tl.constexpr, PROGRAMS: tl.constexpr, SEQUENCES: tl.constexpr):
    """Of each sequence its blocks, how many programs share them, and its number."""
    sequence = tl.arange(0, triton.next_power_of_2(SEQUENCES))
    length = tl.load(lengths + sequence, mask=sequence < SEQUENCES, other=0)
    blocks = tl.cdiv(length, BLOCK)
    # Equal shares of all blocks; with this many, the shares sequences round up still fit.
    share = tl.maximum(tl.cdiv(tl.sum(blocks, 0), PROGRAMS - SEQUENCES + 1), 1)
    return blocks, tl.cdiv(blocks, share), sequence


@triton.jit
def _at(values, place, which):
    return tl.sum(tl.where(place == which, values, 0), 0)


@triton.jit
def _load(pool, table, at, end, d, PAGE: tl.constexpr, HEAD_DIM: tl.constexpr):
    """[BLOCK, HEAD_DIM] of the positions `at` before `end`, else 0."""
    there = at < end
    page = tl.load(table + at // PAGE, mask=there, other=0).to(tl.int64)
    where = (page * PAGE + at % PAGE) * HEAD_DIM
    return tl.load(pool + where[:, None] + d[None, :], mask=there[:, None], other=0.0)


@triton.jit
def _one_query(
    own, k, v, keys, values, table, begin, end, d, BLOCK: tl.constexpr, PAGE: tl.constexpr
):
    """Sum [HEAD_DIM], largest score and sum of weights over positions begin..end-1.

    k, v: those of the first BLOCK. No matrix unit. Every place in a block has a softmax of its own
    until the end, so that no step of the loop crosses the warps.
    """
    HEAD_DIM: tl.constexpr = d.shape[0]
    block = tl.arange(0, BLOCK)
    top = tl.full([BLOCK], -1e30, tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    mixed = tl.zeros([BLOCK, HEAD_DIM], tl.float32)
    for b in tl.range(begin, end, BLOCK):
        # Asked for before this block is used.
        next_k = _load(keys, table, b + BLOCK + block, end, d, PAGE, HEAD_DIM)
        next_v = _load(values, table, b + BLOCK + block, end, d, PAGE, HEAD_DIM)
        score = tl.sum(k.to(tl.float32) * own[None, :], 1)
        score = tl.where(b + block < end, score, -float("inf"))
        higher = tl.maximum(top, score)
        weight = tl.exp2(score - higher)
        fade = tl.exp2(top - higher)
        total = total * fade + weight
        mixed = mixed * fade[:, None] + weight[:, None] * v.to(tl.float32)
        top = higher
        k = next_k
        v = next_v
    highest = tl.max(top, 0)
    share = tl.exp2(top - highest)
    return tl.sum(mixed * share[:, None], 0), highest, tl.sum(total * share, 0)


@triton.jit
def _block(own, k, v, at, end, limit, scale, mixed, top, total):
    """What is known of the queries [QUERIES, HEAD_DIM], and the block at the positions `at`."""
    score = tl.dot(own.to(k.dtype), tl.trans(k), input_precision="ieee") * scale
    seen = (at[None, :] < end) & (at[None, :] <= limit[:, None])
    score = tl.where(seen, score, -float("inf"))
    higher = tl.maximum(top, tl.max(score, 1))
    weight = tl.exp2(score - higher[:, None])
    fade = tl.exp2(top - higher)
    mixed = tl.dot(weight.to(v.dtype), v, mixed * fade[:, None], input_precision="ieee")
    return mixed, higher, total * fade + tl.sum(weight, 1)


@triton.jit
def _many_queries(
    own,
    limit,
    k,
    v,
    keys,
    values,
    table,
    begin,
    end,
    scale,
    d,
    BLOCK: tl.constexpr,
    PAGE: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The same for queries [QUERIES, HEAD_DIM] that see positions up to `limit` [QUERIES]."""
    HEAD_DIM: tl.constexpr = d.shape[0]
    # A part may hold nothing that a query sees: its top stays finite, its weights 0.
    top = tl.full([own.shape[0]], -1e30, tl.float32)
    total = tl.zeros([own.shape[0]], tl.float32)
    mixed = tl.zeros([own.shape[0], HEAD_DIM], tl.float32)
    at = begin + tl.arange(0, BLOCK)
    mixed, top, total = _block(own, k, v, at, end, limit, scale, mixed, top, total)
    for b in tl.range(begin + BLOCK, end, BLOCK, num_stages=STAGES):
        at = b + tl.arange(0, BLOCK)
        k = _load(keys, table, at, end, d, PAGE, HEAD_DIM)
        v = _load(values, table, at, end, d, PAGE, HEAD_DIM)
        mixed, top, total = _block(own, k, v, at, end, limit, scale, mixed, top, total)
    return mixed, top, total


@triton.jit
def _merged(sums, tops, parts, d, QUERIES: tl.constexpr, PROGRAMS: tl.constexpr):
    """[QUERIES, HEAD_DIM] of the parts that sums and tops begin with."""
    HEAD_DIM: tl.constexpr = d.shape[0]
    query = tl.arange(0, QUERIES)
    each = tl.arange(0, triton.next_power_of_2(PROGRAMS))[:, None]
    place = tops + each * (2 * QUERIES) + query[None, :]
    # .cg: the other programs' writes are in L2, not in this multiprocessor's L1.
    top = tl.load(place, mask=each < parts, other=-float("inf"), cache_modifier=".cg")
    total = tl.load(place + QUERIES, mask=each < parts, other=0.0, cache_modifier=".cg")
    highest = tl.max(top, 0)
    share = tl.exp2(top - highest[None, :])
    divisor = tl.sum(share * total, 0)
    if QUERIES == 1:
        # All parts at once: one after the other, each would cost a trip to L2.
        place = sums + each * HEAD_DIM + d[None, :]
        part = tl.load(place, mask=each < parts, other=0.0, cache_modifier=".cg")
        mixed = tl.sum(part * share, 0)[None, :]
    else:
        one = query[:, None] * HEAD_DIM + d[None, :]
        mixed = tl.zeros([QUERIES, HEAD_DIM], tl.float32)
        STAGES: tl.constexpr = 4 if QUERIES <= 16 else 2 if QUERIES <= 64 else 1
        for i in tl.range(0, parts, num_stages=STAGES):
            own = tl.load(tops + i * (2 * QUERIES) + query, cache_modifier=".cg")
            part = tl.load(sums + i * (QUERIES * HEAD_DIM) + one, cache_modifier=".cg")
            mixed += part * tl.exp2(own - highest)[:, None]
    return mixed / divisor[:, None]


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
    start(PDL)
    program = tl.program_id(0)
    kv_head = tl.program_id(1)
    blocks, splits, sequence = _splits(lengths, BLOCK, PROGRAMS, SEQUENCES)
    ends = tl.cumsum(splits, 0)
    mine = tl.sum(((sequence < SEQUENCES) & (ends <= program)).to(tl.int32), 0)
    if mine < SEQUENCES:
        parts = _at(splits, sequence, mine)
        # Even within a sequence: 65 blocks in shares of at most 58 are 33 and 32, not 58 and 7.
        part_length = tl.cdiv(_at(blocks, sequence, mine), parts) * BLOCK
        begin = (program - (_at(ends, sequence, mine) - parts)) * part_length
        length = tl.load(lengths + mine)
        end = tl.minimum(begin + part_length, length)
        table = pages + mine * table_stride
        keys += kv_head.to(tl.int64) * head_stride
        values += kv_head.to(tl.int64) * head_stride
        row = tl.load(firsts + mine)
        count = tl.load(firsts + mine + 1) - row
        old = length - count  # positions below are of earlier steps, and need no wait
        d = tl.arange(0, HEAD_DIM)
        at = begin + tl.arange(0, BLOCK)
        k = _load(keys, table, at, tl.minimum(end, old), d, PAGE, HEAD_DIM)
        v = _load(values, table, at, tl.minimum(end, old), d, PAGE, HEAD_DIM)
        wait(PDL)
        if begin + BLOCK > old:
            k = _load(keys, table, at, end, d, PAGE, HEAD_DIM)
            v = _load(values, table, at, end, d, PAGE, HEAD_DIM)
        query = tl.arange(0, QUERIES)
        asked = query < count * GROUP
        head = (row + query // GROUP) * (KV_HEADS * GROUP) + kv_head * GROUP + query % GROUP
        if QUERIES == 1:
            own = tl.load(q + (row * KV_HEADS + kv_head) * HEAD_DIM + d).to(tl.float32) * scale
            mixed, top, total = _one_query(
                own, k, v, keys, values, table, begin, end, d, BLOCK, PAGE
            )
            mixed = mixed[None, :]
            top = tl.full([QUERIES], 0.0, tl.float32) + top
            total = tl.full([QUERIES], 0.0, tl.float32) + total
        else:
            own = tl.load(q + head[:, None] * HEAD_DIM + d[None, :], mask=asked[:, None], other=0.0)
            limit = old + query // GROUP  # the last position a query sees
            mixed, top, total = _many_queries(
                own, limit, k, v, keys, values, table, begin, end, scale, d, BLOCK, PAGE, STAGES
            )
        target = out + head[:, None] * HEAD_DIM + d[None, :]
        if parts == 1:
            result = mixed / total[:, None]
            tl.store(target, result.to(out.dtype.element_ty), mask=asked[:, None])
        else:
            slot = kv_head * PROGRAMS + program
            one = slot * (QUERIES * HEAD_DIM) + query[:, None] * HEAD_DIM + d[None, :]
            tl.store(sums + one, mixed)
            tl.store(tops + slot * (2 * QUERIES) + query, top)
            tl.store(tops + slot * (2 * QUERIES) + QUERIES + query, total)
            tl.debug_barrier()  # all threads' parts are written before one thread says so
            counter = counters + kv_head * SEQUENCES + mine
            if tl.atomic_add(counter, 1, sem="acq_rel") == parts - 1:
                tl.debug_barrier()
                tl.store(counter, 0)
                slot = kv_head * PROGRAMS + _at(ends, sequence, mine) - parts
                sums += slot * (QUERIES * HEAD_DIM)
                result = _merged(sums, tops + slot * (2 * QUERIES), parts, d, QUERIES, PROGRAMS)
                tl.store(target, result.to(out.dtype.element_ty), mask=asked[:, None])
    else:
        wait(PDL)


def _tile(queries: int, sequences: int, heads: int, device: torch.device) -> tiles.Tile:
    """bn: programs per multiprocessor; bk: positions at a time.

    One sequence leaves room for the programs of the next kernel, which then load their weights
    while it runs; several need all of the multiprocessor themselves.
    """
    op = "paged_attention" if sequences == 1 else "paged_attention_batch"
    return tiles.choose(op, queries, heads, 0, device)


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
    tile = _tile(queries, sequences, heads, device)
    wanted = tile.bn * _multiprocessors(device) // kv_heads
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
    tile = _tile(queries, n, heads, q.device)
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
        **tiles.resident(tile, q),
        **tiles.launch(pdl),
    )


def paged_attention_ref(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: Sequences,
    scratch: Scratch | None,
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
