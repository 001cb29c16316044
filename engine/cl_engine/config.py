"""A model's `config.json` as one frozen dataclass, checked at the edge."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BrokenCheckpoint


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of a LlamaForCausalLM, in Hugging Face's meaning of each."""

    vocab: int
    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    norm_eps: float
    rope_theta: float
    context: int
    tied: bool
    int8: bool  # matrices stored as int8 `weight` with a `weight_scale` per row


def read_config(folder: Path) -> LlamaConfig:
    """Raises BrokenCheckpoint with the file and the key that is wrong."""
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BrokenCheckpoint(f"{path}: cannot be read ({error})") from error
    if raw.get("model_type") != "llama":
        raise BrokenCheckpoint(f"{path}: model_type is {raw.get('model_type')!r}, not 'llama'")

    def size(key: str, default: int | None = None) -> int:
        value = raw.get(key) or default
        if not isinstance(value, int) or value < 1:
            raise BrokenCheckpoint(f"{path}: {key} is {value!r}, not a positive number")
        return value

    heads = size("num_attention_heads")
    config = LlamaConfig(
        vocab=size("vocab_size"),
        dim=size("hidden_size"),
        layers=size("num_hidden_layers"),
        heads=heads,
        kv_heads=size("num_key_value_heads", heads),
        head_dim=size("head_dim", size("hidden_size") // heads),
        ffn=size("intermediate_size"),
        norm_eps=float(raw.get("rms_norm_eps", 1e-5)),
        rope_theta=_rope_theta(raw, path),
        context=size("max_position_embeddings"),
        tied=bool(raw.get("tie_word_embeddings", False)),
        int8=_is_int8(raw, path),
    )
    if config.heads % config.kv_heads:
        raise BrokenCheckpoint(f"{path}: {heads} heads do not share {config.kv_heads} evenly")
    return config


def _rope_theta(raw: dict[str, Any], path: Path) -> float:
    """At the top level or, as transformers 5 writes it, nested. Never a silent 10000."""
    nested = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = nested.get("rope_type") or nested.get("type") or "default"
    if kind != "default":
        raise BrokenCheckpoint(f"{path}: rope type {kind!r} is not Code Llama's")
    theta = raw.get("rope_theta") or nested.get("rope_theta")
    if not theta:
        raise BrokenCheckpoint(f"{path}: no rope_theta; Code Llama has 1000000")
    return float(theta)


def _is_int8(raw: dict[str, Any], path: Path) -> bool:
    quantization = raw.get("quantization_config")
    if not quantization:
        return False
    method, layout = quantization.get("quant_method"), quantization.get("format")
    if (method, layout) != ("compressed-tensors", "int-quantized"):
        raise BrokenCheckpoint(f"{path}: quantisation {method}/{layout} is not supported yet")
    return True
