"""What a figure of the benchmarks must reach."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bench_peers import Result


@dataclass(frozen=True)
class Bar:
    """What a figure must reach; `name` is the way to it in the results, joined by dots.

    `only`: the device that it is meant for, where it is no ratio; on others it is not judged.
    """

    name: str
    least: float = float("-inf")
    most: float = float("inf")
    only: str | None = None

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


def judge(results: Result, bars: Iterable[Bar], device: str = "cpu") -> Result:
    """Every bar of what was measured, by name."""
    return {
        bar.name: bar.judge(results)
        for bar in bars
        if bar.name.split(".")[0] in results and bar.only in (None, device)
    }


H200 = "NVIDIA H200"
GPU_BARS = (
    Bar("steps_7b.1 row, 2,048 cached.of_floor", least=0.9),
    Bar("steps_13b.1 row, 2,048 cached.of_floor", least=0.9),
    Bar("steps_34b.1 row, 2,048 cached.of_floor", least=0.9),
    Bar("steps_7b.1 row, 16,384 cached.of_floor", least=0.85),
    Bar("steps_7b.8 sequences, 2,048 cached.of_floor", least=0.85),
    Bar("steps_7b.8_rows_to_1", most=1.15),
    Bar("steps_7b.8_sequences_to_1_at_256", most=1.25),
    Bar("answers.prefill_ms.2048", most=46, only=H200),
    Bar("answers.prefill_ms.8192", most=215, only=H200),
    Bar("typing.first_ms", most=7, only=H200),
    Bar("typing.whole_ms", most=118, only=H200),
    Bar("start.warm_s", most=15),
    Bar("start.compiled_by_warm", most=0),
    Bar("start.memory_beside_weights_and_kv_gb", most=1.5),
    Bar("beside_transformers.worst_to_transformers", most=1.5),
)
