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
