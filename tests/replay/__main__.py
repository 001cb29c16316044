"""The replay bench: `PYTHONPATH=engine python -m tests.replay`; appends one line of JSON to --out.

Held-out files are typed key by key into the real language server, with the embedded model; the same
with each feature switched off. `single` and `across` are typed by one who waits for each answer,
and so depend on no clock; `hurried` by one who does not. `session.py` says how.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench import circumstances
from bench_bars import Bar, judge
from eval_embedded import held_out_files

from tests.replay.features import ALL, variants
from tests.replay.holes import Hole, across, package_of, read_packages, single
from tests.replay.measures import Tally, gain
from tests.replay.runs import run
from tests.replay.session import Person

BARS = (
    Bar("single.all.repeated_suffix", most=0),
    Bar("across.all.repeated_suffix", most=0),
    Bar("hurried.all.repeated_suffix", most=0),
    Bar("brings.snippets.across.saved_keys", least=0.0001),
    Bar("brings.prefetch.single.without_engine", least=0.0001),
)
TOGETHER = 8  # holes that are typed into one daemon, at most


def brings(tallies: dict[str, dict[str, Tally]]) -> dict[str, Any]:
    """What each feature that was switched off brings, by set: all of them against all but it."""
    found: dict[str, Any] = {}
    for name, runs in tallies.items():
        for variant in (v for v in runs if v != ALL and ALL in runs):
            found.setdefault(variant[1:], {})[name] = gain(runs[ALL], runs[variant])
    return found


def few_of(holes: list[Hole]) -> list[list[Hole]]:
    """Of one package each, in the same order."""
    found: list[list[Hole]] = []
    for _, group in itertools.groupby(holes, lambda hole: package_of(hole.path)):
        those = list(group)
        found += [those[at : at + TOGETHER] for at in range(0, len(those), TOGETHER)]
    return found


def measured(results: dict[str, Any], way: str) -> bool:
    for key in way.split("."):
        if key not in results:
            return False
        results = results[key]
    return True


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=12, help="held-out files with holes")
    parser.add_argument("--across", type=int, default=12, help="holes that need another file")
    parser.add_argument(
        "--packages", type=Path, help="folder of whole packages for these, instead of the files"
    )
    parser.add_argument("--features", default="", help="all,-prefetch,…; all of them if not given")
    parser.add_argument("--hurried", type=int, default=6, help="of them, also typed in time")
    parser.add_argument("--key-ms", type=float, default=200, help="between two keys of these")
    parser.add_argument("--no-closing", action="store_true", help="the editor closes no brackets")
    parser.add_argument("--show", action="store_true", help="print suggestions with faults")
    parser.add_argument("--jobs", type=int, default=1, help="who type at once, but for hurried")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", help="where there is no repository to ask")
    parser.add_argument("--out", type=Path, help="append the line to this file, too")
    args = parser.parse_args(arguments)
    try:
        chosen = variants(args.features)
    except ValueError as error:
        parser.error(f"--features: {error}")
    began, load = time.monotonic(), [round(average, 2) for average in os.getloadavg()]
    closes = not args.no_closing
    persons = {"hurried": Person(args.key_ms / 1e3, closes=closes)}
    files = held_out_files()
    whole = read_packages(args.packages) if args.packages else files
    sets = {
        "single": single(files, args.files, args.seed),
        "across": across(whole, args.across, args.seed),
        "hurried": single(files, min(args.files, args.hurried), args.seed),
    }
    sets = {name: holes for name, holes in sets.items() if holes}
    tallies: dict[str, dict[str, Tally]] = {name: {} for name in sets}
    results: dict[str, Any] = {name: {} for name in sets}
    for name, holes in sets.items():
        jobs = 1 if name == "hurried" else args.jobs
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            few = few_of(holes)
            person = persons.get(name, Person.patient(closes))
            texts = whole if name == "across" else files
            runs = {
                variant: pool.map(partial(run, texts, variant, person, name == "across"), few)
                for variant in chosen
            }
            for variant, parts in runs.items():
                tally = tallies[name][variant] = sum(parts, Tally())
                results[name][variant] = tally.result()
                print(f"{name} {variant}: {json.dumps(results[name][variant])}", file=sys.stderr)
                for fault in tally.faults if args.show else ():
                    print(*map(repr, fault), sep="\n  ", file=sys.stderr)
    results["brings"] = brings(tallies)
    verdicts = judge(results, [bar for bar in BARS if measured(results, bar.name)])
    passed = all(verdict["pass"] for verdict in verdicts.values())
    line = json.dumps(
        {
            "bench": "replay",
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "model": "embedded",
            "pass": passed,
            "bars": verdicts,
            **results,
            "key_ms": args.key_ms,
            "seconds": round(time.monotonic() - began),
            **circumstances(args.commit),
            "jobs": args.jobs,
            "load_average": load,
            "command": " ".join(["python -m tests.replay", *arguments]),
        }
    )
    print(line)
    if args.out:
        with args.out.open("a") as file:
            file.write(line + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the daemon is stopped then, too
    sys.exit(main(sys.argv[1:]))
