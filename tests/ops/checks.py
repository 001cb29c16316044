"""One check per op: fresh random arguments for op and op_ref, outputs that start as NaN.

Run by the tests (interpreted, tiny shapes) and by kernels/bench.py (compiled, true ones).
"""

import torch
from cl_kernels.add_norm import add_norm, add_norm_ref, embed_norm, embed_norm_ref
from cl_kernels.embed import embed, embed_ref
from cl_kernels.norm_gate_up_silu import norm_gate_up_silu, norm_gate_up_silu_ref
from cl_kernels.norm_lm_head import norm_lm_head, norm_lm_head_ref
from cl_kernels.norm_qkv_rope_append import norm_qkv_rope_append, norm_qkv_rope_append_ref
from cl_kernels.paged_attention import paged_attention, paged_attention_ref
from cl_kernels.prefill_attention import (
    blocks_of,
    most_blocks,
    prefill_attention,
    prefill_attention_ref,
)
from cl_kernels.project_residual import project_residual, project_residual_ref
from cl_kernels.rope_append import rope_append, rope_append_ref
from cl_kernels.sample import sample, sample_ref
from cl_kernels.silu_mul import silu_mul, silu_mul_ref
from cl_kernels.stream import Stream

from tests.ops.cases import EPS, Maker, Shape, copied, distance, tolerance


def agree(what: str, got: torch.Tensor, want: torch.Tensor, inner: torch.dtype) -> None:
    """Relative error within what rounding the result, and the products' operands, costs."""
    assert not got.isnan().any(), f"{what}: not all written"
    error, bound = distance(got, want), max(tolerance(got.dtype), tolerance(inner) / 50)
    assert error <= bound, f"{what}: {error:.2e} > {bound:.2e}"


def agree_streams(got: Stream, want: Stream) -> None:
    inner = got.scaled.dtype
    agree("x", got.x, want.x, inner)
    agree("scaled", got.scaled, want.scaled, inner)
    agree("squares", got.squares, want.squares, inner)


def check_embed(make: Maker, shape: Shape, rows: int) -> None:
    table, gamma = make.normal(shape.vocab, shape.dim), make.gamma(shape.dim)
    ids = make.ints(0, shape.vocab, rows)
    got, want = (make.empty_stream(rows, shape.dim) for _ in range(2))
    embed(ids, table, gamma, got)
    embed_ref(ids, table, gamma, want)
    agree_streams(got, want)


def check_qkv(make: Maker, shape: Shape, rows: int) -> None:
    stream, slots = make.stream(rows, shape.dim), 40
    w = make.weight((shape.heads + 2 * shape.kv_heads) * shape.head_dim, shape.dim)
    cos, sin = make.rope(300, shape.head_dim)
    places = make.places(rows, slots)
    outs = []
    for op in (norm_qkv_rope_append, norm_qkv_rope_append_ref):
        q = make.nan(rows, shape.heads, shape.head_dim)
        # One layer of a pool of three: a stride between heads, and neighbours to leave alone.
        pools = [make.nan(3, shape.kv_heads, slots, shape.head_dim) for _ in range(2)]
        op(stream, w, cos, sin, places, EPS, q, pools[0][1], pools[1][1])
        outs.append((q, *pools))
    agree("q", outs[0][0], outs[1][0], make.dtype)
    for got, want in zip(outs[0][1:], outs[1][1:], strict=True):
        assert (got.isnan() == want.isnan()).all(), "other slots than asked for"
        agree("cache", got.nan_to_num(), want.nan_to_num(), make.dtype)


def check_attention(
    make: Maker, shape: Shape, lengths: list[int], counts: list[int], size: int = 16
) -> None:
    most = max(counts)
    keys, values, known, scratch = make.cache(shape, lengths, counts, size, most)
    q = make.normal(sum(counts), shape.heads, shape.head_dim)
    for _ in range(2):  # the second finds the counters that the first left
        got, want = (make.nan(*q.shape) for _ in range(2))
        paged_attention(q, keys, values, known, scratch, got)
        paged_attention_ref(q, keys, values, known, scratch, want)
        agree("attention", got, want, make.dtype)
    assert not scratch.counters.any()


def check_project(make: Maker, shape: Shape, rows: int, k: int) -> None:
    got = make.stream(rows, shape.dim, (shape.heads * shape.head_dim, shape.ffn))
    want = copied(got)
    h, w, gamma = make.normal(rows, k), make.weight(shape.dim, k), make.gamma(shape.dim)
    project_residual(h, w, gamma, got)
    project_residual_ref(h, w, gamma, want)
    agree_streams(got, want)


def check_gate_up(make: Maker, shape: Shape, rows: int) -> None:
    stream, w = make.stream(rows, shape.dim), make.weight(2 * shape.ffn, shape.dim)
    got, want = (make.nan(rows, shape.ffn) for _ in range(2))
    norm_gate_up_silu(stream, w, EPS, got)
    norm_gate_up_silu_ref(stream, w, EPS, want)
    agree("gate, up", got, want, make.dtype)


def check_head(make: Maker, shape: Shape, rows: int) -> None:
    stream, w = make.stream(rows, shape.dim), make.weight(shape.vocab, shape.dim)
    got, want = (make.nan(rows, shape.vocab, dtype=torch.float32) for _ in range(2))
    norm_lm_head(stream, w, EPS, got)
    norm_lm_head_ref(stream, w, EPS, want)
    agree("logits", got, want, make.dtype)


