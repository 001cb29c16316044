"""Logits of the normed stream, and the greedy token: no sync, the id stays on the device."""
# pyright: reportArgumentType=false, reportCallIssue=false
# (its types know neither launches nor their constants)

import torch
import triton
import triton.language as tl

from cl_kernels import tiles
from cl_kernels.product import product, start, wait
from cl_kernels.stream import Stream, norm_scale


@triton.jit
def _norm_lm_head_kernel(
    scaled,
    squares,
    w,
    logits,
    count,
    eps,
    VOCAB: tl.constexpr,
    K: tl.constexpr,
    PARTS: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    ROWS: tl.constexpr,
    STAGES: tl.constexpr,
    PDL: tl.constexpr,
):
    start(PDL)
    first = tl.program_id(0) * BN
    # A last tile that is not full reads its last row again and does not write it.
    rows = tl.minimum(tl.arange(0, BN), VOCAB - 1 - first)
    sums = product(w + first.to(tl.int64) * K, rows, scaled, count, K, BK, ROWS, STAGES, PDL)
    sums = sums * norm_scale(squares, count, eps, K, PARTS, ROWS)[None, :]
    n = first + tl.arange(0, BN)[:, None]
    row = tl.arange(0, ROWS)[None, :]
    tl.store(logits + row * VOCAB + n, sums, mask=(row < count) & (n < VOCAB))


@triton.jit
def _greedy_kernel(logits, ids, VOCAB: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr):
    wait(PDL)
    start(PDL)
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    best = tl.full([BLOCK], -float("inf"), tl.float32)
    where = tl.zeros([BLOCK], tl.int32)
    for first in tl.range(0, VOCAB, BLOCK):
        own = tl.load(
            logits + row * VOCAB + first + at, mask=first + at < VOCAB, other=-float("inf")
        )
        where = tl.where(own > best, first + at, where)
        best = tl.maximum(own, best)
    top = tl.max(best, 0)
    tl.store(ids + row, tl.min(tl.where(best == top, where, VOCAB), 0).to(ids.dtype.element_ty))


def norm_lm_head(stream: Stream, w: torch.Tensor, eps: float, logits: torch.Tensor) -> None:
    """logits [rows, vocab], float32, from w [vocab, dim]."""
    stream.check()
    vocab = len(w)
    assert w.shape == (vocab, stream.dim) and logits.shape == (stream.rows, vocab)
    assert logits.dtype == torch.float32 and w.dtype == stream.scaled.dtype
    assert w.is_contiguous() and logits.is_contiguous()
    tile = tiles.choose("norm_lm_head", stream.rows, vocab, stream.dim, w.device)
    _norm_lm_head_kernel[(triton.cdiv(vocab, tile.bn),)](
        stream.scaled,
        stream.squares,
        w,
        logits,
        stream.rows,
        eps,
        VOCAB=vocab,
        K=stream.dim,
        PARTS=stream.squares.shape[1],
        **tiles.options(tile, stream.rows, tiles.pdl(w)),
    )


def norm_lm_head_ref(stream: Stream, w: torch.Tensor, eps: float, logits: torch.Tensor) -> None:
    logits.copy_(stream.normed(eps) @ w.float().T)


def greedy(logits: torch.Tensor, ids: torch.Tensor) -> None:
    """ids [rows]: where each row of logits [rows, vocab] is largest, the first of equals."""
    rows, vocab = logits.shape
    assert ids.shape == (rows,) and logits.is_contiguous() and logits.dtype == torch.float32
    pdl = tiles.pdl(logits)
    block = min(8192, triton.next_power_of_2(vocab))
    _greedy_kernel[(rows,)](
        logits,
        ids,
        VOCAB=vocab,
        BLOCK=block,
        PDL=pdl,
        num_warps=16,
        **tiles.launch(pdl),
    )


def greedy_ref(logits: torch.Tensor, ids: torch.Tensor) -> None:
    ids.copy_(logits.argmax(1))
