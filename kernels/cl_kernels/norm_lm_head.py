"""Logits of the normed stream."""
# pyright: reportArgumentType=false, reportCallIssue=false
# (its types know neither launches nor their constants)

import torch
import triton
import triton.language as tl

from cl_kernels import tiles
from cl_kernels.product import first_tiles, normed_product, start, wait
from cl_kernels.stream import Stream


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
    FIRST: tl.constexpr,
    STAGES: tl.constexpr,
    PDL: tl.constexpr,
):
    start(PDL)
    first = tl.program_id(0) * BN
    # A last tile that is not full reads its last row again and does not write it.
    rows = tl.minimum(tl.arange(0, BN), VOCAB - 1 - first)
    own = w + first.to(tl.int64) * K
    tiles = first_tiles(own, rows, K, BK, FIRST)
    wait(PDL)
    sums = normed_product(
        tiles, own, rows, scaled, squares, count, eps, K, PARTS, BK, ROWS, FIRST, STAGES
    )
    n = first + tl.arange(0, BN)[:, None]
    row = tl.arange(0, ROWS)[None, :]
    tl.store(logits + row * VOCAB + n, sums, mask=(row < count) & (n < VOCAB))


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
        PARTS=stream.squares.shape[1],
        **tiles.options(tile, stream.rows, w),
    )


def norm_lm_head_ref(stream: Stream, w: torch.Tensor, eps: float, logits: torch.Tensor) -> None:
    logits.copy_(stream.normed(eps) @ w.float().T)
