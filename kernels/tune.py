"""The search for tiles: the fastest of a few, for every product and number of rows of a GPU.

`python kernels/bench.py --tune` runs it and writes `cl_kernels/tuned/<gpu>.json`.
"""

import json
from collections.abc import Callable

import torch
import triton
from cl_kernels import tiles
from cl_kernels.tiles import Tile
from timing import products, time_attention

from tests.ops.cases import Maker, Shape

Log = Callable[..., None]
PRODUCTS = ("project_residual", "norm_qkv_rope_append", "norm_gate_up_silu", "norm_lm_head")


def tune(make: Maker, s: Shape, log: Log, only_attention: bool) -> None:
    """Search and write; what is not searched for stays as it was."""
    path = tiles.file_of(torch.cuda.get_device_name())
    best: dict[str, Tile] = {}
    if path.exists():
        best = {key: Tile(**value) for key, value in json.loads(path.read_text()).items()}
    for rows in () if only_attention else (1, 8, 16):
        best |= tune_products(make, s, rows, log)
    best |= tune_attention(make, s, log)
    path.parent.mkdir(exist_ok=True)
    path.write_text(tiles.as_json(best))
    tiles.forget()


def tune_products(make: Maker, s: Shape, rows: int, log: Log) -> dict[str, Tile]:
    times: dict[str, dict[Tile, float]] = {}
    for tile in candidates(rows):
        for op in PRODUCTS:
            tiles.force(op, tile)
        for name, n, k, time in products(make, s, rows):
            if tile.bn == 1 and name != "project_residual":
                continue  # two rows of the weight make one pair
            try:
                took = time()
            except triton.runtime.errors.OutOfResources:
                continue
            key = f"{name} {rows} {n}x{k}"
            times.setdefault(key, {})[tile] = took
            log(what="tune", key=key, tile=vars(tile), us=round(took * 1e3, 2))
    for op in PRODUCTS:
        tiles.force(op, None)
    best: dict[str, Tile] = {}
    for key, found in times.items():
        best[key] = min(found, key=found.__getitem__)
        best[key.rsplit(" ", 1)[0]] = best[key]  # other shapes: the last of this op
    return best


def tune_attention(make: Maker, s: Shape, log: Log) -> dict[str, Tile]:
    op, best = "paged_attention", dict[str, Tile]()
    for rows, counts in ((1, [1]), (16, [8])):
        found: dict[Tile, float] = {}
        for tile in attention_candidates(rows):
            tiles.force(op, tile)
            try:
                found[tile], _ = time_attention(make, s, [2048], counts)
            except triton.runtime.errors.OutOfResources:
                continue
            log(what="tune", key=f"{op} {rows}", tile=vars(tile), us=round(found[tile] * 1e3, 2))
        best[f"{op} {rows}"] = min(found, key=found.__getitem__)
    tiles.force(op, None)
    return best


def attention_candidates(rows: int) -> list[Tile]:
    if rows == 1:
        shapes = [
            (3, 32, 4),
            (4, 32, 4),
            (2, 32, 4),
            (6, 32, 4),
            (2, 64, 4),
            (2, 64, 8),
            (4, 16, 4),
        ]
        return [Tile(*shape, 1) for shape in shapes]
    shapes = [(4, 32, 4, 2), (4, 64, 4, 2), (2, 64, 4, 2), (2, 64, 4, 3), (2, 128, 8, 2)]
    return [Tile(*shape) for shape in shapes]


def candidates(rows: int) -> list[Tile]:
    if rows == 1:
        shapes = [
            (4, 2048, 8, 1, 9),
            (2, 2048, 8, 1, 9),
            (4, 1024, 4, 1, 9),
            (2, 1024, 4, 1, 9),
            (2, 4096, 8, 1, 9),
            (4, 1024, 8, 1, 9),
            (2, 1024, 8, 1, 9),
            (4, 2048, 8, 1, 1),
            (2, 2048, 8, 1, 1),
            (2, 1024, 4, 1, 1),
            (1, 2048, 4, 1, 9),
            (1, 4096, 8, 1, 9),
        ]
        return [Tile(*shape) for shape in shapes]
    shapes = [
        (32, 256, 2, 4, 1),
        (32, 256, 2, 4, 2),
        (32, 256, 2, 3, 3),
        (16, 256, 1, 4, 1),
        (16, 256, 1, 4, 2),
        (16, 256, 1, 6, 2),
        (32, 256, 4, 4, 2),
        (32, 128, 2, 6, 2),
        (32, 512, 4, 3, 1),
        (64, 256, 4, 3, 1),
    ]
    return [Tile(*shape) for shape in shapes]
