"""Our engine against transformers, and against itself, on this CPU: one line of JSON.

Exit status 1 if a bar is missed. `--short` measures the same with less repetition, in a minute.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench_drafts import speculation
from bench_measures import clients, decode, steps, typing
from bench_peers import SHORT, Lab, Result, Scale
from cl_engine.loop import THREADS

MEASURES: dict[str, Callable[[Lab], Result]] = {
    "typing": typing,
    "decode": decode,
    "speculation": speculation,
    "clients": clients,
    "steps": steps,
}


@dataclass(frozen=True)
class Bar:
    """What a figure must reach; `name` is the way to it in the results, joined by dots."""

    name: str
    least: float = float("-inf")
    most: float = float("inf")

    def judge(self, results: Result) -> Result:
        measured: Any = results
        for key in self.name.split("."):
            measured = measured[key]
        limits = {"least": self.least, "most": self.most}
        return {
            "measured": measured,
            **{name: limit for name, limit in limits.items() if abs(limit) != float("inf")},
            "pass": self.least <= measured <= self.most,
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
)


def judge(results: Result) -> Result:
    """Every bar of what was measured, by name."""
    return {bar.name: bar.judge(results) for bar in BARS if bar.name.split(".")[0] in results}


def measure(names: list[str], scale: Scale) -> Result:
    """The results by name; what they are, and how long they took, goes to stderr at once."""
    results: Result = {}
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(scale, Path(folder))
        for name in names:
            began = time.monotonic()
            results[name] = MEASURES[name](lab)
            took = time.monotonic() - began
            print(f"{name}, {took:.0f} s: {json.dumps(results[name])}", file=sys.stderr, flush=True)
            for bar, verdict in judge({name: results[name]}).items():
                said = "pass" if verdict["pass"] else "MISS"
                print(f"  {said} {bar}: {verdict['measured']}", file=sys.stderr)
    return results


def circumstances() -> Result:
    """Where and with what it was measured."""
    return {
        "torch": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "engine_threads": THREADS,
        "commit": _commit(),
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
    parser.add_argument("--only", action="append", choices=MEASURES, help="may be given repeatedly")
    parser.add_argument("--out", type=Path, help="append the line to this file, too")
    args = parser.parse_args(arguments)
    load = [round(average, 2) for average in os.getloadavg()]
    began = time.monotonic()
    results = measure(args.only or list(MEASURES), SHORT if args.short else Scale())
    bars = judge(results)
    passed = all(verdict["pass"] for verdict in bars.values())
    line = json.dumps(
        {
            "bench": "cpu",
            "short": args.short,
            "pass": passed,
            "bars": bars,
            **results,
            "seconds": round(time.monotonic() - began),
            **circumstances(),
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