def check_add_norm(make: Maker, shape: Shape, rows: int) -> None:
    table, gamma = make.normal(shape.vocab, shape.dim), make.gamma(shape.dim)
    ids, delta = make.ints(0, shape.vocab, rows), make.normal(rows, shape.dim)
    outs = []
    for begin, add in ((embed_norm, add_norm), (embed_norm_ref, add_norm_ref)):
        x = make.nan(rows, shape.dim, dtype=torch.float32)
        first, second = (make.nan(rows, shape.dim) for _ in range(2))
        begin(ids, table, gamma, EPS, x, first)
        add(delta, gamma, EPS, x, second)
        outs.append((x, first, second))
    for name, got, want in zip(("x", "embedded", "added"), *outs, strict=True):
        agree(name, got, want, make.dtype)


def check_silu_mul(make: Maker, shape: Shape, rows: int) -> None:
    gate_up = make.normal(rows, 2 * shape.ffn, std=3.0)
    got, want = (make.nan(rows, shape.ffn) for _ in range(2))
    silu_mul(gate_up, got)
    silu_mul_ref(gate_up, want)
    agree("silu", got, want, make.dtype)


def check_rope_append(make: Maker, shape: Shape, rows: int) -> None:
    slots = 2 * rows + 8
    qkv = make.normal(rows, shape.heads + 2 * shape.kv_heads, shape.head_dim)
    cos, sin = make.rope(300, shape.head_dim)
    places = make.places(rows, slots)
    outs = []
    for op in (rope_append, rope_append_ref):
        own = qkv.clone()
        pools = [make.nan(3, shape.kv_heads, slots, shape.head_dim) for _ in range(2)]
        op(own, cos, sin, places, shape.heads, pools[0][1], pools[1][1])
        outs.append((own[:, : shape.heads], *pools))
    agree("q", outs[0][0], outs[1][0], make.dtype)
    for got, want in zip(outs[0][1:], outs[1][1:], strict=True):
        assert (got.isnan() == want.isnan()).all(), "other slots than asked for"
        agree("cache", got.nan_to_num(), want.nan_to_num(), make.dtype)


def check_prefill(
    make: Maker, shape: Shape, lengths: list[int], counts: list[int], in_order: bool = False
) -> None:
    """The queries are a part of wider rows, as they come out of their product."""
    keys, values, known, _ = make.cache(shape, lengths, counts, 16, 1, in_order)
    width = shape.heads + 2 * shape.kv_heads
    q = make.normal(sum(counts), width, shape.head_dim)[:, : shape.heads]
    found = [*blocks_of(lengths, counts, make.dtype, make.device), (-1, 0)]
    assert len(found) <= most_blocks(sum(counts), len(counts), make.dtype, make.device) + 1
    blocks = torch.tensor(found, device=make.device).int()
    runs = known.pages[:, 0].clone() if in_order else torch.full_like(known.lengths, -1)
    got, want = (make.nan(*q.shape) for _ in range(2))
    prefill_attention(q, keys, values, known, runs, blocks, got)
    prefill_attention_ref(q, keys, values, known, runs, blocks, want)
    agree("prefill attention", got, want, make.dtype)


def check_sample(make: Maker, vocab: int) -> None:
    """Greedy and drawn, each cut by itself and all at once, masked or not: the same tokens.

    Scores that rounding may order either way, or put on either side of a cut, are rare enough.
    """
    rows = 16
    logits = make.normal(rows, vocab, std=3.0, dtype=torch.float32)
    choices = make.choices(rows, vocab)
    got, want = (torch.full((rows,), -1, device=make.device) for _ in range(2))
    sample(logits, choices, got)
    sample_ref(logits, choices, want)
    assert (got == want).all(), (got, want)
    logits[:, 3] = logits[:, vocab - 2] = 99.0  # equals: the first one counts
    choices.temperature.zero_()
    choices.masked.zero_()
    sample(logits, choices, got)
    assert (got == 3).all()
    logits[:, 3] = 0.0
    sample(logits, choices, got)
    assert (got == vocab - 2).all()
    logits.fill_(float("nan"))  # a broken model's; an id all the same
    sample(logits, choices, got)
    assert ((got >= 0) & (got < vocab)).all()


def check_many(make: Maker, shape: Shape, rows: int) -> None:
    """Every op of a long prompt, but its products and attention."""
    check_add_norm(make, shape, rows)
    check_silu_mul(make, shape, rows)
    check_rope_append(make, shape, rows)


def check_all(make: Maker, shape: Shape, rows: int) -> None:
    """Every product at this many rows."""
    check_embed(make, shape, rows)
    check_qkv(make, shape, rows)
    check_project(make, shape, rows, shape.heads * shape.head_dim)
    check_project(make, shape, rows, shape.ffn)
    check_gate_up(make, shape, rows)
    check_head(make, shape, rows)


def attention_cases() -> list[tuple[list[int], list[int]]]:
    """Lengths and new rows of sequences: page and block boundaries, ragged, absent, verified."""
    single = [([n], [1]) for n in (1, 15, 16, 17, 2047, 2048)]
    return [
        *single,
        ([8], [8]),
        ([2047], [8]),
        ([65], [3]),
        ([1, 300, 17, 64], [1, 1, 1, 1]),
        ([2047, 0, 16, 700, 0], [1, 0, 1, 1, 0]),
        ([130, 9, 1000], [8, 1, 7]),
    ]


def prefill_cases() -> list[tuple[list[int], list[int]]]:
    """Lengths and new rows: within a block and across, behind a cache, ragged, in company."""
    return [
        ([17], [17]),
        ([300], [300]),
        ([1000], [129]),
        ([2048], [2000]),
        ([17, 500, 130], [17, 1, 130]),
    ]
