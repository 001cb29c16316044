"""A model's `config.json`, or Meta's `params.json`, as one frozen dataclass checked at the edge."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BrokenCheckpoint
from .tokenizer import Tokenizer

HUGGING_FACE, META = "config.json", "params.json"


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
    name: str = ""  # what the files say of the model's origin, e.g. "codellama/CodeLlama-7b-hf"

    def weight_bytes(self, itemsize: int) -> int:
        """Of all tensors, at so many bytes for each value."""
        return itemsize * sum(map(math.prod, self.tensor_shapes().values()))

    def kv_bytes(self, itemsize: int) -> int:
        """What the keys and values of one token take."""
        return 2 * self.layers * self.kv_heads * self.head_dim * itemsize

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the model, without scales, by Hugging Face's name."""
        q_rows, kv_rows = self.heads * self.head_dim, self.kv_heads * self.head_dim
        layer = {
            "input_layernorm": (self.dim,),
            "self_attn.q_proj": (q_rows, self.dim),
            "self_attn.k_proj": (kv_rows, self.dim),
            "self_attn.v_proj": (kv_rows, self.dim),
            "self_attn.o_proj": (self.dim, q_rows),
            "post_attention_layernorm": (self.dim,),
            "mlp.gate_proj": (self.ffn, self.dim),
            "mlp.up_proj": (self.ffn, self.dim),
            "mlp.down_proj": (self.dim, self.ffn),
        }
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab, self.dim)}
        for i in range(self.layers):
            shapes |= {f"model.layers.{i}.{name}.weight": size for name, size in layer.items()}
        shapes["model.norm.weight"] = (self.dim,)
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab, self.dim)
        return shapes


def read_config(folder: Path) -> LlamaConfig:
    """Of a directory's `config.json` or, where there is none, `params.json`.

    Raises BrokenCheckpoint with the file and the key that is wrong.
    """
    if (folder / META).is_file() and not (folder / HUGGING_FACE).is_file():
        config = _from_meta(settings := _Settings(folder / META))
    else:
        config = _from_hugging_face(settings := _Settings(folder / HUGGING_FACE))
    if config.heads % config.kv_heads:
        raise BrokenCheckpoint(
            f"{settings.path}: {config.heads} heads do not share {config.kv_heads} evenly"
        )
    if config.head_dim % 2:
        raise BrokenCheckpoint(f"{settings.path}: heads of odd size {config.head_dim}")
    return config


class _Settings:
    """One JSON file, whose values are asked for by key and kind."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.raw: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise BrokenCheckpoint(f"{path}: cannot be read ({error})") from error
        if not isinstance(self.raw, dict):
            raise BrokenCheckpoint(f"{path}: is a {type(self.raw).__name__}, no JSON object")

    def size(self, key: str, default: int | None = None) -> int:
        value = self.raw.get(key) or default
        if not isinstance(value, int) or value < 1:
            raise BrokenCheckpoint(f"{self.path}: {key} is {value!r}, not a positive number")
        return value

    def number(self, key: str, default: float) -> float:
        return self.positive(key, self.raw.get(key) or default)

    def positive(self, key: str, value: object) -> float:
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise BrokenCheckpoint(f"{self.path}: {key} is {value!r}, not a positive number")
        return float(value)

    def rope_theta(self) -> float:
        """At the top level or, as transformers 5 writes it, nested. Never a silent 10000."""
        nested = self.raw.get("rope_parameters") or self.raw.get("rope_scaling") or {}
        if not isinstance(nested, dict):
            raise BrokenCheckpoint(f"{self.path}: rope_parameters is {nested!r}, no JSON object")
        kind = nested.get("rope_type") or nested.get("type") or "default"
        if kind != "default":
            raise BrokenCheckpoint(f"{self.path}: rope type {kind!r} is not Code Llama's")
        theta = self.raw.get("rope_theta") or nested.get("rope_theta")
        if not theta:
            raise BrokenCheckpoint(
                f"{self.path}: no rope_theta; Code Llama has 1000000 (70B-Python and"
                " 70B-Instruct 10000)"
            )
        return self.positive("rope_theta", theta)


def _from_hugging_face(settings: _Settings) -> LlamaConfig:
    raw, size = settings.raw, settings.size
    if raw.get("model_type") != "llama":
        raise BrokenCheckpoint(
            f"{settings.path}: model_type is {raw.get('model_type')!r}, not 'llama'"
        )
    heads, name = size("num_attention_heads"), raw.get("_name_or_path")
    return LlamaConfig(
        vocab=size("vocab_size"),
        dim=size("hidden_size"),
        layers=size("num_hidden_layers"),
        heads=heads,
        kv_heads=size("num_key_value_heads", heads),
        head_dim=size("head_dim", size("hidden_size") // heads),
        ffn=size("intermediate_size"),
        norm_eps=settings.number("rms_norm_eps", 1e-5),
        rope_theta=settings.rope_theta(),
        context=size("max_position_embeddings"),
        tied=bool(raw.get("tie_word_embeddings", False)),
        int8=_is_int8(settings),
        name=name if isinstance(name, str) else "",
    )


def _from_meta(settings: _Settings) -> LlamaConfig:
    """Defaults and the size of the feed-forward layer as in Meta's `llama/model.py`."""
    size = settings.size
    dim, heads, theta = size("dim"), size("n_heads"), settings.rope_theta()
    hidden = int(int(8 * dim / 3) * settings.number("ffn_dim_multiplier", 1.0))
    multiple = size("multiple_of", 256)
    if settings.raw.get("vocab_size") in (None, -1):  # as many as the tokenizer has
        vocab = Tokenizer.open(settings.path.parent).size
    else:
        vocab = size("vocab_size")
    return LlamaConfig(
        vocab=vocab,
        dim=dim,
        layers=size("n_layers"),
        heads=heads,
        kv_heads=size("n_kv_heads", heads),
        head_dim=dim // heads,
        ffn=-(-hidden // multiple) * multiple,
        norm_eps=settings.number("norm_eps", 1e-5),
        rope_theta=theta,
        # The file does not say; of Code Llama only 70B-Python and 70B-Instruct kept Llama 2's.
        context=4096 if theta == 10000 else 16384,
        tied=False,
        int8=False,
    )


def _is_int8(settings: _Settings) -> bool:
    quantization = settings.raw.get("quantization_config")
    if not quantization:
        return False
    method, layout = quantization.get("quant_method"), quantization.get("format")
    if (method, layout) != ("compressed-tensors", "int-quantized"):
        raise BrokenCheckpoint(
            f"{settings.path}: quantisation {method}/{layout} is not supported yet"
        )
    return True
