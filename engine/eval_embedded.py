"""Rest-of-line completion on packages that the model was not trained on: `make eval-embedded`.

Each case cuts a line of a held-out file at a random character; the model sees what stands before
and after, and must write the rest of the line, greedily, to the letter.
"""

import argparse
import collections
import io
import json
import platform
import random
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from cl_engine.core import Core
from cl_engine.loader import LoadedModel, load_model
from cl_engine.prompt import Order, Prompt, heal, infilling_prompt
from cl_engine.request import ErrorEvent, Event, Limits, Request, TextEvent
from cl_engine.sampling import SamplingParams
from cl_engine.tokenizer import Tokenizer

HELD_OUT = Path(__file__).with_name("embedded_heldout.tar.xz")
PREFIX_CHARACTERS, SUFFIX_CHARACTERS = 4000, 1000
MAX_TOKENS = 64


@dataclass(frozen=True)
class Case:
    path: str
    prefix: str
    rest: str
    suffix: str


@dataclass(frozen=True)
class Variant:
    order: Order
    healing_depth: int

    def __str__(self) -> str:
        if self.order == "psm":
            return "PSM"
        return f"SPM, healing {self.healing_depth}" if self.healing_depth else "SPM, no healing"


VARIANTS = [*(Variant("spm", depth) for depth in (0, 1, 2, 3, 4, 8)), Variant("psm", 0)]


def held_out_files() -> dict[str, str]:
    """Source text by path in the archive, without the licences."""
    files: dict[str, str] = {}
    with tarfile.open(HELD_OUT) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and "LICENSE" not in member.name:
                files[member.name] = content.read().decode()
    return files


def make_cases(files: dict[str, str], count: int, seed: int = 0) -> list[Case]:
    """Cuts inside the code of lines, spread over the files by their length."""
    rng = random.Random(seed)
    paths, weights = list(files), [len(text) for text in files.values()]
    cases: list[Case] = []
    while len(cases) < count:
        path = rng.choices(paths, weights)[0]
        text = files[path]
        lines = text.splitlines(keepends=True)
        number = rng.randrange(len(lines))
        line = lines[number].rstrip("\r\n")
        indent = len(line) - len(line.lstrip())
        if not line.strip() or len(line) > 160:
            continue
        start = sum(map(len, lines[:number]))
        cut = start + rng.randrange(indent, len(line.rstrip()))
        end = start + len(line)
        prefix = text[max(0, cut - PREFIX_CHARACTERS) : cut]
        cases.append(Case(path, prefix, text[cut:end], text[end : end + SUFFIX_CHARACTERS]))
    return cases


class Engine:
    """The engine without threads and HTTP, one request at a time."""

    def __init__(self, model: LoadedModel):
        self.model = model
        self._cores: dict[int, Core] = {}  # by the depth of healing

    def complete(self, case: Case, variant: Variant, max_tokens: int = MAX_TOKENS) -> str:
        model, events, depth = self.model, list[Event](), variant.healing_depth
        limit = model.llama.config.context - max_tokens
        prompt = infilling_prompt(model.tokenizer, case.prefix, case.suffix, limit, variant.order)
        core = self._cores.get(depth)
        if core is None:
            core = self._cores[depth] = Core(model, healing_depth=depth)
        limits = Limits(max_tokens, stops=("\n",))
        core.scheduler.add(Request(prompt, limits, SamplingParams(), events.append))
        core.run()
        for event in events:
            if isinstance(event, ErrorEvent):
                raise event.error
        return "".join(event.text for event in events if isinstance(event, TextEvent))


def tokenised_as_trained(tokenizer: Tokenizer, case: Case, depth: int) -> bool:
    """Whether the healed prefix is how the whole line would have begun."""
    start = case.prefix.rfind("\n") + 1
    cut = tokenizer.encode_infilling(case.prefix[start:])
    whole = tokenizer.encode_infilling(case.prefix[start:] + case.rest)
    kept = heal(tokenizer, Prompt(cut, len(cut)), depth).ids
    return whole[: len(kept)] == kept


def common_start(a: str, b: str) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--show", type=int, default=0, help="print so many cases")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    began = time.monotonic()
    cases = make_cases(held_out_files(), args.cases)
    engine = Engine(load_model(args.model))
    exact: dict[Variant, int] = collections.Counter()
    matched: dict[Variant, int] = collections.Counter()
    for number, case in enumerate(cases):
        for variant in VARIANTS:
            text = engine.complete(case, variant)
            exact[variant] += text == case.rest
            matched[variant] += common_start(text, case.rest)
            if number < args.show and variant == Variant("spm", 4):
                print(repr(case.prefix[-40:]), "→", repr(text), "for", repr(case.rest))
    asked = sum(len(case.rest) for case in cases)
    table = io.StringIO()
    print(f"{len(cases)} cases, {len({c.path for c in cases})} files, greedy\n", file=table)
    columns = ("order", "exact rest of line", "characters right", "prefix tokenised as in training")
    print("| " + " | ".join(columns) + " |\n|---|---|---|---|", file=table)
    rows = {}
    for variant in VARIANTS:
        rows[str(variant)] = round(100 * exact[variant] / len(cases), 1)
        right = 100 * matched[variant] / asked
        tokenizer = engine.model.tokenizer
        trained = sum(tokenised_as_trained(tokenizer, c, variant.healing_depth) for c in cases)
        as_trained = f"{100 * trained / len(cases):.1f}%" if variant.order == "spm" else ""
        exactly = rows[str(variant)]
        print(f"| {variant} | {exactly:.1f}% | {right:.1f}% | {as_trained} |", file=table)
    print(table.getvalue())
    result = {
        "bench": "eval-embedded",
        "model": args.model,
        "cases": len(cases),
        "exact_percent": rows,
        "seconds": round(time.monotonic() - began),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
