"""A checkpoint directory as named tensors: Hugging Face's names and layout, whatever the files.

Tensors are read one at a time, from mapped files, straight into memory that the caller laid out.
Only tensors are ever unpickled, and only names that are asked for are read.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from .config import LlamaConfig
from .errors import BrokenCheckpoint, in_words

SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
META_FILES = "consolidated.*.pth"
ZIP_MAGIC = b"PK\x03\x04"  # torch.save since 1.6; what is older cannot be mapped
# Meta's name: Hugging Face's, and the dimension that model parallelism splits (None: none).
# Source: facebookresearch/codellama `llama/model.py` (Column- and RowParallelLinear).
META_TOP: dict[str, tuple[str, int | None]] = {
    "tok_embeddings": ("model.embed_tokens", 1),
    "norm": ("model.norm", None),
    "output": ("lm_head", 0),
}
META_LAYER: dict[str, tuple[str, int | None]] = {
    "attention.wq": ("self_attn.q_proj", 0),
    "attention.wk": ("self_attn.k_proj", 0),
    "attention.wv": ("self_attn.v_proj", 0),
    "attention.wo": ("self_attn.o_proj", 1),
    "feed_forward.w1": ("mlp.gate_proj", 0),
    "feed_forward.w3": ("mlp.up_proj", 0),
    "feed_forward.w2": ("mlp.down_proj", 1),
    "attention_norm": ("input_layernorm", None),
    "ffn_norm": ("post_attention_layernorm", None),
}
META_ROTARY = ("attention.wq", "attention.wk")


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies: under `key` in each of `files`, in equal parts along `axis`."""

    files: tuple[str, ...]
    key: str
    axis: int | None = None  # None: whole in every file
    paired: int = 0  # head_dim, if rotary rows are stored as neighbouring pairs and not as halves


@dataclass(frozen=True)
class _File:
    path: Path
    keys: Collection[str]  # in the order of their data
    get: Callable[[str], Any]

    def tensor(self, key: str) -> torch.Tensor:
        if key not in self.keys:
            raise BrokenCheckpoint(f"{self.path}: tensor {key} is missing")
        value = self.get(key)
        if not isinstance(value, torch.Tensor):
            raise BrokenCheckpoint(f"{self.path}: {key} is a {type(value).__name__}, no tensor")
        return value


