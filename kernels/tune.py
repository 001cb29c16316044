"""The search for tiles: the fastest of a few, for every product and number of rows of a GPU.

`python kernels/bench.py --tune` runs it and writes `cl_kernels/tuned/<gpu>.json`.
"""

import json
from collections.abc import Callable

import torch
import triton
from cl_kernels import tiles
from cl_kernels.tiles import Tile
from timing import products

from tests.ops.cases import Maker, Shape

Log = Callable[..., None]
PRODUCTS = ("project_residual", "norm_qkv_rope_append", "norm_gate_up_silu", "norm_lm_head")


def tune(make: Maker, s: Shape, log: Log) -> None:
    """Search and write; what is not searched for stays as it was.

    Attention is not: what is best depends on what runs beside it, so its tiles were chosen by
    whole steps (docs/performance-log.md).
    """
    path = tiles.file_of(torch.cuda.get_device_name())
    best: dict[str, Tile] = {}
    if path.exists():
        best = {key: Tile(**value) for key, value in json.loads(path.read_text()).items()}
    for rows in (1, 8):
        found = tune_products(make, s, rows, log)
        best |= found
        if rows == 8:  # as good, or nearly, with 16
            best |= {key.replace(" 8 ", " 16 "): tile for key, tile in found.items()}
    path.parent.mkdir(exist_ok=True)
    path.write_text(tiles.as_json(best))
    tiles.forget()


def tune_products(make: Maker, s: Shape, rows: int, log: Log) -> dict[str, Tile]:
    times: dict[str, dict[Tile, float]] = {}
    for tile in candidates(rows):
        for op in PRODUCTS:
            tiles.force(op, tile)
        for name, n, k, time in products(make, s, rows):
            try:
                took = time()
            except triton.runtime.errors.OutOfResources:
                continue
            key = f"{name} {rows} {n}x{k}"
            times.setdefault(key, {})[tile] = took
            log(what="tune", key=key, tile=vars(tile), us=round(took * 1e3, 2))
    for op in PRODUCTS:
        tiles.force(op, None)
    return {key: min(found, key=found.__getitem__) for key, found in times.items()}


def candidates(rows: int) -> list[Tile]:
    if rows == 1:
        shapes = [
            (4, 2048, 8, 1, 1),
            (4, 2048, 8, 1, 9),
            (2, 2048, 8, 1, 9),
            (4, 1024, 4, 1, 9),
            (2, 4096, 8, 1, 9),
            (2, 2048, 8, 1, 1),
        ]
    else:
        shapes = [
            (32, 256, 2, 4, 1),
            (32, 256, 2, 4, 2),
            (32, 128, 2, 6, 2),
            (16, 256, 1, 4, 1),
            (64, 256, 4, 3, 1),
        ]
    return [Tile(*shape) for shape in shapes]
