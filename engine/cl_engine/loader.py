"""From a name or a directory to a model in memory: Hugging Face files, float or int8.

Nothing is unpickled and nothing is fetched. Every fault of a checkpoint gets its own message.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from .config import LlamaConfig, read_config
from .errors import BrokenCheckpoint, UnknownModel
from .models.llama import Layer, Llama, Weights
from .ops import Matrix, stack
from .tokenizer import Tokenizer

EMBEDDED = "embedded"


@dataclass(frozen=True)
class LoadedModel:
    name: str
    llama: Llama
    tokenizer: Tokenizer


def find_model(name: str) -> Path:
    """The directory of a checkpoint. Raises UnknownModel, which says what would be accepted."""
    folder = Path(__file__).parent / "embedded" if name == EMBEDDED else Path(name).expanduser()
    if not (folder / "config.json").is_file():
        where = (
            f"{folder} is not a directory with a config.json" if folder.is_dir() else "not found"
        )
        raise UnknownModel(
            f"no model {name!r} ({where}): give '{EMBEDDED}' or the directory of a checkpoint"
        )
    return folder


def canonical_name(name: str) -> str:
    """The one name of a model, however its directory is spelled."""
    return name if name == EMBEDDED else str(Path(name).expanduser().resolve())


def load_model(name: str) -> LoadedModel:
    """Raises UnknownModel or BrokenCheckpoint."""
    folder = find_model(name)
    config = read_config(folder)
    tokenizer = Tokenizer(folder / "tokenizer.model")
    if tokenizer.size != config.vocab:
        raise BrokenCheckpoint(
            f"{folder}: the tokenizer has {tokenizer.size} pieces, the model {config.vocab} rows"
        )
    tensors = dict(read_tensors(folder))
    return LoadedModel(name, Llama(config, _weights(config, tensors, folder)), tokenizer)


def read_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the checkpoint, by Hugging Face's name."""
    index = folder / "model.safetensors.index.json"
    try:
        if index.is_file():
            files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        else:
            files = ["model.safetensors"]
        for name in files:
            with safe_open(folder / name, framework="pt") as shard:
                for key in shard.keys():  # noqa: SIM118
                    yield key, shard.get_tensor(key)
    except FileNotFoundError as error:
        raise BrokenCheckpoint(f"{folder}: missing file {error.filename or error}") from error
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise BrokenCheckpoint(f"{folder}: unreadable weights ({error})") from error


def _weights(config: LlamaConfig, tensors: dict[str, torch.Tensor], folder: Path) -> Weights:
    def take(name: str, *shape: int) -> torch.Tensor:
        if name not in tensors:
            raise BrokenCheckpoint(f"{folder}: tensor {name} is missing")
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            raise BrokenCheckpoint(f"{folder}: {name} is {list(tensor.shape)}, not {list(shape)}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise BrokenCheckpoint(f"{folder}: {name} holds NaN or infinite values")
        return tensor

    def matrix(name: str, rows: int, columns: int) -> Matrix:
        weight = take(name + ".weight", rows, columns)
        if not config.int8:
            return Matrix(weight.float())
        if weight.dtype != torch.int8:
            raise BrokenCheckpoint(f"{folder}: {name} is {weight.dtype}, config.json says int8")
        # A copy: the int8 product reads aligned memory only, and a mapped file promises none.
        weight = weight.clone()
        return Matrix(weight, take(name + ".weight_scale", rows, 1).view(-1).bfloat16())

    def norm(name: str) -> torch.Tensor:
        return take(name + ".weight", config.dim).float()

    c = config
    q_rows, kv_rows = c.heads * c.head_dim, c.kv_heads * c.head_dim

    def layer(prefix: str) -> Layer:
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        return Layer(
            attention_norm=norm(prefix + "input_layernorm"),
            qkv=stack(
                [
                    matrix(attention + "q_proj", q_rows, c.dim),
                    matrix(attention + "k_proj", kv_rows, c.dim),
                    matrix(attention + "v_proj", kv_rows, c.dim),
                ]
            ),
            out=matrix(attention + "o_proj", c.dim, q_rows),
            ffn_norm=norm(prefix + "post_attention_layernorm"),
            gate_up=stack(
                [
                    matrix(mlp + "gate_proj", c.ffn, c.dim),
                    matrix(mlp + "up_proj", c.ffn, c.dim),
                ]
            ),
            down=matrix(mlp + "down_proj", c.dim, c.ffn),
        )

    embedding = matrix("model.embed_tokens", c.vocab, c.dim)
    return Weights(
        embedding=embedding,
        layers=[layer(f"model.layers.{i}.") for i in range(c.layers)],
        norm=norm("model.norm"),
        head=embedding if c.tied else matrix("lm_head", c.vocab, c.dim),
    )
