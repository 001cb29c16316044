"""Token ids to the residual stream, and what the first norm needs of it."""
# pyright: reportArgumentType=false, reportCallIssue=false
# (its types know neither launches nor their constants)

import torch
import triton
import triton.language as tl

from cl_kernels import tiles
from cl_kernels.product import start, wait
from cl_kernels.stream import Stream


@triton.jit
def _embed_kernel(
    ids,
    table,
    gamma,
    x,
    scaled,
    squares,
    DIM: tl.constexpr,
    PART: tl.constexpr,
    BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    # Waits before it starts others, as no other op does: whatever runs after it may then read the
    # step's positions, lengths and page tables, and older keys and values, without a wait.
    wait(PDL)
    start(PDL)
    row = tl.program_id(0)
    PARTS: tl.constexpr = DIM // PART
    part = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[:, None]
    at = part * PART + tl.arange(0, PART)[None, :]
    there = part < PARTS
    picked = tl.load(ids + row).to(tl.int64)
    own = tl.load(table + picked * DIM + at, mask=there, other=0.0).to(tl.float32)
    tl.store(x + row * DIM + at, own, mask=there)
    weight = tl.load(gamma + at, mask=there, other=0.0).to(tl.float32)
    tl.store(scaled + row * DIM + at, (own * weight).to(scaled.dtype.element_ty), mask=there)
    one = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    tl.store(squares + row * PARTS + one, tl.sum(own * own, 1), mask=one < PARTS)


def embed(ids: torch.Tensor, table: torch.Tensor, gamma: torch.Tensor, stream: Stream) -> None:
    """ids [rows] into `stream`. table: [vocab, dim]; gamma: [dim], of the first layer's norm."""
    stream.check()
    assert ids.shape == (stream.rows,) and ids.is_contiguous()
    assert table.shape[1] == stream.dim == len(gamma) and table.is_contiguous()
    pdl = tiles.pdl(table)
    block = max(1, 1024 // stream.part)
    grid = (stream.rows, triton.cdiv(stream.squares.shape[1], block))
    _embed_kernel[grid](
        ids,
        table,
        gamma,
        stream.x,
        stream.scaled,
        stream.squares,
        DIM=stream.dim,
        PART=stream.part,
        BLOCK=block,
        PDL=pdl,
        num_warps=4,
        **tiles.launch(pdl),
    )


def embed_ref(ids: torch.Tensor, table: torch.Tensor, gamma: torch.Tensor, stream: Stream) -> None:
    stream.put_ref(table[ids].float(), gamma)
