"""A progress bar on a terminal for a model that is being loaded; nothing anywhere else."""

import sys

from .loader import Progress


def loading_bar(model: str) -> Progress | None:
    """What `load_model` reports to; None if stderr is no terminal."""
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    bar = tqdm(desc=f"loading {model}", unit="B", unit_scale=True, leave=False, file=sys.stderr)

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return progress
