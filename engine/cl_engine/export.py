"""A checkpoint as plain bf16 Hugging Face files, which transformers and llama.cpp read."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from .config import read_config
from .errors import CannotServe
from .loader import find_model, read_tensors


def export(model: str, target: Path) -> Path:
    """Write `model` to the directory `target`, which must be new or empty; returns it.

    Raises UnknownModel, BrokenCheckpoint or, if it cannot be written, CannotServe.
    """
    source = find_model(model)
    config = read_config(source)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CannotServe(f"{target} exists and is not empty")
    tensors = dict(read_tensors(source))
    plain = {
        name: _plain(tensor, tensors.get(name + "_scale"))
        for name, tensor in tensors.items()
        if not name.endswith(".weight_scale")
    }
    raw = json.loads((source / "config.json").read_text())
    raw.pop("quantization_config", None)
    raw |= {"torch_dtype": "bfloat16", "rope_theta": config.rope_theta}
    try:
        target.mkdir(parents=True, exist_ok=True)
        save_file(plain, target / "model.safetensors", metadata={"format": "pt"})
        (target / "config.json").write_text(json.dumps(raw, indent=2) + "\n")
        shutil.copyfile(source / "tokenizer.model", target / "tokenizer.model")
    except OSError as error:
        raise CannotServe(f"cannot write {target}: {error.strerror}") from error
    return target


def _plain(weight: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    if scale is None:
        return weight.to(torch.bfloat16)
    return (weight.float() * scale.float()).to(torch.bfloat16)
