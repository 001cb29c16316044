"""Small random checkpoints in every layout on disk, and tokenizers of both sizes."""

import functools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cl_engine
import torch
from cl_engine.sp_model import with_pieces, without_pieces_from
from cl_engine.tokenizer import INFILL_PIECES
from safetensors.torch import save_file

TOKENIZER = Path(cl_engine.__file__).parent / "embedded" / "tokenizer.model"
VOCAB = 8192

# "old": a .bin as torch < 1.6 wrote it; "meta": consolidated.NN.pth
Layout = Literal["safetensors", "bin", "old", "meta"]
Tensors = dict[str, torch.Tensor]


def make_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    dim: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    ffn: int = 96,
    context: int = 512,
    tied: bool = False,
    vocab: int = VOCAB,
    scale: float = 0.3,
    layout: Layout = "safetensors",
    files: int = 1,
    nested_theta: bool = False,
) -> Path:
    """Random float32 weights, large enough (std `scale`) that greedy text does not just repeat.

    The same seed and sizes give the same tensors in every layout. `files`: shards, or the degree
    of model parallelism; `nested_theta`: as transformers 5 writes it. Meta's layout holds neither a
    context nor tied weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(seed, dim, layers, heads, kv_heads, ffn, tied, vocab, scale)
    if layout == "meta":
        _write_meta(folder, tensors, dim // heads, files)
        config: dict[str, object] = {
            "dim": dim,
            "n_layers": layers,
            "n_heads": heads,
            "multiple_of": ffn,
            "ffn_dim_multiplier": ffn / (3 * dim),  # below one multiple, so that one it becomes
            "norm_eps": 1e-5,
            "rope_theta": 1e6,
        }
        if kv_heads != heads:
            config["n_kv_heads"] = kv_heads
        (folder / "params.json").write_text(json.dumps(config))
    else:
        _write_files(folder, tensors, layout, files)
        config = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": vocab,
            "hidden_size": dim,
            "intermediate_size": ffn,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "rms_norm_eps": 1e-5,
            "max_position_embeddings": context,
            "tie_word_embeddings": tied,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "torch_dtype": "float32",
        }
        theta = {"rope_theta": 1e6}
        config |= {"rope_parameters": theta | {"rope_type": "default"}} if nested_theta else theta
        (folder / "config.json").write_text(json.dumps(config))
    make_tokenizer(folder / "tokenizer.model", vocab)
    return folder


def random_tensors(
    seed: int,
    dim: int,
    layers: int,
    heads: int,
    kv_heads: int,
    ffn: int,
    tied: bool,
    vocab: int,
    scale: float,
) -> Tensors:
    random = torch.Generator().manual_seed(seed)
    head_dim = dim // heads
    tensors: Tensors = {}

    def matrix(name: str, rows: int, columns: int, std: float) -> None:
        tensors[name + ".weight"] = torch.randn(rows, columns, generator=random) * std

    matrix("model.embed_tokens", vocab, dim, scale if tied else 1.0)
    if not tied:
        matrix("lm_head", vocab, dim, scale)
    tensors["model.norm.weight"] = 1 + 0.1 * torch.randn(dim, generator=random)
    for i in range(layers):
        prefix = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{norm}.weight"] = 1 + 0.1 * torch.randn(dim, generator=random)
        for name, rows in (("q", dim), ("k", kv_heads * head_dim), ("v", kv_heads * head_dim)):
            matrix(f"{prefix}self_attn.{name}_proj", rows, dim, scale)
        matrix(f"{prefix}self_attn.o_proj", dim, dim, scale)
        matrix(f"{prefix}mlp.gate_proj", ffn, dim, scale)
        matrix(f"{prefix}mlp.up_proj", ffn, dim, scale)
        matrix(f"{prefix}mlp.down_proj", dim, ffn, scale)
    return tensors


def _write_files(folder: Path, tensors: Tensors, layout: Layout, files: int) -> None:
    name = "model.safetensors" if layout == "safetensors" else "pytorch_model.bin"
    writers: dict[str, Callable[[Tensors, Path], Any]] = {
        "safetensors": lambda part, path: save_file(part, path, metadata={"format": "pt"}),
        "bin": torch.save,
        "old": lambda part, path: torch.save(part, path, _use_new_zipfile_serialization=False),
    }
    if files == 1:
        writers[layout](tensors, folder / name)
        return
    names, stem, suffix = list(tensors), *name.split(".")
    step = math.ceil(len(names) / files)
    weight_map: dict[str, str] = {}
    for i in range(files):
        shard = f"{stem}-{i + 1:05}-of-{files:05}.{suffix}"
        part = {name: tensors[name] for name in names[i * step : (i + 1) * step]}
        writers[layout](part, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": weight_map}))


META_NAMES = {
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "lm_head": "output",
    "model.layers": "layers",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _write_meta(folder: Path, tensors: Tensors, head_dim: int, files: int) -> None:
    parts: list[Tensors] = [{} for _ in range(files)]
    for name, tensor in tensors.items():
        key = functools.reduce(lambda k, pair: k.replace(*pair), META_NAMES.items(), name)
        if key.endswith(("wq.weight", "wk.weight")):
            halves = tensor.view(-1, 2, head_dim // 2, tensor.shape[1])
            tensor = halves.transpose(1, 2).reshape(tensor.shape)
        if tensor.dim() == 1:
            pieces = [tensor] * files
        else:
            by_columns = key.endswith(("wo.weight", "w2.weight", "tok_embeddings.weight"))
            pieces = tensor.chunk(files, 1 if by_columns else 0)
        for part, piece in zip(parts, pieces, strict=True):
            part[key] = piece.clone()
    for i, part in enumerate(parts):
        part["rope.freqs"] = torch.full((head_dim // 2,), math.nan)
        torch.save(part, folder / f"consolidated.{i:02}.pth")


def make_tokenizer(path: Path, vocab: int) -> Path:
    """A `tokenizer.model` of so many pieces: the embedded one's text pieces, rare ones behind.

    The last 16 are the infilling pieces, except where the published models have none (32000).
    """
    if vocab == VOCAB:
        shutil.copyfile(TOKENIZER, path)
    else:
        path.write_bytes(_tokenizer(vocab))
    return path


@functools.cache
def _tokenizer(vocab: int) -> bytes:
    last = INFILL_PIECES if vocab != 32000 else ()
    learnt = VOCAB - len(INFILL_PIECES)
    rare = [f"\ue000{i}\ue001" for i in range(vocab - learnt - len(last))]  # private use
    added = [(piece, -1e6 - i) for i, piece in enumerate([*rare, *last])]
    return with_pieces(without_pieces_from(TOKENIZER.read_bytes(), learnt), added)
