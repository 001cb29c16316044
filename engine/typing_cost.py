"""Prompt tokens that each typed character costs, by the prompt's order and the depth of healing.

Arithmetic of tokens on the held-out cases, no model: the KV cache is ideal and holds everything of
the last key's prompt. `python engine/typing_cost.py` prints it beside the share of lines completed.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cl_engine.facts import read_facts
from cl_engine.prompt import Order, Prompt, heal, infilling_prompt
from cl_engine.tokenizer import Tokenizer
from eval_embedded import VARIANTS, Case, Variant, held_out_files, make_cases

RESULTS = Path(__file__).parent / "results" / "eval-embedded.jsonl"
ORDERS: tuple[Order, ...] = ("spm", "psm")
KEYS = 24
LIMIT = 4000  # ids of a prompt; no case has as many


@dataclass(frozen=True)
class Cost:
    """Tokens of the prompt that one key makes the model compute.

    computed: Neither in the cache nor taken off.
    at_most: The same, if the model agreed with none of what was taken off at the last key.
    verified: Taken off by the healing, and verified in the same pass.
    """

    computed: int
    at_most: int
    verified: int


def key_cost(tokenizer: Tokenizer, last: Prompt, prompt: Prompt, depth: int) -> Cost:
    """Of `prompt` after `last`, as the engine counts: at least one token is computed."""
    healed, kept = heal(tokenizer, prompt, depth), heal(tokenizer, last, depth)
    ids = healed.ids

    def computed(held: list[int]) -> int:
        return len(ids) - min(common_prefix(held, ids), len(ids) - 1)

    return Cost(computed(last.ids), computed(kept.ids), len(healed.draft))


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    length = min(len(a), len(b))
    return next((i for i in range(length) if a[i] != b[i]), length)


def typed(case: Case, keys: int = KEYS) -> list[tuple[str, str]]:
    """Prefix and suffix before the first key, and after each of `keys`.

    The file's own text is typed, from the cursor on. What follows the cursor is the text below the
    line that is being written when the last key is typed.
    """
    below = case.rest + case.suffix
    end = below.find("\n", keys)
    suffix = below[end:] if end >= 0 else ""
    return [(case.prefix + below[:key], suffix) for key in range(min(keys, len(below)) + 1)]


def measure(
    tokenizer: Tokenizer, cases: list[Case], variants: list[Variant], keys: int = KEYS
) -> dict[Variant, list[Cost]]:
    """The cost of every key of all cases, one case after the other."""
    costs: dict[Variant, list[Cost]] = {variant: [] for variant in variants}
    for case in cases:
        texts = typed(case, keys)
        prompts = {
            order: [infilling_prompt(tokenizer, *text, LIMIT, order) for text in texts]
            for order in ORDERS
        }
        for variant in variants:
            for last, prompt in pairwise(prompts[variant.order]):
                costs[variant].append(key_cost(tokenizer, last, prompt, variant.healing_depth))
    return costs


def table(costs: dict[Variant, list[Cost]], exact: dict[str, float]) -> str:
    """Markdown; `exact` are per cents by the variant's name, of `eval_embedded.py`."""
    columns = ("order", "exact rest of line", "computed per key, median", "mean", "most")
    columns += ("mean if nothing was verified", "taken off and verified, mean")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for variant, keys in costs.items():
        computed = [cost.computed for cost in keys]
        means = [statistics.fmean(c) for c in (computed, [k.at_most for k in keys])]
        verified = statistics.fmean(cost.verified for cost in keys)
        share = f"{exact[str(variant)]:.1f}%" if str(variant) in exact else ""
        cells = [str(variant), share, f"{statistics.median(computed):.0f}", f"{means[0]:.1f}"]
        cells += [str(max(computed)), f"{means[1]:.1f}", f"{verified:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def exact_shares(path: Path = RESULTS) -> dict[str, float]:
    """Of the last evaluation of the embedded model that was kept."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [line["exact_percent"] for line in lines if line["model"] == "embedded"]
    return kept[-1] if kept else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    args = parser.parse_args()
    tokenizer = read_facts("embedded").tokenizer
    cases = make_cases(held_out_files(), args.cases)
    costs = measure(tokenizer, cases, VARIANTS)
    keys = len(next(iter(costs.values())))
    print(f"{len(cases)} cases, {keys} keys\n")
    print(table(costs, exact_shares()))


if __name__ == "__main__":
    main()
