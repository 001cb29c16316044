"""Every op of the decode path on a GPU: its check first, then its time against the read ceiling.

python kernels/bench.py [--tune] [--quick] [--only CHAIN|OPS]; one JSON line per result goes to
standard output and, with --out, to the end of a file.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import triton
import triton.language as tl

sys.path.insert(0, str(Path(__file__).parent.parent))  # for tests.ops

from chain import Step, new_model
from cl_kernels import tiles
from cl_kernels.norm_gate_up_silu import norm_gate_up_silu
from cl_kernels.norm_lm_head import norm_lm_head
from cl_kernels.norm_qkv_rope_append import norm_qkv_rope_append
from cl_kernels.paged_attention import paged_attention
from cl_kernels.project_residual import project_residual
from cl_kernels.tiles import Tile

from tests.ops import checks
from tests.ops.cases import EPS, LLAMA_7B, LLAMA_13B, LLAMA_34B, Maker, Shape

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


def tune(make: Maker, s: Shape, log: Callable[..., None], only_attention: bool) -> None:
    """The fastest of a few tiles for every product and number of rows, into tuned/<gpu>.json.

    The two projections share `bn`, which the partial sums of squares depend on.
    """
    path = tiles.file_of(torch.cuda.get_device_name())
    best: dict[str, Tile] = {}
    if path.exists():
        best = {key: Tile(**value) for key, value in json.loads(path.read_text()).items()}
    for rows in () if only_attention else (1, 8, 16):
        times: dict[str, dict[Tile, float]] = {}
        for tile in candidates(rows):
            for op in ("project_residual", "norm_qkv_rope_append", "norm_gate_up_silu"):
                tiles.force(op, tile)
            tiles.force("norm_lm_head", tile)
            for name, n, k, time in products(make, s, rows):
                try:
                    took = time()
                except triton.runtime.errors.OutOfResources:
                    continue
                key = f"{name} {rows} {n}x{k}"
                times.setdefault(key, {})[tile] = took
                log(what="tune", key=key, tile=vars(tile), us=round(took * 1e3, 2))
        for op in ("project_residual", "norm_qkv_rope_append", "norm_gate_up_silu", "norm_lm_head"):
            tiles.force(op, None)
        own = {key: found for key, found in times.items() if key.startswith("project_residual")}
        widths = {tile.bn for found in own.values() for tile in found}

        def fastest(found: dict[Tile, float], bn: int | None = None) -> Tile:
            return min((t for t in found if bn in (None, t.bn)), key=found.__getitem__)

        width = min(widths, key=lambda bn: sum(f[fastest(f, bn)] for f in own.values()))
        for key, found in times.items():
            best[key] = fastest(found, width if key in own else None)
            best[key.rsplit(" ", 1)[0]] = best[key]  # other shapes: the last of this op
    op = "paged_attention"
    for rows, counts in ((1, [1]), (16, [8])):
        found: dict[Tile, float] = {}
        for tile in attention_candidates(rows):
            tiles.force(op, tile)
            try:
                found[tile], _ = time_attention(make, s, [2048], counts)
            except triton.runtime.errors.OutOfResources:
                continue
            log(what="tune", key=f"{op} {rows}", tile=vars(tile), us=round(found[tile] * 1e3, 2))
        best[f"{op} {rows}"] = min(found, key=found.__getitem__)
    tiles.force(op, None)
    path.parent.mkdir(exist_ok=True)
    path.write_text(tiles.as_json(best))


def attention_candidates(rows: int) -> list[Tile]:
    if rows == 1:
        shapes = [
            (2, 64, 8),
            (4, 64, 8),
            (4, 32, 4),
            (2, 32, 4),
            (8, 32, 4),
            (4, 32, 8),
            (2, 64, 4),
        ]
        return [Tile(*shape, 1) for shape in shapes]
    shapes = [(4, 32, 4, 2), (4, 64, 4, 2), (2, 64, 4, 2), (2, 64, 4, 3), (2, 128, 8, 2)]
    return [Tile(*shape) for shape in shapes]


def candidates(rows: int) -> list[Tile]:
    if rows == 1:
        shapes = [(4, 1024, 4), (2, 2048, 8), (4, 512, 4), (8, 512, 4), (2, 1024, 4), (4, 2048, 8)]
        return [Tile(bn, bk, warps, 1) for bn, bk, warps in shapes]
    shapes = [(16, 256, 1, 4), (16, 512, 1, 3), (32, 128, 2, 6), (32, 256, 2, 4), (16, 128, 1, 8)]
    return [Tile(*shape) for shape in shapes]


def check_everything(make: Maker, s: Shape, quick: bool) -> None:
    for rows in (1, 8) if quick else (1, 2, 7, 8, 16):
        checks.check_all(make, s, rows)
    for lengths, counts in checks.attention_cases():
        for size in (16,) if quick else (16, 64):
            checks.check_attention(make, s, lengths, counts, size)


STEPS = {  # name: lengths after the step, new rows
    "1 row, 2,048 cached": ([2049], [1]),
    "8 rows of one, 2,048 cached": ([2056], [8]),
    "16 rows of one, 2,048 cached": ([2064], [16]),
    "8 sequences, 256 cached": ([257] * 8, [1] * 8),
    "8 sequences, 2,048 cached": ([2049] * 8, [1] * 8),
    "1 row, 16,384 cached": ([16385], [1]),
}


def chains(make: Maker, s: Shape, ceiling: float, log: Callable[..., None], quick: bool) -> None:
    """Whole steps in one graph; the numbers of a small model are compared with float32 before."""
    small = new_model(make, s, 2)
    for name, (lengths, counts) in STEPS.items():
        step = Step(make, s, small, lengths, counts)
        step.gather()
        step.run()
        want = step.run_torch(torch.float32)
        peer = checks.distance(step.run_torch(torch.bfloat16), want)
        error = checks.distance(step.logits, want)
        assert error <= 1.5 * peer, f"{name}: {error:.2e}, torch in bfloat16 {peer:.2e}"
        log(what="check", step=name, error=error, torch_bf16_error=peer)
    del small
    model = new_model(make, s, 32)
    for name, (lengths, counts) in STEPS.items():
        step = Step(make, s, model, lengths, counts)
        ours = median(step.run)
        floor = step.read_bytes / ceiling * 1e3
        peer = None
        if len(lengths) == 1 and not quick:
            step.gather()
            peer = round(median(step.run_peer), 4)
        log(
            what="step",
            model="7B",
            step=name,
            ms=round(ours, 4),
            floor_ms=round(floor, 4),
            of_floor=round(floor / ours, 4),
            torch_ms=peer,
            bytes=step.read_bytes,
        )
        del step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tune",
        nargs="?",
        const="all",
        choices=["all", "attention"],
        help="search tiles, write the tuned file",
    )
    parser.add_argument("--quick", action="store_true", help="fewer checks, no peer")
    parser.add_argument("--only", choices=["ops", "chain"])
    parser.add_argument("--commit", help="where there is no repository to ask")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("kernels/bench.py needs an NVIDIA GPU; `pytest tests/ops` checks without one")
    commit = args.commit
    if commit is None:
        ask = ["git", "rev-parse", "--short", "HEAD"]
        done = subprocess.run(ask, cwd=Path(__file__).parent, capture_output=True, text=True)
        commit = done.stdout.strip() or "unknown"
    about = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "commit": commit,
        "command": "python kernels/" + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }

    def log(**result: object) -> None:
        line = json.dumps({**result, **about}, ensure_ascii=False)
        print(json.dumps(result, ensure_ascii=False), flush=True)
        if args.out and result["what"] != "tune":
            args.out.parent.mkdir(parents=True, exist_ok=True)
            with args.out.open("a") as file:
                file.write(line + "\n")

    make = Maker("cuda", torch.bfloat16, torch.seed() % 2**31)
    if args.tune:
        tune(make, LLAMA_7B, log, args.tune == "attention")
        tiles._tuned.cache_clear()
        tiles._chosen.cache_clear()
    ceiling = read_ceiling()
    log(what="ceiling", read_gb_s=round(ceiling / 1e9, 1))
    for shape in (LLAMA_7B,) if args.quick else (LLAMA_7B, LLAMA_13B, LLAMA_34B):
        check_everything(make, shape, args.quick)
        log(what="check", shape=vars(shape), passed=True)
    if args.only != "chain":
        for rows in (1, 8, 16):
            for name, n, k, time in products(make, LLAMA_7B, rows):
                took, size = time(), 2 * n * k
                log(
                    what="op",
                    op=name,
                    rows=rows,
                    shape=[n, k],
                    tile=vars(tiles.choose(name, rows, n, k, make.device)),
                    us=round(took * 1e3, 2),
                    bytes=size,
                    of_ceiling=round(size / (took / 1e3) / ceiling, 4),
                )
        for model, shape in (("7B", LLAMA_7B), ("34B", LLAMA_34B)):
            for lengths, counts in (([2049], [1]), ([2056], [8]), ([2049] * 8, [1] * 8)):
                took, size = time_attention(make, shape, lengths, counts)
                log(
                    what="op",
                    op="paged_attention",
                    model=model,
                    lengths=lengths,
                    rows=counts,
                    us=round(took * 1e3, 2),
                    bytes=size,
                    of_ceiling=round(size / (took / 1e3) / ceiling, 4),
                )
    if args.only != "ops":
        chains(make, LLAMA_7B, ceiling, log, args.quick)


if __name__ == "__main__":
    main()
