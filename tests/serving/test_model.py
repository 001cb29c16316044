"""The model against transformers, in every layout and type; reuse against a cold start."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from cl_engine import ops
from cl_engine.loader import load_model
from cl_engine.models.llama import Llama

from tests.checkpoints import Layout, make_checkpoint


def reference(folder: Path) -> Any:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.train(False)
    return model


def load(model: Path | str, dtype: str = "auto") -> Llama:
    return load_model(str(model), device="cpu", dtype=dtype).llama


def random_ids(count: int, seed: int, vocab: int = 8000) -> list[int]:
    return torch.randint(3, vocab, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def greedy(llama: Llama, ids: list[int], steps: int, chunk: int = 10_000) -> list[int]:
    kv, logits = llama.new_cache(), torch.zeros(0)
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        logits = llama.forward(part, start, kv, 1)
    out = []
    for position in range(len(ids), len(ids) + steps):
        out.append(int(logits[-1].argmax()))
        logits = llama.forward([out[-1]], position, kv, 1)
    return out


@dataclass(frozen=True)
class Kind:
    layout: Layout
    files: int
    vocab: int
    heads: int
    kv_heads: int
    tied: bool = False
    nested_theta: bool = False


KINDS = [
    Kind("safetensors", 1, 32016, 4, 4),
    Kind("safetensors", 1, 32000, 8, 1, tied=True, nested_theta=True),
    Kind("safetensors", 3, 32016, 4, 2, tied=True),
    Kind("safetensors", 2, 8192, 4, 4, nested_theta=True),
    Kind("bin", 1, 32016, 4, 2, nested_theta=True),
    Kind("bin", 3, 32000, 8, 8),
    Kind("bin", 2, 32016, 4, 4, tied=True),
    Kind("old", 1, 8192, 4, 2),
    Kind("old", 2, 32000, 4, 4, tied=True),
    Kind("meta", 1, 32016, 4, 4),
    Kind("meta", 1, 32000, 4, 2),
    Kind("meta", 2, 32016, 4, 4),
    Kind("meta", 2, 8192, 8, 2),
    Kind("meta", 4, 32000, 8, 4),
    Kind("meta", 8, 32016, 8, 8),
    Kind("meta", 8, 32000, 16, 8),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_logits_and_greedy_text_equal_transformers(tmp_path: Path, kind: Kind) -> None:
    settings, seed = asdict(kind), KINDS.index(kind)
    ours = load(make_checkpoint(tmp_path / "ours", seed=seed, **settings))
    plain = settings | {"layout": "safetensors", "files": 1}
    theirs = reference(make_checkpoint(tmp_path / "theirs", seed=seed, **plain))
    ids = random_ids(70, seed, kind.vocab)
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits[0]
    got = ours.forward(ids, 0, ours.new_cache(), len(ids))
    assert 1 < expected.std() < 10
    assert (got - expected).abs().max() < 1e-4
    made = theirs.generate(
        torch.tensor([ids]), max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert greedy(ours, ids, 64) == made[0, len(ids) :].tolist()


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_prefill_in_chunks_gives_the_same_text(tiny: Path, chunk: int) -> None:
    llama, ids = load(tiny), random_ids(50, 5)
    assert greedy(llama, ids, 24, chunk) == greedy(llama, ids, 24)


def test_an_int8_product_gives_a_row_the_same_bits_whatever_the_other_rows() -> None:
    matrix = load("embedded").weights.layers[0].gate_up
    x = torch.randn(70, matrix.weight.shape[1], generator=torch.Generator().manual_seed(3))
    together = ops.linear(x, matrix)
    for n in range(1, len(x) + 1):
        assert torch.equal(ops.linear(x[:n], matrix), together[:n])
        assert torch.equal(ops.linear(x[n - 1 : n], matrix), together[n - 1 : n])


def test_the_embedded_model_in_parts_is_the_whole() -> None:
    llama = load("embedded")
    ids = list(range(400, 460))
    together = llama.forward(ids, 0, llama.new_cache(), len(ids))
    kv = llama.new_cache()
    first = llama.forward(ids[:7], 0, kv, 7)
    rest = llama.forward(ids[7:], 7, kv, len(ids) - 7)
    apart = torch.cat([first, rest])
    assert (together - apart).abs().max() < 0.1 * together.std()
    first, second = together.topk(2).values.unbind(-1)
    clear = first - second > 0.5  # nearer ones may change places: logits are bfloat16
    assert clear.sum() > 30
    assert (together.argmax(-1) == apart.argmax(-1))[clear].all()


def test_bfloat16_weights_on_a_cpu_stay_near_float32(tmp_path: Path) -> None:
    folder, ids = make_checkpoint(tmp_path, scale=0.15), random_ids(60, 1)
    exact, half = load(folder), load(folder, "bfloat16")
    weights = half.weights
    assert weights.head.weight.dtype == weights.layers[0].qkv.weight.dtype == torch.bfloat16
    for llama, dtype in ((exact, torch.float32), (half, torch.bfloat16)):
        cache = llama.new_cache()
        assert cache.keys.dtype == cache.values.dtype == dtype
        assert cache.keys.nbytes + cache.values.nbytes == llama.cache_bytes
    expected = exact.forward(ids, 0, exact.new_cache(), len(ids))
    got = half.forward(ids, 0, half.new_cache(), len(ids))
    assert got.dtype == torch.float32
    assert 0 < (got - expected).norm() < 0.02 * expected.norm()
    kv = half.new_cache()
    parts = [
        half.forward(ids[at : at + 7], at, kv, len(ids[at : at + 7])) for at in range(0, 60, 7)
    ]
    assert (torch.cat(parts) - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_int8_weights_are_multiplied_out_for_another_type(dtype: str) -> None:
    shipped, plain = load("embedded").weights.layers[1], load("embedded", dtype).weights.layers[1]
    for packed, matrix in ((shipped.qkv, plain.qkv), (shipped.down, plain.down)):
        assert packed.scale is not None and matrix.scale is None
        product = packed.weight.float() * packed.scale.float()[:, None]
        assert torch.equal(matrix.weight, product.to(matrix.weight.dtype))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_computes_what_the_cpu_does(tmp_path: Path) -> None:
    ids = random_ids(60, 1)
    for model in (str(make_checkpoint(tmp_path, scale=0.15, layout="meta", files=2)), "embedded"):
        exact, ours = load(model, "float32"), load_model(model, device="cuda").llama
        assert ours.weights.head.weight.dtype == torch.bfloat16
        expected = exact.forward(ids, 0, exact.new_cache(), len(ids))
        kv = ours.new_cache()
        got = torch.cat([ours.forward(ids[:30], 0, kv, 30), ours.forward(ids[30:], 30, kv, 30)])
        assert got.is_cuda and got.dtype == torch.float32
        assert (got.cpu() - expected).norm() < 0.03 * expected.norm()
