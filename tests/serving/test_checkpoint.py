"""Checkpoints on disk: the same tensors in every layout, and a message for everything wrong."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cl_engine import ops
from cl_engine.checkpoint import Checkpoint
from cl_engine.config import LlamaConfig, read_config
from cl_engine.errors import BrokenCheckpoint, UnknownModel
from cl_engine.loader import load_model
from safetensors.torch import load_file, save_file

from tests.checkpoints import Layout, make_checkpoint, make_tokenizer, random_tensors

HEADS: dict[str, Any] = {
    "heads": 8,
    "kv_heads": 8,
}  # as many as the widest model-parallel checkpoint has parts


def read(folder: Path) -> tuple[LlamaConfig, dict[str, torch.Tensor]]:
    """A directory's config and all tensors of the model, by way of poisoned memory."""
    config = read_config(folder)
    checkpoint = Checkpoint.open(folder, config)
    tensors = {name: torch.empty(shape) for name, shape in config.tensor_shapes().items()}
    for name in checkpoint.in_order(tensors):
        checkpoint.read_into(name, tensors[name])
    return config, tensors


@pytest.mark.parametrize(
    ("layout", "files"),
    [(a, n) for a in ("safetensors", "bin", "old") for n in (1, 3)]
    + [("meta", n) for n in (1, 2, 4, 8)],
)
def test_every_layout_holds_the_same_tensors(tmp_path: Path, layout: Layout, files: int) -> None:
    folder = make_checkpoint(tmp_path, seed=7, layout=layout, files=files, **HEADS)
    expected = random_tensors(7, 64, 2, 8, 8, 96, False, 8192, 0.3)
    config, tensors = read(folder)
    assert (config.vocab, config.dim, config.ffn, config.rope_theta) == (8192, 64, 96, 1e6)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_metas_rotary_rows_give_the_same_attention(tmp_path: Path) -> None:
    """Meta's own rule (`apply_rotary_emb`: pairs as complex numbers) on its rows is the truth."""
    folder = make_checkpoint(tmp_path, layout="meta", heads=4, kv_heads=2)
    theirs = torch.load(folder / "consolidated.00.pth", weights_only=True)
    config, ours = read(folder)
    x = torch.randn(9, 64, generator=torch.Generator().manual_seed(0))
    cos, sin = ops.rope_table(9, 16, config.rope_theta)
    angles = torch.outer(torch.arange(9.0), 1e6 ** (-torch.arange(0, 16, 2) / 16))
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]

    def turned(meta: str, name: str, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = (x @ theirs[f"layers.0.attention.{meta}.weight"].T).view(9, heads, 8, 2)
        halves = (x @ ours[f"model.layers.0.self_attn.{name}.weight"].T).view(9, heads, 16)
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * turn).flatten(2)
        return rotated, ops.rope(halves, cos, sin)

    (q, our_q), (k, our_k) = turned("wq", "q_proj", 4), turned("wk", "k_proj", 2)
    for head in range(4):
        expected, got = q[:, head] @ k[:, head // 2].T, our_q[:, head] @ our_k[:, head // 2].T
        assert torch.allclose(got, expected, atol=1e-3, rtol=1e-4)
        assert not torch.equal(q[:, head], our_q[:, head])


def test_safetensors_come_first_and_foreign_tensors_are_passed_over(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    for name in ("pytorch_model.bin", "consolidated.00.pth", "params.json"):
        (folder / name).write_bytes(b"damaged")
    nan = torch.full((8,), float("nan"))
    path = folder / "model.safetensors"
    foreign = ("model.layers.0.self_attn.rotary_emb.inv_freq", "base_model.lora_A.weight")
    save_file(load_file(path) | dict.fromkeys(foreign, nan) | {foreign[1]: nan.clone()}, path)
    load_model(str(folder), device="cpu")


class Trap:
    """What a pickle must not be able to do."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("layout", ["bin", "old", "meta"])
def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path: Path, layout: Layout) -> None:
    folder = make_checkpoint(tmp_path, layout=layout)
    path = next(p for p in folder.iterdir() if p.suffix in (".bin", ".pth"))
    marker = tmp_path / "ran"
    trapped = torch.load(path, weights_only=True) | {"trap": Trap(marker)}
    torch.save(trapped, path, _use_new_zipfile_serialization=layout != "old")
    with pytest.raises(BrokenCheckpoint, match=f"{path.name}: refused, its pickle asks .* posix"):
        load_model(str(folder), device="cpu")
    assert not marker.exists()


SHARDS: dict[Layout, str] = {
    "safetensors": "model-00002-of-00003.safetensors",
    "bin": "pytorch_model-00002-of-00003.bin",
    "old": "pytorch_model-00002-of-00003.bin",
    "meta": "consolidated.01.pth",
}


@pytest.mark.parametrize("layout", SHARDS)
def test_a_shard_that_is_missing_or_cut_off_is_named(tmp_path: Path, layout: Layout) -> None:
    files = 2 if layout == "meta" else 3
    folder = make_checkpoint(tmp_path, layout=layout, files=files, **HEADS)
    path = folder / SHARDS[layout]
    whole = path.read_bytes()
    for cut in (len(whole) - 1000, len(whole) // 2, 40, 0):
        path.write_bytes(whole[:cut])
        with pytest.raises(BrokenCheckpoint, match=f"{path.name}: .*cut off perhaps"):
            load_model(str(folder), device="cpu")
    path.unlink()
    with pytest.raises(BrokenCheckpoint, match=f"{path.name} is missing"):
        load_model(str(folder), device="cpu")


def test_every_part_of_a_model_parallel_checkpoint_is_needed(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, layout="meta", files=4, **HEADS)
    (folder / "consolidated.03.pth").unlink()
    with pytest.raises(BrokenCheckpoint, match=r"03.pth is missing: .*00.pth holds one of 4 parts"):
        load_model(str(folder), device="cpu")
    shutil.copyfile(folder / "consolidated.02.pth", folder / "consolidated.03.pth")
    part = torch.load(folder / "consolidated.02.pth", weights_only=True)
    part["layers.1.feed_forward.w2.weight"] = torch.zeros(64, 23)
    torch.save(part, folder / "consolidated.02.pth")
    with pytest.raises(BrokenCheckpoint, match=r"02.pth: .*w2.weight is \[64, 23\], in .*64, 24"):
        load_model(str(folder), device="cpu")
    params = json.loads((folder / "params.json").read_text())
    (folder / "params.json").write_text(json.dumps(params | {"n_kv_heads": 2}))
    with pytest.raises(BrokenCheckpoint, match="one of 4 parts, but n_kv_heads is 2"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"model.norm.weight": "../secret.safetensors"}, r"\.\./secret.* outside the directory"),
        ({"model.norm.weight": "/etc/passwd"}, "/etc/passwd, a file outside the directory"),
        ({"model.norm.weight": SHARDS["safetensors"]}, r"00002.*: tensor model.norm.weight is mis"),
        ({"lm_head.weight": None}, "tensor lm_head.weight is missing"),
        ([1, 2], "no index of weights"),
    ],
)
def test_an_index_is_not_believed(tmp_path: Path, weight_map: object, message: str) -> None:
    folder = make_checkpoint(tmp_path, files=3)
    index = folder / "model.safetensors.index.json"
    if isinstance(weight_map, dict):
        merged = json.loads(index.read_text())["weight_map"] | weight_map
        weight_map = {name: file for name, file in merged.items() if file}
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(BrokenCheckpoint, match=message):
        load_model(str(folder), device="cpu")


NORM, QUERY = "model.norm.weight", "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({NORM: None}, "tensor model.norm.weight is missing"),
        ({NORM: torch.full((64,), float("nan"))}, "model.norm.weight holds NaN or inf"),
        ({QUERY: torch.eye(64).index_fill(0, torch.tensor(3), float("inf"))}, "holds NaN or inf"),
        ({QUERY: torch.zeros(64, 65)}, r"q_proj.weight is \[64, 65\], not \[64, 64\]"),
        ({QUERY: torch.zeros(64, 64, dtype=torch.int8)}, "is torch.int8, not a float type"),
        ({"model.embed_tokens.weight": torch.tensor(1.0)}, "8192 pieces, the embedding 1 rows"),
        ({"model.embed_tokens.weight": torch.zeros(8000, 64)}, "8192 pieces, the embedding 8000 r"),
        ({QUERY: "text"}, "q_proj.weight is a str, no tensor"),
        ("all", "holds a str, no named tensors"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, changes: dict | str, message: str) -> None:
    """In a .bin, because that can hold anything."""
    folder = make_checkpoint(tmp_path, layout="bin")
    path = folder / "pytorch_model.bin"
    tensors = torch.load(path, weights_only=True)
    if isinstance(changes, dict):
        changed = {k: v for k, v in (tensors | changes).items() if v is not None}
    else:
        changed = changes
    torch.save(changed, path)
    with pytest.raises(BrokenCheckpoint, match=message):
        load_model(str(folder), device="cpu")


def test_a_directory_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="'embedded' or the directory"):
        load_model("nonesuch")
    layouts = r"not a directory with a config\.json \(or Meta's params\.json and consolidated"
    with pytest.raises(UnknownModel, match=layouts):
        load_model(str(tmp_path))
    configs: dict[Layout, str] = {"safetensors": "config.json", "meta": "params.json"}
    for layout, config in configs.items():
        folder = make_checkpoint(tmp_path / layout, layout=layout)
        settings = (folder / config).read_text()
        for broken, message in (("[]", "is a list"), ("{", "cannot be read"), ("{}", r"\w+ is ")):
            (folder / config).write_text(broken)
            with pytest.raises(BrokenCheckpoint, match=f"{config}: {message}"):
                load_model(str(folder))
        (folder / config).write_text(settings)
        (folder / "tokenizer.model").unlink()
        with pytest.raises(BrokenCheckpoint, match=r"no tokenizer\.model"):
            load_model(str(folder))
    files: dict[Layout, str] = {"safetensors": "model.safetensors", "meta": "consolidated.00.pth"}
    for layout, weights in files.items():
        folder = make_checkpoint(tmp_path / "empty" / layout, layout=layout)
        (folder / weights).unlink()
        with pytest.raises(BrokenCheckpoint, match=r"no weights: neither model\.safetensors"):
            load_model(str(folder))


@pytest.mark.parametrize("layout", ["safetensors", "meta"])
def test_the_other_vocabulary_is_told_from_its_own(tmp_path: Path, layout: Layout) -> None:
    folder = make_checkpoint(tmp_path, vocab=32000, layout=layout)
    make_tokenizer(folder / "tokenizer.model", 32016)
    with pytest.raises(BrokenCheckpoint, match="has 32016 pieces, the embedding 32000 rows. .* 7B"):
        load_model(str(folder), device="cpu")
