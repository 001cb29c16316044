"""What `cl-lsp models` prints: who can do what, the memory needed, what is on this disk."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalogue import CAPABILITIES, EMBEDDED, PUBLISHED, Capability, Published, human_size
from .config import read_config
from .hub import EMBEDDED_FOLDER, HubModel, on_disk

TABLE_TOKENS = 1000  # that the table's column for the KV cache counts
BF16_BYTES = 2
DIM, PLAIN = "\033[2m", "\033[0m"
NOTES = """\
Memory for weights and, per 1000 tokens, KV cache in bf16, as on a GPU
(embedded: int8 weights). On a CPU twice that, unless `serve --dtype bfloat16`.
`cl-lsp pull CodeLlama-7b-hf` downloads; 7b, 13b-python … will do."""


@dataclass(frozen=True)
class Row:
    """One model; sizes in bytes."""

    name: str
    hub_id: str | None
    label: str
    capabilities: list[Capability]
    context: int  # tokens
    weight_bytes: int
    kv_bytes_per_token: int
    path: str | None  # None: not on this disk
    disk_bytes: int  # what has come of a download that broke off counts too


def rows() -> list[Row]:
    """The embedded model and the published ones, from small to large."""
    return [_embedded(), *map(_published, PUBLISHED)]


def as_json(row: Row) -> dict[str, Any]:
    return dataclasses.asdict(row) | {"on_disk": row.path is not None}


def table(rows: Sequence[Row], *, colour: bool = False) -> Iterator[str]:
    """Lines of at most 80 characters, but for paths; the 70B models last, and dimmed in colour."""
    yield f"{'model':<25} {' '.join(CAPABILITIES)} {'weights':>7}  {'KV/1k':>6}  disk"
    large = False
    for row in rows:
        if "70b" in row.name and not large:
            large = True
            yield ""
        marks = " ".join(
            f"{'✓' if capability in row.capabilities else '·':^{len(capability)}}"
            for capability in CAPABILITIES
        )
        weights, kv = map(human_size, (row.weight_bytes, row.kv_bytes_per_token * TABLE_TOKENS))
        disk = "yes" if row.path else "part" if row.disk_bytes else "no"
        line = f"{row.name:<25} {marks} {weights:>7}  {kv:>6}  {disk}"
        yield f"{DIM}{line}{PLAIN}" if large and colour else line
    yield ""
    yield NOTES
    for row in rows:
        if row.hub_id and row.disk_bytes:
            where = row.path or f"not whole; `cl-lsp pull {row.name}` goes on"
            yield f"{row.name}: {human_size(row.disk_bytes)}, {where}"


def _embedded() -> Row:
    config = read_config(EMBEDDED_FOLDER)
    return Row(
        name=EMBEDDED,
        hub_id=None,
        label="the small model that comes with cl-lsp",
        capabilities=["completion", "infilling"],
        context=config.context,
        weight_bytes=_bytes(EMBEDDED_FOLDER.glob("*.safetensors")),
        kv_bytes_per_token=config.kv_bytes(BF16_BYTES),
        path=str(EMBEDDED_FOLDER),
        disk_bytes=_bytes(EMBEDDED_FOLDER.iterdir()),
    )


def _published(model: Published) -> Row:
    """The open repository's copy, or the gated one's."""
    ids = (model.hub_id, model.gated_id)
    path = next(filter(None, map(on_disk, ids)), None)
    if path is not None:
        there = _bytes(path.iterdir())
    else:
        there = max(_bytes((HubModel(repo_id).folder / "blobs").glob("*")) for repo_id in ids)
    return Row(
        name=model.name,
        hub_id=model.hub_id,
        label=model.label,
        capabilities=[one for one in CAPABILITIES if one in model.capabilities],
        context=model.context,
        weight_bytes=model.weight_bytes,
        kv_bytes_per_token=model.kv_bytes_per_token,
        path=None if path is None else str(path),
        disk_bytes=there,
    )


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())
