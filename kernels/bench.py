"""Every op of the decode path on a GPU: its check first, then its time against the read ceiling.

python kernels/bench.py [--tune] [--quick] [--only ops|chain]; one JSON line per result goes to
standard output and, with --out, to the end of a file.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import triton

sys.path.insert(0, str(Path(__file__).parent.parent))  # for tests.ops

from chain import Step, new_model
from cl_kernels import tiles
from timing import median, products, read_ceiling, time_attention
from tune import tune

from tests.ops import checks
from tests.ops.cases import LLAMA_7B, LLAMA_13B, LLAMA_34B, Maker, Shape


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


def logger(args: argparse.Namespace) -> Callable[..., None]:
    """Prints a result, and appends it with all that identifies the run to `--out`."""
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
        print(json.dumps(result, ensure_ascii=False), flush=True)
        if args.out and result["what"] != "tune":
            args.out.parent.mkdir(parents=True, exist_ok=True)
            with args.out.open("a") as file:
                file.write(json.dumps({**result, **about}, ensure_ascii=False) + "\n")

    return log


def ops(make: Maker, ceiling: float, log: Callable[..., None]) -> None:
    """Every op by itself, against the read ceiling."""

    def of(size: int, took: float) -> dict[str, float]:
        ratio = round(size / (took / 1e3) / ceiling, 4)
        return {"us": round(took * 1e3, 2), "bytes": size, "of_ceiling": ratio}

    for rows in (1, 8, 16):
        for name, n, k, time in products(make, LLAMA_7B, rows):
            tile = vars(tiles.choose(name, rows, n, k, make.device))
            log(what="op", op=name, rows=rows, shape=[n, k], tile=tile, **of(2 * n * k, time()))
    for model, shape in (("7B", LLAMA_7B), ("34B", LLAMA_34B)):
        for lengths, counts in (([2049], [1]), ([2056], [8]), ([2049] * 8, [1] * 8)):
            took, size = time_attention(make, shape, lengths, counts)
            about = {"op": "paged_attention", "model": model, "lengths": lengths, "rows": counts}
            log(what="op", **about, **of(size, took))


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
    log = logger(args)
    make = Maker("cuda", torch.bfloat16, torch.seed() % 2**31)
    if args.tune:
        tune(make, LLAMA_7B, log, args.tune == "attention")
    ceiling = read_ceiling()
    log(what="ceiling", read_gb_s=round(ceiling / 1e9, 1))
    for shape in (LLAMA_7B,) if args.quick else (LLAMA_7B, LLAMA_13B, LLAMA_34B):
        check_everything(make, shape, args.quick)
        log(what="check", shape=vars(shape), passed=True)
    if args.only != "chain":
        ops(make, ceiling, log)
    if args.only != "ops":
        chains(make, LLAMA_7B, ceiling, log, args.quick)


if __name__ == "__main__":
    main()
