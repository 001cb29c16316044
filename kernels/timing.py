"""How long an op takes on a GPU, with nothing of it in the L2; and how long reading takes.

Times are of CUDA graphs, by events, medians.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch
import triton
import triton.language as tl
from cl_kernels.add_norm import add_norm
from cl_kernels.norm_gate_up_silu import norm_gate_up_silu
from cl_kernels.norm_lm_head import norm_lm_head
from cl_kernels.norm_qkv_rope_append import norm_qkv_rope_append
from cl_kernels.paged_attention import paged_attention
from cl_kernels.prefill_attention import blocks_of, prefill_attention
from cl_kernels.project_residual import project_residual
from cl_kernels.rope_append import rope_append
from cl_kernels.sample import sample
from cl_kernels.silu_mul import silu_mul

from tests.ops.cases import EPS, Maker, Shape

COLD = 400 << 20  # bytes that a rotation reads at least: several times the L2 (60 MB on an H200)


def replays(run: Callable[[], object], times: int = 20) -> list[float]:
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


def median(run: Callable[[], object], times: int = 20) -> float:
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


def matrix_ceiling(n: int = 8192) -> float:
    """bf16 operations a second of cuBLAS' product of two random squares."""
    a, b = (torch.randn(n, n, device="cuda").bfloat16() for _ in range(2))
    return 2 * n**3 / (median(lambda: torch.mm(a, b)) / 1e3)


def rotation(count: int, one: Callable[[int], None]) -> Callable[[], None]:
    """One after the other, `count` calls, each on weights of its own."""

    def run() -> None:
        for i in range(count):
            one(i)

    return run


Op = tuple[str, int, int, Callable[[], float]]  # name, rows, bytes, milliseconds of one call
Product = tuple[str, int, int, Callable[[], float]]  # name, n, k, milliseconds of one call


def products(make: Maker, s: Shape, rows: int) -> list[Product]:
    """Each product of a layer, and the head, timed on rotating weights."""
    q_width = s.heads * s.head_dim
    stream = make.stream(rows, s.dim, (q_width, s.ffn))
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


def time_prefill(make: Maker, s: Shape, lengths: list[int], counts: list[int]) -> tuple[float, int]:
    """Milliseconds, and the operations of what the rows see."""
    keys, values, known, _ = make.cache(s, lengths, counts, 16, 1, in_order=True)
    q = make.normal(sum(counts), s.heads, s.head_dim)
    blocks = torch.tensor(blocks_of(lengths, counts, q.dtype, q.device), device=q.device).int()
    runs, out = known.pages[:, 0].contiguous(), make.nan(*q.shape)

    def run() -> None:
        prefill_attention(q, keys, values, known, runs, blocks, out)

    seen = sum(n * (end - n) + n * (n + 1) // 2 for end, n in zip(lengths, counts, strict=True))
    return median(run), 4 * s.head_dim * s.heads * seen


def many_rows(make: Maker, s: Shape, rows: int) -> list[Op]:
    """What stands between the products of a prompt, and the sampler, which has 16 rows.

    All of a chunk's rows fit into the L2, where they come from in use, too.
    """
    x, h = make.normal(rows, s.dim, dtype=torch.float32), make.normal(rows, s.dim)
    gamma = make.gamma(s.dim)
    gate_up, wide = make.normal(rows, 2 * s.ffn), make.normal(rows, s.ffn)
    qkv = make.normal(rows, s.heads + 2 * s.kv_heads, s.head_dim)
    keys, values = (make.normal(s.kv_heads, rows + 8, s.head_dim) for _ in range(2))
    places, rope = make.places(rows, rows + 8), make.rope(300, s.head_dim)
    logits = make.normal(16, s.vocab, dtype=torch.float32)
    choices, ids = make.choices(16, s.vocab), torch.zeros(16, device=make.device).long()
    greedy = make.choices(16, s.vocab)
    greedy.temperature.zero_()

    def timed(call: Callable[[], None], times: int = 8) -> Callable[[], float]:
        return lambda: median(rotation(times, lambda _: call())) / times

    return [
        (
            "add_norm",
            rows,
            2 * x.nbytes + 2 * h.nbytes,
            timed(lambda: add_norm(h, gamma, EPS, x, h)),
        ),
        ("silu_mul", rows, 3 * wide.nbytes, timed(lambda: silu_mul(gate_up, wide))),
        (
            "rope_append",
            rows,
            2 * qkv.nbytes,
            timed(lambda: rope_append(qkv, *rope, places, s.heads, keys, values)),
        ),
        ("sample, greedy", 16, logits.nbytes, timed(lambda: sample(logits, greedy, ids))),
        ("sample, drawn", 16, logits.nbytes, timed(lambda: sample(logits, choices, ids))),
    ]