class _Files:
    """The files of a directory; only those of the last tensor stay open."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._opened: dict[str, _File] = {}

    def open(self, names: tuple[str, ...]) -> list[_File]:
        self._opened = {name: f for name, f in self._opened.items() if name in names}
        for name in names:
            if name not in self._opened:
                path = self.folder / name
                opener = _open_safetensors if path.suffix == ".safetensors" else _open_pickle
                self._opened[name] = opener(path)
        return [self._opened[name] for name in names]


class Checkpoint:
    """The tensors of a directory, by Hugging Face's names. Made by `open`."""

    def __init__(self, files: _Files, table: dict[str, Stored]):
        self.folder = files.folder
        self._files, self._table = files, table

    @classmethod
    def open(cls, folder: Path, config: LlamaConfig) -> "Checkpoint":
        """Safetensors before pickles, Hugging Face's layout before Meta's. Reads no values.

        Raises BrokenCheckpoint if there are no weights, if a file is missing or damaged, and if a
        pickle asks for anything but tensors.
        """
        files = _Files(folder)
        for single in (SAFETENSORS, PICKLED):
            if (folder / single).is_file():
                (file,) = files.open((single,))
                return cls(files, {key: Stored((single,), key) for key in file.keys})
            if (index := folder / f"{single}.index.json").is_file():
                return cls(files, _indexed(index))
        if names := sorted(path.name for path in folder.glob(META_FILES)):
            return cls(files, _model_parallel(files, tuple(names), config))
        raise BrokenCheckpoint(
            f"{folder}: no weights: neither {SAFETENSORS} nor {PICKLED} (or the index of one),"
            f" nor {META_FILES}"
        )

    def in_order(self, names: Iterable[str]) -> list[str]:
        """`names` as they lie in the files. Raises BrokenCheckpoint for those that are missing."""
        wanted = set(names)
        if missing := sorted(wanted - self._table.keys()):
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise BrokenCheckpoint(f"{self.folder}: tensor {missing[0]} is missing{more}")
        return [name for name in self._table if name in wanted]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the whole tensor."""
        stored, parts = self._parts(name)
        shape = list(parts[0].shape)
        if stored.axis is not None:
            shape[stored.axis] *= len(parts)
        return tuple(shape)

    def read_into(self, name: str, destination: torch.Tensor) -> None:
        """Fill `destination` (any device, any float type, or int8 for int8) with a tensor.

        An int8 tensor with a `_scale` per row fills a float destination with their product. Raises
        BrokenCheckpoint if it is missing, of another shape or kind, or holds NaN or infinity. In
        host memory it needs at most one tensor more than `destination`, and none on a CPU.
        """
        stored, parts = self._parts(name)
        where = f"{self.folder / stored.files[0]}: {stored.key}"
        if (shape := self.shape(name)) != tuple(destination.shape):
            raise BrokenCheckpoint(f"{where} is {list(shape)}, not {list(destination.shape)}")
        is_float = destination.is_floating_point()
        scaled = is_float and parts[0].dtype == torch.int8 and name + "_scale" in self._table
        if parts[0].is_floating_point() != is_float and not scaled:
            kind = "a float type" if is_float else destination.dtype
            raise BrokenCheckpoint(f"{where} is {parts[0].dtype}, not {kind}")
        _join(parts, stored, destination)
        if scaled:
            scale = destination.new_empty(shape[0], 1)
            self.read_into(name + "_scale", scale)
            destination.mul_(scale)
        if is_float and not torch.stack(torch.aminmax(destination)).isfinite().all():
            raise BrokenCheckpoint(f"{where} holds NaN or infinite values")

    def _parts(self, name: str) -> tuple[Stored, list[torch.Tensor]]:
        self.in_order([name])
        stored = self._table[name]
        files = self._files.open(stored.files)
        if stored.axis is None:
            return stored, [files[0].tensor(stored.key)]
        parts = [file.tensor(stored.key) for file in files]
        for file, part in zip(files, parts, strict=True):
            if part.shape != parts[0].shape or part.dim() != 2:
                raise BrokenCheckpoint(
                    f"{file.path}: {stored.key} is {list(part.shape)},"
                    f" in {stored.files[0]} {list(parts[0].shape)}"
                )
        return stored, parts


def _join(parts: list[torch.Tensor], stored: Stored, destination: torch.Tensor) -> None:
    if stored.axis is None:
        destination.copy_(parts[0])
        return
    for part, piece in zip(parts, destination.chunk(len(parts), stored.axis), strict=True):
        if stored.paired:  # rows (a0 b0 a1 b1 …) of each head become (a0 a1 … b0 b1 …)
            half, columns = stored.paired // 2, part.shape[1]
            part = part.reshape(-1, half, 2, columns).transpose(1, 2)
            piece = piece.view(-1, 2, half, columns)
        piece.copy_(part)


def _indexed(index: Path) -> dict[str, Stored]:
    try:
        weight_map = dict(json.loads(index.read_text())["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenCheckpoint(f"{index}: no index of weights ({in_words(error)})") from error
    for file in sorted(set(map(str, weight_map.values()))):
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise BrokenCheckpoint(f"{index}: names {file}, a file outside the directory")
        if not (index.parent / file).is_file():
            raise BrokenCheckpoint(f"{index.parent / file} is missing: {index.name} names it")
    by_file = sorted(weight_map.items(), key=lambda item: str(item[1]))
    return {key: Stored((str(file),), key) for key, file in by_file}


def _model_parallel(
    files: _Files, names: tuple[str, ...], config: LlamaConfig
) -> dict[str, Stored]:
    first = files.open(names)[0]
    rows = first.tensor("layers.0.attention.wq.weight").shape[:1].numel()
    count = max(1, config.heads * config.head_dim // max(1, rows))
    if config.kv_heads % count:
        raise BrokenCheckpoint(
            f"{first.path}: one of {count} parts, but n_kv_heads is {config.kv_heads}"
        )
    for name in (f"consolidated.{i:02}.pth" for i in range(count)):
        if name not in names:
            raise BrokenCheckpoint(
                f"{files.folder / name} is missing: {names[0]} holds one of {count} parts"
            )
    table: dict[str, Stored] = {}
    for key in first.keys:
        match = re.fullmatch(r"(?:layers\.(\d+)\.)?([a-z0-9_.]+)\.weight", key)
        layer, meta = match.groups() if match else (None, "")
        known = META_TOP if layer is None else META_LAYER
        if meta in known:
            name, axis = known[meta]
            prefix = "" if layer is None else f"model.layers.{layer}."
            paired = config.head_dim if meta in META_ROTARY else 0
            table[f"{prefix}{name}.weight"] = Stored(names, key, axis, paired)
    return table


def _open_safetensors(path: Path) -> _File:
    try:
        file = safe_open(path, framework="pt")
        return _File(path, dict.fromkeys(file.offset_keys()), file.get_tensor)
    except (OSError, SafetensorError) as error:
        raise BrokenCheckpoint(f"{path}: unreadable weights, cut off perhaps ({error})") from error


def _open_pickle(path: Path) -> _File:
    """Mapped if the format allows it; what torch < 1.6 wrote is read as a whole."""
    try:
        with path.open("rb") as file:
            mapped = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged pickle fails in any way it likes
        if asks := re.search(r"(?i)unsupported (?:global|operand|class)[^\n]{0,80}", str(error)):
            raise BrokenCheckpoint(
                f"{path}: refused, its pickle asks for more than tensors and could run any code"
                f" ({asks[0]}); use safetensors"
            ) from error
        reason = str(error).split(". ")[0] or type(error).__name__
        raise BrokenCheckpoint(f"{path}: unreadable weights, cut off perhaps ({reason})") from error
    if not isinstance(tensors, dict):
        raise BrokenCheckpoint(f"{path}: holds a {type(tensors).__name__}, no named tensors")
    keys = dict.fromkeys(key for key in tensors if isinstance(key, str))
    return _File(path, keys, tensors.__getitem__)
