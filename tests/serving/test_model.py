"""The model against transformers, and reuse against a cold start."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cl_engine import ops
from cl_engine.errors import BrokenCheckpoint, UnknownModel
from cl_engine.export import export
from cl_engine.loader import load_model
from cl_engine.models.llama import KVCache, Llama
from safetensors.torch import load_file, save_file

from tests.checkpoints import make_checkpoint


def reference(folder: Path) -> Any:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.train(False)
    return model


def greedy(llama: Llama, ids: list[int], steps: int, chunk: int = 10_000) -> list[int]:
    kv, logits = KVCache(llama.config), torch.zeros(0)
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        logits = llama.forward(part, start, kv, 1)
    out = []
    for position in range(len(ids), len(ids) + steps):
        out.append(int(logits[-1].argmax()))
        logits = llama.forward([out[-1]], position, kv, 1)
    return out


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "tied"), [(4, 4, False), (4, 2, True), (8, 1, False)]
)
def test_logits_and_greedy_text_equal_transformers(
    tmp_path: Path, seed: int, heads: int, kv_heads: int, tied: bool
) -> None:
    folder = make_checkpoint(tmp_path, seed=seed, heads=heads, kv_heads=kv_heads, tied=tied)
    theirs, ours = reference(folder), load_model(str(folder)).llama
    ids = torch.randint(3, 8000, (70,), generator=torch.Generator().manual_seed(seed)).tolist()
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits[0]
    got = ours.forward(ids, 0, KVCache(ours.config), len(ids))
    assert (got - expected).abs().max() < 1e-3 * expected.abs().max()
    made = theirs.generate(
        torch.tensor([ids]), max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert greedy(ours, ids, 64) == made[0, len(ids) :].tolist()


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_prefill_in_chunks_gives_the_same_text(tiny: Path, chunk: int) -> None:
    llama = load_model(str(tiny)).llama
    ids = torch.randint(3, 8000, (50,), generator=torch.Generator().manual_seed(5)).tolist()
    assert greedy(llama, ids, 24, chunk) == greedy(llama, ids, 24)


def test_an_int8_product_gives_a_row_the_same_bits_whatever_the_other_rows() -> None:
    matrix = load_model("embedded").llama.weights.layers[0].gate_up
    x = torch.randn(70, matrix.weight.shape[1], generator=torch.Generator().manual_seed(3))
    together = ops.linear(x, matrix)
    for n in range(1, len(x) + 1):
        assert torch.equal(ops.linear(x[:n], matrix), together[:n])
        assert torch.equal(ops.linear(x[n - 1 : n], matrix), together[n - 1 : n])


def test_the_embedded_model_in_parts_is_the_whole() -> None:
    llama = load_model("embedded").llama
    ids = list(range(400, 460))
    together = llama.forward(ids, 0, KVCache(llama.config), len(ids))
    kv = KVCache(llama.config)
    first = llama.forward(ids[:7], 0, kv, 7)
    rest = llama.forward(ids[7:], 7, kv, len(ids) - 7)
    apart = torch.cat([first, rest])
    assert (together - apart).abs().max() < 0.05 * together.std()
    assert (together.argmax(-1) == apart.argmax(-1)).all()


def test_the_exported_model_is_read_by_transformers(tmp_path: Path) -> None:
    folder = export("embedded", tmp_path / "out")
    theirs, ours = reference(folder), load_model("embedded").llama
    plain = load_model(str(folder)).llama
    ids = list(range(300, 380))
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits[0]
    exact = plain.forward(ids, 0, KVCache(plain.config), len(ids))
    assert (exact - expected).norm() < 1e-4 * expected.norm()
    shipped = ours.forward(ids, 0, KVCache(ours.config), len(ids))
    assert (shipped - expected).norm() < 0.05 * expected.norm()  # bf16 activations


def test_the_exported_tokenizer_encodes_as_ours(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = export("embedded", tmp_path / "out")
    theirs, ours = AutoTokenizer.from_pretrained(folder), load_model("embedded").tokenizer
    for text in ("def f(x):\n    return x", "\n    return", "a  b\t<E> é😀", "x" * 30):
        assert theirs(text)["input_ids"] == [ours.bos, *ours.encode(text)]


def broken(folder: Path, **changes: object) -> Path:
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        config.pop(key)
        if value is not None:
            config[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_theta": None}, "no rope_theta"),
        ({"model_type": "gpt2"}, "not 'llama'"),
        ({"hidden_size": "64"}, "hidden_size is '64'"),
        ({"num_key_value_heads": 3}, "do not share 3 evenly"),
        ({"vocab_size": 9000}, "8192 pieces, the model 9000"),
        ({"intermediate_size": 97}, r"gate_proj.weight is \[96, 64\]"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(BrokenCheckpoint, match=message):
        load_model(str(broken(make_checkpoint(tmp_path), **changes)))


def test_wrong_weights_are_named(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    path = folder / "model.safetensors"
    whole = load_file(path)
    cases = [
        ({k: v for k, v in whole.items() if k != "model.norm.weight"}, "norm.weight is missing"),
        (whole | {"model.norm.weight": torch.full((64,), float("nan"))}, "NaN"),
    ]
    for tensors, message in cases:
        save_file(tensors, path)
        with pytest.raises(BrokenCheckpoint, match=message):
            load_model(str(folder))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BrokenCheckpoint, match="unreadable weights"):
        load_model(str(folder))
    path.unlink()
    with pytest.raises(BrokenCheckpoint, match=r"model\.safetensors"):
        load_model(str(folder))


def test_an_unknown_model_says_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="'embedded' or the directory"):
        load_model("nonesuch")
    with pytest.raises(UnknownModel, match=r"not a directory with a config\.json"):
        load_model(str(tmp_path))
