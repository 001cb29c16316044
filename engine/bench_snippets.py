"""What pieces of other files bring, by where they stand in the prompt, without any clock.

`cases` makes holes in whole packages, each a folder of --packages, with the snippets that the
language server chooses there. `score` reads the log-probability that the embedded model gives to
what stood in each hole, teacher-forced, and appends a line of JSON to --out.
"""

import argparse
import json
import lzma
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from bench import circumstances
from cl_engine.prompt import text_of_snippets
from cl_engine.tokenizer import Tokenizer
from embedded_model import SHAPES, Model, attention
from safetensors.torch import load_file
from torch import Tensor

from cl_lsp.context import Windows
from cl_lsp.index import Index
from cl_lsp.records import make_record
from cl_lsp.snippets import Place, choose
from tests.replay.holes import Hole, across, holes_of

SIZES = (600, 1200, 2400, 4800)  # characters of snippets
CONTEXT, SUFFIX = 4000, 1000  # tokens of a prompt, and of what stands after the hole
EMBEDDED = Path(__file__).parent / "cl_engine" / "embedded"
Snippets = list[tuple[str, str]]
# Snippets to what stands before the infilling prompt, before the prefix, and after the suffix.
PLACES: dict[str, Callable[[str], tuple[str, str, str]]] = {
    "none": lambda text: ("", "", ""),
    "front": lambda text: ("", text, ""),
    "before": lambda text: (text, "", ""),
    "comment": lambda text: ("", "".join(f"# {line}\n" for line in text.split("\n")), ""),
    "suffix": lambda text: ("", "", f"\n\n{text}"),
}


def cases_of(package: Path, most: int) -> list[dict[str, Any]]:
    """Holes in one package, `most` of each kind, with the windows and snippets of each."""
    paths = (path for path in sorted(package.rglob("*")) if path.suffix in (".py", ".js"))
    texts = {path.relative_to(package).as_posix(): path.read_text() for path in paths}
    files = {path: text for path, text in texts.items() if 500 <= len(text) <= 120_000}
    records = {path: make_record(path, text) for path, text in files.items()}
    index, rng, windows = Index(), random.Random(1), Windows()
    for record in filter(None, records.values()):
        index.put(record)
    found = across({f"{package.name}/{path}": text for path, text in files.items()}, most)
    holes = [(hole.path.partition("/")[2], hole) for hole in found]
    alone = [(path, hole) for path in files for hole in holes_of(path, files[path], rng)]
    holes += [pair for pair in alone if pair[1].kind != "arguments"][:most]

    def case(path: str, hole: Hole) -> dict[str, Any]:
        text = files[path]
        before, after = text[: hole.start], text[hole.end :]
        prefix, suffix = windows.before(before), windows.after(after)
        place = Place(path, before + after, hole.start, prefix, suffix)
        if (record := make_record(path, before + after)) is not None:
            index.put(record)  # nothing is told of what stood in the hole
        chosen = {size: choose(index, place, [], set(), size) for size in SIZES}
        if (record := records[path]) is not None:
            index.put(record)
        truth = text[hole.start : hole.end]
        snippets = {size: [(one.path, one.text) for one in few] for size, few in chosen.items()}
        return {"kind": hole.kind, "prefix": prefix, "suffix": suffix, "truth": truth} | {
            "snippets": snippets
        }

    return [case(path, hole) for path, hole in holes]


def load(device: str) -> Model:
    raw: dict[str, Tensor] = {}
    for path in EMBEDDED.glob("*.safetensors"):
        raw |= load_file(path)
    model = Model(SHAPES["full"])
    with torch.no_grad():
        for name, parameter in model.state(torch.float32).items():
            scale = raw.get(f"{name}_scale", torch.ones(1))
            parameter.copy_(raw[name].float() * scale.float())
    return model.to(device)


