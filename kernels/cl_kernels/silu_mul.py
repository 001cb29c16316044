"""silu(gate) · up of many rows, whose product has been made elsewhere."""
# pyright: reportArgumentType=false, reportCallIssue=false
# (its types know neither launches nor their constants)

import torch
import torch.nn.functional as F
import triton
import triton.language as tl


@triton.jit
def _silu_mul_kernel(gate_up, out, FFN: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < FFN
    gate = tl.load(gate_up + row * (2 * FFN) + at, mask=there, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * (2 * FFN) + FFN + at, mask=there, other=0.0).to(tl.float32)
    value = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out + row * FFN + at, value.to(out.dtype.element_ty), mask=there)


def silu_mul(gate_up: torch.Tensor, out: torch.Tensor) -> None:
    """out [rows, ffn] from gate_up [rows, 2·ffn], gate before up."""
    rows, ffn = out.shape
    assert gate_up.shape == (rows, 2 * ffn) and gate_up.is_contiguous() and out.is_contiguous()
    block = min(2048, triton.next_power_of_2(ffn))
    grid = (rows, triton.cdiv(ffn, block))
    _silu_mul_kernel[grid](gate_up, out, FFN=ffn, BLOCK=block, num_warps=8)


def silu_mul_ref(gate_up: torch.Tensor, out: torch.Tensor) -> None:
    gate, up = gate_up.float().chunk(2, 1)
    out.copy_(F.silu(gate) * up)
