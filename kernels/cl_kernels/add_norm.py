"""The norms of many rows: x grows by what a layer added, or begins as embeddings; then its norm."""
# pyright: reportArgumentType=false, reportCallIssue=false
# (its types know neither launches nor their constants)

import torch
import torch.nn.functional as F
import triton
import triton.language as tl


@triton.jit
def _add_norm_kernel(
    x,
    source,
    ids,
    gamma,
    out,
    eps,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    EMBED: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    there = at < DIM
    if EMBED:
        source += tl.load(ids + row).to(tl.int64) * DIM
    else:
        source += row * DIM
    new = tl.load(source + at, mask=there, other=0.0).to(tl.float32)
    if not EMBED:
        new += tl.load(x + row * DIM + at, mask=there, other=0.0)
    tl.store(x + row * DIM + at, new, mask=there)
    scale = tl.rsqrt(tl.sum(new * new, 0) / DIM + eps)
    weight = tl.load(gamma + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + row * DIM + at, (new * scale * weight).to(out.dtype.element_ty), mask=there)


def _launch(
    source: torch.Tensor,
    ids: torch.Tensor,
    gamma: torch.Tensor,
    eps: float,
    x: torch.Tensor,
    out: torch.Tensor,
    embed: bool,
) -> None:
    rows, dim = x.shape
    assert out.shape == x.shape and source.shape[1] == dim == len(gamma)
    assert all(t.is_contiguous() for t in (source, x, out)) and x.dtype == torch.float32
    block = triton.next_power_of_2(dim)
    _add_norm_kernel[(rows,)](
        x, source, ids, gamma, out, eps, DIM=dim, BLOCK=block, EMBED=embed, num_warps=8
    )


def add_norm(
    delta: torch.Tensor, gamma: torch.Tensor, eps: float, x: torch.Tensor, out: torch.Tensor
) -> None:
    """x [rows, dim], float32, += delta; out [rows, dim]: its norm times gamma [dim]."""
    assert delta.shape == x.shape
    _launch(delta, x, gamma, eps, x, out, embed=False)


def embed_norm(
    ids: torch.Tensor,
    table: torch.Tensor,
    gamma: torch.Tensor,
    eps: float,
    x: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """x [rows, dim] = the rows `ids` of table [vocab, dim]; out: its norm times gamma [dim]."""
    assert ids.shape == (len(x),) and ids.is_contiguous()
    _launch(table, ids, gamma, eps, x, out, embed=True)


def add_norm_ref(
    delta: torch.Tensor, gamma: torch.Tensor, eps: float, x: torch.Tensor, out: torch.Tensor
) -> None:
    x += delta.float()
    out.copy_(F.rms_norm(x, x.shape[1:], gamma.float(), eps))


def embed_norm_ref(
    ids: torch.Tensor,
    table: torch.Tensor,
    gamma: torch.Tensor,
    eps: float,
    x: torch.Tensor,
    out: torch.Tensor,
) -> None:
    x.copy_(table[ids])
    out.copy_(F.rms_norm(x, x.shape[1:], gamma.float(), eps))
