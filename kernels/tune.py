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
    """The two projections share `bn`, which the partial sums of squares depend on."""
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
    own = {key: found for key, found in times.items() if key.startswith("project_residual")}
    widths = {tile.bn for found in own.values() for tile in found}

    def fastest(found: dict[Tile, float], bn: int | None = None) -> Tile:
        return min((t for t in found if bn in (None, t.bn)), key=found.__getitem__)

    width = min(widths, key=lambda bn: sum(f[fastest(f, bn)] for f in own.values()))
    best: dict[str, Tile] = {}
    for key, found in times.items():
        best[key] = fastest(found, width if key in own else None)
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
            (2, 64, 8),
            (4, 64, 8),
            (4, 32, 4),
            (2, 32, 4),
            (8, 32, 4),
            (4, 32, 8),
            (2, 64, 4),
        ]
        return [Tile(*shape, 1) for shape in shapes]
    shapes = [(4, 32, 4, 2), (4, 64, 4, 2), (2, 64, 4, 2), (2, 64, 4, 3), (2, 128, 8, 2)]
    return [Tile(*shape) for shape in shapes]


def candidates(rows: int) -> list[Tile]:
    if rows == 1:
        shapes = [(4, 1024, 4), (2, 2048, 8), (4, 512, 4), (8, 512, 4), (2, 1024, 4), (4, 2048, 8)]
        return [Tile(bn, bk, warps, 1) for bn, bk, warps in shapes]
    shapes = [(16, 256, 1, 4), (16, 512, 1, 3), (32, 128, 2, 6), (32, 256, 2, 4), (16, 128, 1, 8)]
    return [Tile(*shape) for shape in shapes]
