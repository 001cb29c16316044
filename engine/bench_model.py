"""Models of true shapes with random weights, and as checkpoints: what the GPU's benchmark runs.

Neither latency nor rounding depends on what the weights say.
"""

import json
from pathlib import Path

import torch
from cl_engine.catalogue import HEAD_DIM, PUBLISHED, Published
from cl_engine.config import LlamaConfig
from cl_engine.models.llama import Layer, Llama, Weights
from cl_engine.ops import Matrix
from safetensors.torch import save_file


def published(alias: str) -> Published:
    return next(model for model in PUBLISHED if model.alias == alias)


def config_of(model: Published) -> LlamaConfig:
    return LlamaConfig(
        vocab=model.vocab,
        dim=model.dim,
        layers=model.layers,
        heads=model.heads,
        kv_heads=model.kv_heads,
        head_dim=HEAD_DIM,
        ffn=model.ffn,
        norm_eps=1e-5,
        rope_theta=model.rope_theta,
        context=model.context,
        tied=False,
        int8=False,
    )


def random_llama(c: LlamaConfig, device: str, dtype: torch.dtype) -> Llama:
    """Rows of weights with unit gain, so that activations stay of the size they have in use."""

    def matrix(rows: int, columns: int) -> Matrix:
        weight = torch.empty(rows, columns, device=device, dtype=dtype)
        return Matrix(weight.normal_(std=columns**-0.5))

    def norm() -> torch.Tensor:
        return 1 + 0.1 * torch.randn(c.dim, device=device)

    def layer() -> Layer:
        width = (c.heads + 2 * c.kv_heads) * c.head_dim
        return Layer(
            norm(),
            matrix(width, c.dim),
            matrix(c.dim, c.heads * c.head_dim),
            norm(),
            matrix(2 * c.ffn, c.dim),
            matrix(c.dim, c.ffn),
        )

    table = torch.empty(c.vocab, c.dim, device=device, dtype=dtype).normal_()
    layers = [layer() for _ in range(c.layers)]
    return Llama(c, Weights(Matrix(table), layers, norm(), matrix(c.vocab, c.dim)))


def know_by_heart(llama: Llama, ids: list[int]) -> None:
    """Make each token's successor in `ids` the likeliest, as it is for a model that can read.

    Typed tokens are taken off and verified as a draft (healing): random weights would refuse them.
    """
    table, head = llama.weights.embedding.weight, llama.weights.head.weight
    told = head.float()
    told.index_add_(0, torch.tensor(ids[1:], device=head.device), table[ids[:-1]].float())
    head.copy_(told)


def weight_bytes(llama: Llama) -> int:
    """What one step reads: all but the embedding's table."""
    matrices = [llama.weights.head]
    for layer in llama.weights.layers:
        matrices += [layer.qkv, layer.out, layer.gate_up, layer.down]
    return sum(matrix.weight.nbytes for matrix in matrices)


def write_checkpoint(llama: Llama, folder: Path) -> None:
    """Hugging Face's layout, a file for each layer, beside a tokenizer that is there already."""
    c, w = llama.config, llama.weights
    where: dict[str, str] = {}

    def save(name: str, tensors: dict[str, torch.Tensor]) -> None:
        tensors = {k: t.bfloat16().cpu().contiguous() for k, t in tensors.items()}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        where.update(dict.fromkeys(tensors, name))

    heads, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    for i, layer in enumerate(w.layers):
        names = [*(f"self_attn.{x}_proj" for x in "qkvo"), "mlp.gate_proj", "mlp.up_proj"]
        q, k, v = layer.qkv.weight.split([heads, kv, kv])
        gate, up = layer.gate_up.weight.chunk(2)
        names += ["mlp.down_proj", "input_layernorm", "post_attention_layernorm"]
        own = [q, k, v, layer.out.weight, gate, up, layer.down.weight]
        tensors = zip(names, [*own, layer.attention_norm, layer.ffn_norm], strict=True)
        save(
            f"model-{i + 1:05}-of-{c.layers + 1:05}.safetensors",
            {f"model.layers.{i}.{name}.weight": tensor for name, tensor in tensors},
        )
    rest = {"model.embed_tokens": w.embedding.weight, "lm_head": w.head.weight}
    last = f"model-{c.layers + 1:05}-of-{c.layers + 1:05}.safetensors"
    save(last, {f"{k}.weight": t for k, t in (rest | {"model.norm": w.norm}).items()})
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": c.vocab,
        "hidden_size": c.dim,
        "intermediate_size": c.ffn,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "rms_norm_eps": c.norm_eps,
        "rope_theta": c.rope_theta,
        "max_position_embeddings": c.context,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
