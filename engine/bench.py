"""Our engine against transformers, and against itself: one line of JSON.

On this CPU, or with `--gpu` on an NVIDIA GPU, against what its memory can do. Exit status 1 if a
bar is missed. `--short` measures the same with less repetition, on a CPU in a minute.
"""

import argparse
import datetime
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_bars import GPU_BARS, Bar, judge
from bench_drafts import speculation
from bench_measures import clients, decode, steps, typing
from bench_peers import SHORT, Lab, Result, Scale
from cl_engine.loop import THREADS


def wire(lab: Lab) -> Result:
    """`bench_wire.py`, which needs the editor's side, too: a machine with a GPU may lack that."""
    import bench_wire

    return bench_wire.wire(lab)


MEASURES: dict[str, Callable[[Any], Result]] = {
    "typing": typing,
    "decode": decode,
    "speculation": speculation,
    "clients": clients,
    "steps": steps,
    "wire": wire,
}


BARS = (
    Bar("typing.first_token_ratio", least=25),
    Bar("typing.trace_ratio", least=3),
    Bar("typing.computed_median", most=3),
    Bar("decode.ratio", least=1.5),
    Bar("speculation.repetitive.ratio", least=1.3),
    Bar("speculation.misleading.ratio", least=0.97),
    Bar("speculation.ordinary.ratio", least=0.97),
    Bar("speculation.same_answers.float32", least=1),
    Bar("clients.float32.equal_share", least=1),
    Bar("clients.float32.equal_work.slowest_to_fastest", most=2),
    Bar("clients.float32.without_drafts.slowest_to_fastest", most=2),
    Bar("wire.added_first_ms.median", most=2),  # on two cores; no ratio, as the next
    Bar("wire.token_ms.median", most=0.3),
)


def measure(
    measures: dict[str, Callable[[], Result]], judged: Callable[[Result], Result]
) -> Result:
    """The results by name; what they are, and how long they took, goes to stderr at once."""
    results: Result = {}
    for name, run in measures.items():
        began = time.monotonic()
        results[name] = run()
        took = time.monotonic() - began
        print(f"{name}, {took:.0f} s: {json.dumps(results[name])}", file=sys.stderr, flush=True)
        for bar, verdict in judged({name: results[name]}).items():
            said = "pass" if verdict["pass"] else "MISS"
            print(f"  {said} {bar}: {verdict['measured']}", file=sys.stderr, flush=True)
    return results


def circumstances(commit: str | None) -> Result:
    """Where and with what it was measured."""
    return {
        "torch": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "engine_threads": THREADS,
        "commit": commit or _commit(),
        "date": datetime.date.today().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _commit() -> str:
    """With `-dirty` behind it if the tree is not that commit's; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="less repetition")
    parser.add_argument("--gpu", action="store_true", help="on an NVIDIA GPU")
    parser.add_argument("--only", action="append", help="a measurement; may be given repeatedly")
    parser.add_argument("--commit", help="where there is no repository to ask")
    parser.add_argument("--out", type=Path, help="append the line to this file, too")
    args = parser.parse_args(arguments)
    load = [round(average, 2) for average in os.getloadavg()]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if args.gpu:
            if not torch.cuda.is_available():
                parser.error("--gpu: torch sees no GPU")
            import bench_gpu  # its kernels need Triton

            device, known, bars = torch.cuda.get_device_name(), bench_gpu.MEASURES, GPU_BARS
            lab = bench_gpu.Gpu(Path(folder))
        else:
            device, known, bars = "cpu", MEASURES, BARS
            lab = Lab(SHORT if args.short else Scale(), Path(folder))
        if unknown := set(args.only or ()) - set(known):
            parser.error(f"--only: {', '.join(unknown)} is none of {', '.join(known)}")
        judged = functools.partial(judge, bars=bars, device=device)
        chosen = {n: functools.partial(known[n], lab) for n in args.only or known}
        results = measure(chosen, judged)
    verdicts = judged(results)
    passed = all(verdict["pass"] for verdict in verdicts.values())
    line = json.dumps(
        {
            "bench": "gpu" if args.gpu else "cpu",
            "device": device,
            "short": args.short,
            "pass": passed,
            "bars": verdicts,
            **results,
            "seconds": round(time.monotonic() - began),
            **circumstances(args.commit),
            "load_average": load,
            "command": " ".join(["python", "engine/bench.py", *arguments]),
        }
    )
    print(line)
    if args.out:
        with args.out.open("a") as file:
            file.write(line + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
