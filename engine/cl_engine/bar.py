"""Progress bars on a terminal for a model that is being loaded; nothing anywhere else."""

import sys
from typing import Any

from .loader import Progress


def loading_bar(model: str) -> Progress | None:
    """What `load_model` reports to; None if stderr is no terminal."""
    return _bar(desc=f"loading {model}", unit="B", unit_scale=True)


def making_bar() -> Progress | None:
    """What is told of the kernels' graphs: on a machine's first start they are compiled."""
    return _bar(desc="making CUDA graphs", unit="graph")


def _bar(**look: Any) -> Progress | None:
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    bar: tqdm | None = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or tqdm(leave=False, file=sys.stderr, **look)
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return progress
