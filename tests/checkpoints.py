"""Small random checkpoints in Hugging Face's layout."""

import json
import shutil
from pathlib import Path

import cl_engine
import torch
from safetensors.torch import save_file

TOKENIZER = Path(cl_engine.__file__).parent / "embedded" / "tokenizer.model"
VOCAB = 8192


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
) -> Path:
    """Random weights, large enough (std `scale`) that greedy text does not just repeat."""
    random = torch.Generator().manual_seed(seed)
    head_dim = dim // heads
    tensors: dict[str, torch.Tensor] = {}

    def matrix(name: str, rows: int, columns: int, std: float) -> None:
        tensors[name + ".weight"] = torch.randn(rows, columns, generator=random) * std

    matrix("model.embed_tokens", vocab, dim, 1.0)
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
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
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
        "rope_theta": 1e6,
        "max_position_embeddings": context,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copyfile(TOKENIZER, folder / "tokenizer.model")
    return folder
