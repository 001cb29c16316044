"""Every op on a GPU: its check first, then its time against what memory or matrix units can do.

python kernels/bench.py [--tune] [--quick]; one JSON line per result goes to standard output and,
with --out, to the end of a file. Whole steps: `engine/bench.py --gpu`.
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

from cl_kernels import tiles
from timing import many_rows, matrix_ceiling, products, read_ceiling, time_attention, time_prefill
from tune import tune

from tests.ops import checks
from tests.ops.cases import LLAMA_7B, LLAMA_13B, LLAMA_34B, Maker, Shape


def check_everything(seed: int, s: Shape, quick: bool) -> None:
    """In both types of weights, at true sizes; float32, for tests on small models, only briefly."""
    for dtype in (torch.bfloat16, torch.float16):
        make = Maker("cuda", dtype, seed)
        for rows in (1, 8) if quick else (1, 2, 7, 8, 16):
            checks.check_all(make, s, rows)
        for lengths, counts in checks.attention_cases():
            for size in (16,) if quick else (16, 64):
                checks.check_attention(make, s, lengths, counts, size)
        for rows in (17, 512):
            checks.check_many(make, s, rows)
        for lengths, counts in checks.prefill_cases():
            for in_order in (False, True):
                checks.check_prefill(make, s, lengths, counts, in_order)
    checks.check_sample(make, s.vocab)


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


MODELS = {"7B": LLAMA_7B, "13B": LLAMA_13B, "34B": LLAMA_34B}


def ops(make: Maker, log: Callable[..., None], quick: bool) -> None:
    """Every op by itself, against the ceilings, which are measured first."""
    read, matrix = read_ceiling(), matrix_ceiling()
    log(what="ceiling", read_gb_s=round(read / 1e9, 1), bf16_tflops=round(matrix / 1e12, 1))

    def of(size: int, took: float) -> dict[str, float]:
        ratio = round(size / (took / 1e3) / read, 4)
        return {"us": round(took * 1e3, 2), "bytes": size, "of_ceiling": ratio}

    for model, shape in list(MODELS.items())[: 1 if quick else None]:
        for rows in (1, 8, 16):
            for name, n, k, time in products(make, shape, rows):
                tile = vars(tiles.choose(name, rows, n, k, make.device))
                about = {"op": name, "model": model, "rows": rows, "shape": [n, k], "tile": tile}
                log(what="op", **about, **of(2 * n * k, time()))
        for lengths, counts in (([2049], [1]), ([2056], [8]), ([2049] * 8, [1] * 8)):
            took, size = time_attention(make, shape, lengths, counts)
            about = {"op": "paged_attention", "model": model, "lengths": lengths, "rows": counts}
            log(what="op", **about, **of(size, took))
        for lengths, counts in (([512], [512]), ([2048], [512]), ([8192], [512])):
            took, flops = time_prefill(make, shape, lengths, counts)
            about = {"op": "prefill_attention", "model": model, "lengths": lengths, "rows": counts}
            share = round(flops / (took / 1e3) / matrix, 4)
            log(what="op", **about, us=round(took * 1e3, 2), flops=flops, of_ceiling=share)
        for name, rows, size, time in many_rows(make, shape, 512):
            log(what="op", op=name, model=model, rows=rows, **of(size, time()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", action="store_true", help="search tiles, write the tuned file")
    parser.add_argument("--quick", action="store_true", help="7B only, fewer checks")
    parser.add_argument("--commit", help="where there is no repository to ask")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("kernels/bench.py needs an NVIDIA GPU; `pytest tests/ops` checks without one")
    log = logger(args)
    seed = torch.seed() % 2**31
    make = Maker("cuda", torch.bfloat16, seed)
    if args.tune:
        for shape in list(MODELS.values())[: 1 if args.quick else None]:
            tune(make, shape, log)
    for model, shape in list(MODELS.items())[: 1 if args.quick else None]:
        check_everything(seed, shape, args.quick)
        log(what="check", model=model, seed=seed, passed=True)
    ops(make, log, args.quick)


if __name__ == "__main__":
    main()
