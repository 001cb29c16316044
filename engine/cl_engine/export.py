"""A checkpoint as plain bf16 Hugging Face files, which transformers and llama.cpp read.

Tensors are streamed: one is in memory at a time, however large the model.
"""

import contextlib
import json
import math
import shutil
from pathlib import Path

import torch

from .catalogue import human_size
from .checkpoint import SAFETENSORS, Checkpoint
from .config import HUGGING_FACE, LlamaConfig
from .errors import CannotServe
from .facts import read_facts
from .loader import open_weights
from .tokenizer import Tokenizer

TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json")  # the first that is there is the one in use
FILE_BYTES = 4 << 30  # of tensors in a file, at most, unless one tensor alone is larger


def export(model: str, target: Path, file_bytes: int = FILE_BYTES) -> Path:
    """Write `model` to the directory `target`, which must be new or empty; returns it.

    Raises UnknownModel, BrokenCheckpoint or, if it cannot be written, CannotServe. Whatever went
    wrong, nothing half-written is left.
    """
    facts = read_facts(model)
    source, config, tokenizer = facts.folder, facts.config, facts.tokenizer
    checkpoint = open_weights(facts)
    existed = target.exists()
    if existed and not target.is_dir():
        raise CannotServe(f"{target} is a file, not a directory")
    if existed and any(target.iterdir()):
        raise CannotServe(f"{target} exists and is not empty")
    shapes = config.tensor_shapes()
    files = _files(checkpoint.in_order(shapes), shapes, file_bytes)
    try:
        target.mkdir(parents=True, exist_ok=True)
        _check_space(target, shapes)
        for file, names in files.items():
            _write_tensors(target / file, {name: shapes[name] for name in names}, checkpoint)
        if len(files) > 1:
            _write_json(target / f"{SAFETENSORS}.index.json", _index(files, shapes))
        _write_json(target / HUGGING_FACE, _config(source, config, tokenizer))
        _write_json(target / "generation_config.json", _ends(tokenizer))
        _write_json(target / "tokenizer_config.json", _tokenizer_settings(tokenizer, config))
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, target / name)
                break
    except BaseException as error:
        _empty(target, existed)
        if isinstance(error, OSError):
            raise CannotServe(f"cannot write {target}: {error.strerror}") from error
        raise
    return target


def _empty(target: Path, keep: bool) -> None:
    """Take back what was written to a directory that held nothing before."""
    with contextlib.suppress(OSError):
        for path in target.iterdir():
            path.unlink()
        if not keep:
            target.rmdir()


def _files(
    names: list[str], shapes: dict[str, tuple[int, ...]], limit: int
) -> dict[str, list[str]]:
    """Which tensors go into which file."""
    groups: list[list[str]] = [[]]
    size = 0
    for name in names:
        size += _bytes(shapes[name])
        if groups[-1] and size > limit:
            groups.append([])
            size = _bytes(shapes[name])
        groups[-1].append(name)
    if len(groups) == 1:
        return {SAFETENSORS: groups[0]}
    stem, suffix = SAFETENSORS.split(".")
    count = len(groups)
    return {f"{stem}-{i:05}-of-{count:05}.{suffix}": g for i, g in enumerate(groups, 1)}


def _bytes(shape: tuple[int, ...]) -> int:
    return math.prod(shape) * torch.bfloat16.itemsize


def _check_space(target: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    needed, free = sum(map(_bytes, shapes.values())), shutil.disk_usage(target).free
    if free < needed:
        sizes = f"{human_size(needed)} needed, {human_size(free)} free"
        raise CannotServe(f"cannot write {target}: {sizes}")


def _write_tensors(path: Path, shapes: dict[str, tuple[int, ...]], checkpoint: Checkpoint) -> None:
    """A safetensors file: length of the header, header, data. safetensors itself wants all tensors
    in memory at once. Source: github.com/huggingface/safetensors, README, "Format".
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + _bytes(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the data begin aligned
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, shape in shapes.items():
            tensor = torch.empty(shape, dtype=torch.bfloat16)
            checkpoint.read_into(name, tensor)
            file.write(tensor.view(torch.uint8).numpy().data)


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def _index(files: dict[str, list[str]], shapes: dict[str, tuple[int, ...]]) -> dict[str, object]:
    weight_map = {name: file for file, names in files.items() for name in names}
    return {
        "metadata": {"total_size": sum(map(_bytes, shapes.values()))},
        "weight_map": weight_map,
    }


def _config(source: Path, config: LlamaConfig, tokenizer: Tokenizer) -> dict[str, object]:
    """The source's own config.json, or one made of Meta's params.json, as of plain bf16 weights."""
    path, c = source / HUGGING_FACE, config
    raw = json.loads(path.read_text()) if path.is_file() else {}
    raw.pop("quantization_config", None)
    made = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": c.vocab,
        "hidden_size": c.dim,
        "intermediate_size": c.ffn,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": c.norm_eps,
        "max_position_embeddings": c.context,
        "tie_word_embeddings": c.tied,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
    }
    return made | raw | {"torch_dtype": "bfloat16", "rope_theta": c.rope_theta}


def _ends(tokenizer: Tokenizer) -> dict[str, object]:
    """What ends a text; of models that infill the end of a middle, too."""
    infill = tokenizer.infill
    ends = [tokenizer.eos, *([infill.eot] if infill else [])]
    return {"bos_token_id": tokenizer.bos, "eos_token_id": ends, "pad_token_id": tokenizer.eos}


def _tokenizer_settings(tokenizer: Tokenizer, config: LlamaConfig) -> dict[str, object]:
    """What transformers needs to encode as we do; without it, it leaves out BOS and dummy space."""
    return {
        "tokenizer_class": "CodeLlamaTokenizer" if tokenizer.infill else "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": False,
    }
