"""Exported checkpoints: what transformers reads, equal to the source, whole or absent."""

import json
import resource
import shutil
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from cl_engine.errors import BrokenCheckpoint, CannotServe
from cl_engine.export import export
from cl_engine.loader import load_model
from safetensors.torch import load_file

from tests.caches import Cached
from tests.checkpoints import Layout, make_checkpoint
from tests.serving.test_model import load, reference


def test_the_exported_model_is_read_by_transformers(tmp_path: Path) -> None:
    folder = export("embedded", tmp_path / "out")
    theirs, ours = reference(folder), load("embedded")
    plain = load(folder)
    ids = list(range(300, 380))
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits[0]
    exact = Cached(plain).run(ids)
    assert (exact - expected).norm() < 1e-4 * expected.norm()
    shipped = Cached(ours).run(ids)
    assert (shipped - expected).norm() < 0.05 * expected.norm()  # bf16 activations
    tokenizer = load_model("embedded").tokenizer
    assert tokenizer.infill is not None
    assert theirs.generation_config.eos_token_id == [tokenizer.eos, tokenizer.infill.eot]


def test_the_exported_tokenizer_encodes_as_ours(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = export("embedded", tmp_path / "out")
    theirs, ours = AutoTokenizer.from_pretrained(folder), load_model("embedded").tokenizer
    for text in ("def f(x):\n    return x", "\n    return", "a  b\t<E> é😀", "x" * 30):
        assert theirs(text)["input_ids"] == [ours.bos, *ours.encode(text)]


@pytest.mark.parametrize(
    ("layout", "files"), [("safetensors", 2), ("bin", 1), ("old", 2), ("meta", 1), ("meta", 4)]
)
def test_every_layout_is_exported(tmp_path: Path, layout: Layout, files: int) -> None:
    sizes: dict[str, Any] = {"heads": 8, "kv_heads": 4}
    source = make_checkpoint(tmp_path / "source", layout=layout, files=files, **sizes)
    plain = load_file(make_checkpoint(tmp_path / "plain", **sizes) / "model.safetensors")
    folder = export(str(source), tmp_path / "out")
    written = load_file(folder / "model.safetensors")
    assert written.keys() == plain.keys()
    assert all(torch.equal(written[name], plain[name].bfloat16()) for name in plain)
    theirs, ours, ids = reference(folder), load(folder), list(range(300, 340))
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits[0]
    assert (Cached(ours).run(ids) - expected).abs().max() < 1e-4


def test_a_large_model_is_written_in_parts(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", layout="meta", files=2)
    whole = load_file(export(str(source), tmp_path / "whole") / "model.safetensors")
    folder = export(str(source), tmp_path / "parts", file_bytes=60_000)
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) > 3 and not (folder / "model.safetensors").exists()
    assert files[-1].name == f"model-{len(files):05}-of-{len(files):05}.safetensors"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    parts = {path.name: load_file(path) for path in files}
    assert {n: f for f, part in parts.items() for n in part} == index["weight_map"]
    for part in parts.values():
        assert len(part) == 1 or sum(t.nbytes for t in part.values()) <= 60_000
    again = {name: parts[file][name] for name, file in index["weight_map"].items()}
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in whole.values())
    assert torch.equal(
        load(folder).weights.head.weight, load(tmp_path / "whole").weights.head.weight
    )


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The kernel refuses to write more, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("existed", [True, False])
def test_what_cannot_be_written_whole_is_taken_back(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    target = tmp_path / "out"
    if existed:
        target.mkdir()
    with (
        files_no_larger_than(1 << 20),
        pytest.raises(CannotServe, match=r"out: File too large"),
    ):
        export(str(tiny), target, file_bytes=100_000)
    assert list(tmp_path.iterdir()) == ([target] if existed else [])
    assert not existed or not list(target.iterdir())

    usage = namedtuple("usage", ["free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 20))
    with pytest.raises(CannotServe, match=r"out: [1-9]\d* MB needed, 1 MB free"):
        export(str(tiny), target)
    assert target.exists() == existed


def test_an_export_of_broken_weights_leaves_nothing(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", layout="bin")
    path = source / "pytorch_model.bin"
    tensors = torch.load(path, weights_only=True)
    torch.save(tensors | {"lm_head.weight": tensors["lm_head.weight"] / 0}, path)
    with pytest.raises(BrokenCheckpoint, match="holds NaN"):
        export(str(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CannotServe, match="exists and is not empty"):
        export(str(tiny), tmp_path)
    with pytest.raises(CannotServe, match="file is a file, not a directory"):
        export(str(tiny), tmp_path / "file")
    with pytest.raises(CannotServe, match="Not a directory"):
        export(str(tiny), tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"
