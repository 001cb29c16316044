"""How long an op takes on a GPU, with nothing of it in the L2; and how long reading takes.

Times are of CUDA graphs, by events, medians.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch
import triton
import triton.language as tl
from cl_kernels.norm_gate_up_silu import norm_gate_up_silu
from cl_kernels.norm_lm_head import norm_lm_head
from cl_kernels.norm_qkv_rope_append import norm_qkv_rope_append
from cl_kernels.paged_attention import paged_attention
from cl_kernels.project_residual import project_residual

from tests.ops.cases import EPS, Maker, Shape

COLD = 400 << 20  # bytes that a rotation reads at least: several times the L2 (60 MB on an H200)


def replays(run: Callable[[], None], times: int = 20) -> list[float]:
    """Milliseconds of one replay of the graph of `run`, `times` times."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    for _ in range(3):
        graph.replay()
    found = []
    for _ in range(times):
        a, b = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        a.record()
        graph.replay()
        b.record()
        b.synchronize()
        found.append(a.elapsed_time(b))
    return found


def median(run: Callable[[], None], times: int = 20) -> float:
    return statistics.median(replays(run, times))


@triton.jit
def _read_kernel(data, out, BLOCK: tl.constexpr):
    base = data + tl.program_id(0).to(tl.int64) * (4 * BLOCK)
    at = tl.arange(0, BLOCK)
    total = tl.load(base + at) + tl.load(base + BLOCK + at)
    total += tl.load(base + 2 * BLOCK + at) + tl.load(base + 3 * BLOCK + at)
    tl.store(out + tl.program_id(0), tl.sum(total, 0))


def read_ceiling() -> float:
    """Bytes a second that a kernel which only reads 4 GB reaches, the best of three blocks."""
    data = torch.randn(1 << 30, device="cuda")
    best = 0.0
    for block, warps in ((1024, 4), (2048, 4), (4096, 8)):
        programs = len(data) // (4 * block)
        out = torch.empty(programs, device="cuda")
        kernel = partial(_read_kernel[(programs,)], data, out, BLOCK=block, num_warps=warps)  # pyright: ignore[reportArgumentType, reportCallIssue]
        best = max(best, data.nbytes / (median(kernel) / 1e3))
    return best


def rotation(count: int, one: Callable[[int], None]) -> Callable[[], None]:
    """One after the other, `count` calls, each on weights of its own."""

    def run() -> None:
        for i in range(count):
            one(i)

    return run


Op = tuple[str, int, int, Callable[[], float]]  # name, n, k, milliseconds of one call


def products(make: Maker, s: Shape, rows: int) -> list[Op]:
    """Each product of a layer, and the head, timed on rotating weights."""
    stream, q_width = make.stream(rows, s.dim), s.heads * s.head_dim
    q = make.nan(rows, s.heads, s.head_dim)
    keys, values = (make.nan(s.kv_heads, 64, s.head_dim) for _ in range(2))
    places, rope = make.places(rows, 64), make.rope(300, s.head_dim)
    wide, logits = make.nan(rows, s.ffn), make.nan(rows, s.vocab, dtype=torch.float32)
    inputs = {k: make.normal(rows, k) for k in (q_width, s.ffn)}
    gamma = make.gamma(s.dim)

    def timed(n: int, k: int, call: Callable[[torch.Tensor], None]) -> Callable[[], float]:
        def time() -> float:
            count = max(4, -(-COLD // (2 * n * k)))
            weights = [make.weight(n, k) for _ in range(count)]
            return median(rotation(count, lambda i: call(weights[i]))) / count

        return time

    def project(k: int) -> Callable[[torch.Tensor], None]:
        return lambda w: project_residual(inputs[k], w, gamma, stream)

    def qkv(w: torch.Tensor) -> None:
        norm_qkv_rope_append(stream, w, *rope, places, EPS, q, keys, values)

    def gate_up(w: torch.Tensor) -> None:
        norm_gate_up_silu(stream, w, EPS, wide)

    def head(w: torch.Tensor) -> None:
        norm_lm_head(stream, w, EPS, logits)

    found = [
        ("norm_qkv_rope_append", (s.heads + 2 * s.kv_heads) * s.head_dim, s.dim, qkv),
        ("project_residual", s.dim, q_width, project(q_width)),
        ("norm_gate_up_silu", 2 * s.ffn, s.dim, gate_up),
        ("project_residual", s.dim, s.ffn, project(s.ffn)),
        ("norm_lm_head", s.vocab, s.dim, head),
    ]
    return [(name, n, k, timed(n, k, call)) for name, n, k, call in found]


def time_attention(
    make: Maker, s: Shape, lengths: list[int], counts: list[int]
) -> tuple[float, int]:
    """Milliseconds, and the bytes of keys and values."""
    size = 2 * s.kv_heads * sum(lengths) * s.head_dim * 2
    count = max(4, -(-COLD // size))
    caches = [make.cache(s, lengths, counts, 16, max(counts)) for _ in range(count)]
    q = make.normal(sum(counts), s.heads, s.head_dim)
    out = make.nan(*q.shape)

    def one(i: int) -> None:
        keys, values, known, scratch = caches[i]
        paged_attention(q, keys, values, known, scratch, out)

    return median(rotation(count, one)) / count, size
