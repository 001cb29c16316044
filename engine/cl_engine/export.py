"""A checkpoint as plain bf16 Hugging Face files, which transformers and llama.cpp read."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from .config import read_config
from .errors import CannotServe
from .loader import find_model, read_tensors
from .tokenizer import Tokenizer


def export(model: str, target: Path) -> Path:
    """Write `model` to the directory `target`, which must be new or empty; returns it.

    Raises UnknownModel, BrokenCheckpoint or, if it cannot be written, CannotServe.
    """
    source = find_model(model)
    config = read_config(source)
    settings = _tokenizer_settings(Tokenizer(source / "tokenizer.model"), config.context)
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
        (target / "model.safetensors").chmod(0o644)  # safetensors lets only the owner read
        (target / "config.json").write_text(json.dumps(raw, indent=2) + "\n")
        shutil.copyfile(source / "tokenizer.model", target / "tokenizer.model")
        (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    except OSError as error:
        raise CannotServe(f"cannot write {target}: {error.strerror}") from error
    return target


def _plain(weight: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    if scale is None:
        return weight.to(torch.bfloat16)
    return (weight.float() * scale.float()).to(torch.bfloat16)


def _tokenizer_settings(tokenizer: Tokenizer, context: int) -> dict[str, object]:
    """What transformers needs to encode as we do; without it, it leaves out BOS and dummy space."""
    return {
        "tokenizer_class": "CodeLlamaTokenizer" if tokenizer.infill else "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
