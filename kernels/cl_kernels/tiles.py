"""Which tile a product runs with: tuned per GPU (`tuned/<gpu>.json`), or a rule that works untuned.

Not a search: `kernels/bench.py --tune` writes the files.
"""

import json
import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

TUNED = Path(__file__).parent / "tuned"


@dataclass(frozen=True)
class Tile:
    """`bn` rows of the weight and `bk` of its columns at a time."""

    bn: int
    bk: int
    warps: int
    stages: int  # loads in flight of the pipelined loop; 1: none but the next tile
    first: int = 1  # tiles asked for before the wait


def bucket(rows: int) -> int:
    """Rows are compiled for in three sizes: 1 (no matrix units), up to 8, up to 16."""
    assert 1 <= rows <= 16, f"{rows} rows: the decode path takes 1 to 16"
    return 1 if rows == 1 else 8 if rows <= 8 else 16


def file_of(device: str) -> Path:
    return TUNED / f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"


@cache
def _tuned(device: str) -> dict[str, dict[str, int]]:
    path = file_of(device)
    return json.loads(path.read_text()) if path.exists() else {}


@cache
def device_name(index: int) -> str:
    return torch.cuda.get_device_name(index)


@cache
def _pdl(index: int) -> bool:
    return torch.cuda.get_device_capability(index) >= (9, 0)


def pdl(tensor: torch.Tensor) -> bool:
    """Programmatic dependent launch: Hopper and later."""
    return tensor.is_cuda and _pdl(tensor.get_device())


def launch(pdl: bool) -> dict[str, Any]:
    """Launch options: the interpreter does not know `launch_pdl`."""
    return {"launch_pdl": True} if pdl else {}


def resident(tile: Tile, tensor: torch.Tensor) -> dict[str, int]:
    """A launch option: registers such that `bn` programs run on a multiprocessor at once."""
    most = 65536 // (tile.bn * tile.warps * 32) // 8 * 8
    return {"maxnreg": min(most, 248)} if tensor.is_cuda else {}


def options(tile: Tile, rows: int, w: torch.Tensor) -> dict[str, Any]:
    """What a product with weights w [n, k] is compiled and launched with, by the kernels' names."""
    k, on = w.shape[1], pdl(w)
    bk = tile.bk if w.dtype.itemsize == 2 else tile.bk // 2  # of as many bytes in float32
    tiles = -(-k // bk)
    return {
        "K": k,
        "BN": tile.bn,
        "BK": bk,
        "ROWS": bucket(rows),
        "FIRST": min(tile.first, tiles),
        "STAGES": tile.stages,
        "PDL": on,
        "num_warps": tile.warps,
        **launch(on),
    }


_forced: dict[str, Tile] = {}


def force(op: str, tile: Tile | None) -> None:
    """Let `op` run with this tile (None: with its own again). For the search."""
    _forced.pop(op, None)
    if tile is not None:
        _forced[op] = tile


def choose(op: str, rows: int, n: int, k: int, device: torch.device) -> Tile:
    """The tile for `op` on [rows, k] times a weight [n, k]; of attention n are the heads."""
    if op in _forced:
        return _forced[op]
    size = rows if op.startswith("paged_attention") else bucket(rows)
    return _chosen(op, size, n, k, device.index or 0 if device.type == "cuda" else -1)


@cache
def _chosen(op: str, rows: int, n: int, k: int, index: int) -> Tile:
    if index < 0 and "attention" not in op:  # few programs to interpret
        bk = max(16, min(256, 1 << (k - 1).bit_length()))
        return Tile(512 if op == "norm_lm_head" else 16, bk, 4, 1)
    known = _tuned(device_name(index)) if index >= 0 else {}
    if found := known.get(f"{op} {rows} {n}x{k}") or known.get(f"{op} {rows}"):
        return Tile(**found)
    return fallback(op, rows, k, _shared_memory(index))


def _shared_memory(index: int) -> int:
    """Bytes that a program may have: 227 KiB on Hopper, 163 on A100, 99 on Ada."""
    if index < 0:
        return 99 << 10
    return torch.cuda.get_device_properties(index).shared_memory_per_block_optin


def forget() -> None:
    """Read the tuned files again."""
    _tuned.cache_clear()
    _chosen.cache_clear()


def fallback(op: str, rows: int, k: int, shared_memory: int) -> Tile:
    """Near what the 7B shapes liked on an H100."""
    if op == "prefill_attention":
        return Tile(128, 64, 8, 3 if shared_memory > 132 << 10 else 2)
    if op.startswith("paged_attention"):
        several = op == "paged_attention_batch"
        known = {1: Tile(4, 16, 4, 1) if several else Tile(1, 64, 8, 1), 16: Tile(2, 64, 4, 2)}
        return known.get(rows, Tile(1, 32, 8, 2))
    power = 1 << (k - 1).bit_length()
    if rows == 1:
        bk = min(2048, max(128, power))
        return Tile(2, bk, 8, 1, first=-(-k // bk))
    return Tile(32, min(256, max(16, power)), 2, 4, first=2)


def as_json(tiles: dict[str, Tile]) -> str:
    lines = (f"  {json.dumps(key)}: {json.dumps(asdict(tiles[key]))}" for key in sorted(tiles))
    return "{\n" + ",\n".join(lines) + "\n}\n"