def prompt(tokenizer: Tokenizer, case: dict[str, Any], variant: str) -> tuple[list[int], int]:
    """Ids of a prompt with what stood in the hole, suffix first, and where that begins."""
    place, _, size = variant.partition("-")
    infill = tokenizer.infill
    assert infill is not None
    before, front, behind = PLACES[place](text_of_snippets(case["snippets"][size or "2400"]))
    suffix = tokenizer.encode_infilling(case["suffix"])[:SUFFIX]
    suffix += tokenizer.encode_infilling(behind) if behind else []
    lead = tokenizer.encode(before) if before else []
    prefix = front + case["prefix"]
    asked, whole = tokenizer.encode(prefix), tokenizer.encode(prefix + case["truth"])
    pairs = zip(asked, whole, strict=False)
    same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(asked), len(whole)))
    over = max(0, len(whole) + len(suffix) + len(lead) + 5 - CONTEXT)
    whole, same = (whole, same) if lead else (whole[over:], same - over)
    head = [tokenizer.bos, *lead[over:], infill.prefix, infill.suffix, *suffix, infill.middle]
    return head + whole, len(head) + same


@torch.no_grad()
def score(model: Model, ids: list[int], start: int, device: str) -> tuple[float, int, bool]:
    """Nats of ids[start:] all in all, their number, and whether each is the likeliest."""
    tokens = torch.tensor(ids, device=device)
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        positions = torch.arange(len(ids), device=device)
        logits = model(tokens, positions, attention(None, len(ids)))
    logs, wanted = F.log_softmax(logits[start - 1 : -1].float(), -1), tokens[start:]
    nats = -logs.gather(1, wanted[:, None]).sum().item()
    return nats, len(wanted), bool((logs.argmax(-1) == wanted).all())


def summary(scores: dict[str, list[tuple[float, int, bool]]]) -> dict[str, dict[str, float]]:
    """By variant: nats a token, share of holes all right, and nats a hole against none, with the
    standard error."""
    rows = {}
    for variant, found in scores.items():
        gains = [a[0] - b[0] for a, b in zip(found, scores["none"], strict=True)]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        rows[variant] = {
            "nats_per_token": round(sum(f[0] for f in found) / sum(f[1] for f in found), 4),
            "exact": round(sum(f[2] for f in found) / len(found), 4),
            "nats_per_hole": round(statistics.mean(gains), 3),
            "error": round(error, 3),
        }
    return rows


def run_score(args: argparse.Namespace) -> None:
    began, device = time.monotonic(), "cuda" if torch.cuda.is_available() else "cpu"
    cases = json.loads(lzma.decompress(args.cases.read_bytes()))
    random.Random(5).shuffle(cases)
    sized = [f"{place}-{size}" for place in ("front", "before") for size in SIZES if size != 2400]
    model, tokenizer = load(device), Tokenizer(EMBEDDED / "tokenizer.model")
    kinds: dict[str, dict[str, list[tuple[float, int, bool]]]] = {}
    for case in cases[: args.most]:
        of_kind = kinds.setdefault(case["kind"], {})
        for variant in [*PLACES, *sized]:
            ids, start = prompt(tokenizer, case, variant)
            of_kind.setdefault(variant, []).append(score(model, ids, start, device))
    result = {
        "bench": "snippets",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "holes": {kind: len(scores["none"]) for kind, scores in kinds.items()},
        **{kind: summary(scores) for kind, scores in kinds.items()},
        "seconds": round(time.monotonic() - began),
        **circumstances(args.commit),
        "command": " ".join(["python engine/bench_snippets.py", *sys.argv[1:]]),
    }
    print(line := json.dumps(result))
    if args.out:
        with args.out.open("a") as file:
            file.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("cases")
    p.add_argument("--packages", type=Path, required=True)
    p.add_argument("--most", type=int, default=120, help="holes of a kind in a package")
    p.add_argument("--out", type=Path, required=True, help="cases.json.xz")
    p = commands.add_parser("score")
    p.add_argument("cases", type=Path)
    p.add_argument("--most", type=int, help="cases (default: all)")
    p.add_argument("--commit", help="where there is no repository to ask")
    p.add_argument("--out", type=Path, help="append the line to this file, too")
    args = parser.parse_args()
    if args.command == "score":
        return run_score(args)
    packages = [folder for folder in sorted(args.packages.iterdir()) if folder.is_dir()]
    cases = [case for folder in packages for case in cases_of(folder, args.most)]
    args.out.write_bytes(lzma.compress(json.dumps(cases).encode()))
    print(f"{len(cases)} holes in {len(packages)} packages")


if __name__ == "__main__":
    main()
