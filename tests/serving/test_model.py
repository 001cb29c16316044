"""The model against transformers, in every layout and type; reuse against a cold start."""

import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from cl_engine import ops
from cl_engine.loader import load_model
from cl_engine.models.llama import Llama, Span

from tests.caches import Cached
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
    cached, logits = Cached(llama), torch.zeros(0)
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        logits = cached.run(part, start, 1)
    out = []
    for position in range(len(ids), len(ids) + steps):
        out.append(int(logits[-1].argmax()))
        logits = cached.run([out[-1]], position)
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
    got = Cached(ours).run(ids)
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


def test_the_embedded_model_in_parts_is_bit_for_bit_the_whole() -> None:
    """So its answer does not depend on what was cached or drafted, or run in the same step."""
    llama = load("embedded")
    ids, rng = random_ids(600, 2), random.Random(3)
    together, cached = Cached(llama, 1).run(ids), Cached(llama, 2)
    at = 0
    while at < len(ids):
        n = min(rng.choice([1, 1, 2, 5, 9, 64]), len(ids) - at)
        assert torch.equal(cached.run(ids[at : at + n], at), together[at : at + n])
        at += n


def test_a_batch_gives_each_sequence_what_it_gets_alone(tiny: Path) -> None:
    """Sequences of all kinds in one step: prefill, extension, verification, decode; no logits."""
    llama, rng = load(tiny), random.Random(7)
    pool = llama.new_pool(40, 16)
    pool.keys.normal_(std=30)
    pool.values.normal_(std=30)
    free = rng.sample(range(40), 40)
    spans, expected = list[Span](), list[torch.Tensor]()
    for seed, (start, count, rows) in enumerate([(0, 50, 1), (33, 1, 1), (64, 9, 4), (5, 20, 0)]):
        ids = random_ids(start + count, seed)
        pages = [free.pop() for _ in range(-(-len(ids) // 16))]
        alone = Cached(llama, seed)
        if start:
            llama.forward([Span(ids[:start], 0, pages, 0)], pool)
            alone.run(ids[:start])
        spans.append(Span(ids[start:], start, pages, rows))
        expected.append(alone.run(ids[start:], start, rows))
    got = llama.forward(spans, pool)
    assert got.shape == (6, llama.config.vocab)
    assert (got - torch.cat(expected)).abs().max() < 1e-5


def test_pages_are_copied_and_runs_of_them_are_found(tiny: Path) -> None:
    pool = load(tiny).new_pool(8, 16)
    pool.keys.copy_(torch.randn_like(pool.keys))
    pool.values.fill_(1.0)
    before = pool.keys.clone()
    pool.copy(2, 5, 7)
    assert torch.equal(pool.keys[:, :, 80:87], before[:, :, 32:39])
    assert torch.equal(pool.keys[:, :, 87:], before[:, :, 87:])
    assert torch.equal(pool.keys[:, :, :80], before[:, :, :80])
    assert pool.runs([2, 3, 4, 0], 0, 50) == [slice(32, 80), slice(0, 2)]
    assert pool.runs([2, 3, 4, 0], 20, 64) == [slice(52, 80), slice(0, 16)]
    assert pool.runs([7], 3, 4) == [slice(115, 116)]


def test_bfloat16_weights_on_a_cpu_stay_near_float32(tmp_path: Path) -> None:
    folder, ids = make_checkpoint(tmp_path, scale=0.15), random_ids(60, 1)
    exact, half = load(folder), load(folder, "bfloat16")
    weights = half.weights
    assert weights.head.weight.dtype == weights.layers[0].qkv.weight.dtype == torch.bfloat16
    for llama, dtype in ((exact, torch.float32), (half, torch.bfloat16)):
        pool = llama.new_pool(3, 16)
        assert pool.keys.dtype == pool.values.dtype == dtype
        positions = 3 * 16 + ops.padded(1, llama.device)
        assert pool.keys.nbytes + pool.values.nbytes == positions * llama.token_bytes
    expected = Cached(exact).run(ids)
    got = Cached(half).run(ids)
    assert got.dtype == torch.float32
    assert 0 < (got - expected).norm() < 0.02 * expected.norm()
    cached = Cached(half)
    parts = [cached.run(ids[at : at + 7], at) for at in range(0, 60, 7)]
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
        expected = Cached(exact).run(ids)
        cached = Cached(ours)
        got = torch.cat([cached.run(ids[:30]), cached.run(ids[30:], 30)])
        assert got.is_cuda and got.dtype == torch.float32
        assert (got.cpu() - expected).norm() < 0.03 * expected.norm()
