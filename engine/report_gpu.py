"""docs/performance.md's tables and plot, from the newest committed results: `report_gpu.py`.

What stands between its marks is written anew; a test holds it to the results.
"""

import json
import re
from pathlib import Path
from typing import Any

from bench_bars import GPU_BARS

ROOT = Path(__file__).parents[1]
PAGE, PLOT = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.svg"
MODELS = {"steps_7b": "7B", "steps_13b": "13B", "steps_34b": "34B"}
SAID = {
    "steps_7b.1 row, 2,048 cached.of_floor": "7B, 1 row, 2,048 cached: of the floor",
    "steps_13b.1 row, 2,048 cached.of_floor": "13B, the same",
    "steps_34b.1 row, 2,048 cached.of_floor": "34B, the same",
    "steps_7b.1 row, 16,384 cached.of_floor": "7B, 1 row, 16,384 cached: of the floor",
    "steps_7b.8 sequences, 2,048 cached.of_floor": "7B, 8 sequences of 2,048: of the floor",
    "steps_7b.8_rows_to_1": "7B, 8 rows of one to 1 row, 2,048 cached",
    "steps_7b.8_sequences_to_1_at_256": "7B, 8 sequences to 1, of 256",
    "answers.prefill_ms.2048": "7B, prompt of 2,048, ms (meant for an H200)",
    "answers.prefill_ms.8192": "7B, prompt of 8,192, ms (H200)",
    "typing.first_ms": "typed key to first token over HTTP, ms (H200)",
    "typing.whole_ms": "typed key to 32 tokens, no drafts, ms (H200)",
    "start.warm_s": "launch to first answer, s",
    "start.compiled_by_warm": "kernels compiled by then",
    "start.memory_beside_weights_and_kv_gb": "device memory beside weights and KV cache, GB",
    "beside_transformers.worst_to_transformers": "error of our logits to transformers'",
}
ROW, LEFT, SCALE = 26, 250, 24  # pixels: of a row, of its label, of a millisecond


def last(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text().splitlines()[-1])


def steps(line: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Each step measured: what it is, and its `ms`, `floor_ms`, `of_floor`."""
    return [
        (f"{model}: {name}", step)
        for key, model in MODELS.items()
        for name, step in line[key].items()
        if isinstance(step, dict)
    ]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def steps_table(line: dict[str, Any]) -> str:
    rows = [
        [name, f"{step['ms']:.2f}", f"{step['floor_ms']:.2f}", f"{step['of_floor']:.1%}"]
        for name, step in steps(line)
    ]
    return table(["step", "ms", "read floor, ms", "of the floor"], rows)


def bars_table(line: dict[str, Any]) -> str:
    """Of all bars; what is meant for another device is measured here, and judged nowhere."""
    rows = []
    for bar in GPU_BARS:
        verdict = bar.judge(line)
        limit = f"≥ {verdict['least']}" if "least" in verdict else f"≤ {verdict['most']}"
        met = "yes" if verdict["pass"] else "**no**"
        if bar.only not in (None, line["device"]):
            met += f", on an {line['device'].split()[1]}"
        rows.append([SAID[bar.name], f"{verdict['measured']}", limit, met])
    return table(["figure", "measured", "bar", "met"], rows)


def rest_table(line: dict[str, Any]) -> str:
    typing, drafts, peer = line["typing"], line["typing_with_drafts"], line["beside_transformers"]
    prefill = line["answers"]["prefill_ms"]
    rows = [
        *([f"prompt of {int(n):,} tokens, ms", f"{ms}"] for n, ms in prefill.items()),
        ["transformers' prompt of 2,048, ms", f"{peer['transformers_prefill_2048_ms']}"],
        ["token of a plain answer at 2,048, ms", f"{line['answers']['token_ms_at_2048']}"],
        ["transformers' token at 2,048, ms", f"{peer['transformers_token_ms_at_2048']}"],
        ["key to first token over HTTP, ms", f"{typing['first_ms']}"],
        ["of that the engine, ms", f"{typing['of_that_engine_first_ms']:.2f}"],
        ["key to 32 tokens, ms", f"{typing['whole_ms']}"],
        ["the same with drafts, ms", f"{drafts['whole_ms']}"],
        ["launch to first answer, nothing compiled yet, s", f"{line['start']['cold_s']}"],
        ["launch to first answer, s", f"{line['start']['warm_s']}"],
        [
            "device memory beside weights and KV cache, GB",
            f"{line['start']['memory_beside_weights_and_kv_gb']}",
        ],
        *(
            [f"logits from float32: {name}", f"{error}"]
            for name, error in peer["logits_from_float32"].items()
        ),
    ]
    return table(["", line["device"]], rows)


def ops_table(path: Path) -> str:
    """The 7B shapes' ops, each beside what memory or the matrix units allow."""
    rows = []
    for line in map(json.loads, path.read_text().splitlines()):
        if line["what"] != "op" or line["model"] != "7B":
            continue
        of = "×".join(map(str, line["shape"])) if "shape" in line else ""
        if "lengths" in line:
            counts, lengths = line["rows"], line["lengths"]
            of = f"{len(lengths)} × {lengths[0]:,} positions"
            line["rows"] = f"{len(counts)} × {counts[0]}" if len(counts) > 1 else counts[0]
        share = f"{line['of_ceiling']:.0%}" + (" (MMA)" if "flops" in line else "")
        rows.append([f"`{line['op']}`", of, str(line["rows"]), f"{line['us']:.1f}", share])
    return table(["op", "of", "rows", "µs", "of the ceiling"], rows)


def plot(line: dict[str, Any]) -> str:
    """Bars of the steps' times; the darker part is the floor."""
    parts, found = list[str](), steps(line)
    for i, (name, step) in enumerate(found):
        y = 10 + i * ROW
        floor, whole = step["floor_ms"] * SCALE, step["ms"] * SCALE
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{name}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{whole:.1f}" height="18" fill="#f0b37e"/>',
            f'<rect x="{LEFT}" y="{y}" width="{floor:.1f}" height="18" fill="#4a7fb5"/>',
            f'<text x="{LEFT + whole + 6:.1f}" y="{y + 14}">{step["ms"]:.2f} ms,'
            f" {step['of_floor']:.0%}</text>",
        ]
    width = LEFT + 130 + max(step["ms"] for _, step in found) * SCALE
    height = 46 + len(found) * ROW
    legend = f"blue: the time to read weights and KV cache once, on an {line['device']}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}"'
        f' font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        f'{"".join(parts)}<text x="{LEFT}" y="{height - 14}" fill="#555">{legend}</text></svg>\n'
    )


def page(text: str) -> str:
    """The page with what stands between its marks written anew."""
    line = last(ROOT / "engine" / "results" / "bench-gpu.jsonl")
    ops = ROOT / "kernels" / "results" / "ops.jsonl"
    parts = {
        "steps": steps_table(line),
        "bars": bars_table(line),
        "rest": rest_table(line),
        "ops": ops_table(ops),
    }
    for name, content in parts.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if len(mark.findall(text)) != 1:
            raise ValueError(f"{PAGE}: no place, or several, for {name}")
        text = mark.sub(lambda found, new=content: f"{found[1]}{new}\n{found[2]}", text)
    return text


if __name__ == "__main__":
    PLOT.write_text(plot(last(ROOT / "engine" / "results" / "bench-gpu.jsonl")))
    PAGE.write_text(page(PAGE.read_text()))
