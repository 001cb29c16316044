"""Loading: where the weights go, in which type, and how little memory it takes on the way."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cl_engine import core, loader
from cl_engine.config import LlamaConfig, read_config
from cl_engine.errors import EngineError
from cl_engine.loader import load_model
from safetensors.torch import save_file

from tests.checkpoints import Layout, make_checkpoint

ROOT = Path(__file__).parents[2]
# Bytes: tokenizers of 32,016 pieces (Meta's layout needs two, some 10 MiB each) and rotary tables;
# less than the largest tensor, which has 62 MiB.
SLACK = 48 << 20


def test_progress_goes_from_nothing_to_all(tiny: Path) -> None:
    calls: list[tuple[int, int]] = []
    weights = load_model(
        str(tiny), device="cpu", progress=lambda done, total: calls.append((done, total))
    ).llama.weights
    done, totals = zip(*calls, strict=True)
    assert list(done) == sorted(set(done)) and done[0] < totals[0] / 2
    assert set(totals) == {done[-1]}
    assert done[-1] > 4 * (weights.embedding.weight.numel() + weights.head.weight.numel())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "gpu"}, "'gpu' is none of auto, cpu, cuda"),
        ({"device": "meta"}, "'meta' is none of"),
        ({"device": "cuda:9"}, "'cuda:9': PyTorch .*`auto` takes what there is"),
        ({"device": "cpu:3"}, "'cpu:3': there is but one CPU"),
        ({"dtype": "int4"}, "'int4' is none of auto, float32, bfloat16"),
    ],
)
def test_an_unknown_device_or_type_is_refused(tiny: Path, settings: dict, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        load_model(str(tiny), **settings)


def test_too_little_memory_is_said_before_it_is_taken(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 4 * (2 * 8192 * 64 + 64 + 2 * (64 * (2 * 64 + 2 * 32 + 3 * 96) + 2 * 64))
    monkeypatch.setattr(loader, "free_memory", lambda device: needed)
    load_model(str(tiny), device="cpu")
    monkeypatch.setattr(loader, "free_memory", lambda device: needed - 1)
    halved = r"needs 0\.0 GiB of memory on cpu as float32; 0.0 GiB are free: --dtype bfloat16"
    with pytest.raises(EngineError, match=halved):
        load_model(str(tiny), device="cpu")
    load_model(str(tiny), device="cpu", dtype="bfloat16")


@pytest.mark.parametrize(
    ("free", "fits"), [(1, "no Code Llama fits"), (30, "7b[a-z-]* would"), (60, "13b[a-z-]* would")]
)
def test_what_would_fit_is_said(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, free: int, fits: str
) -> None:
    monkeypatch.setattr(loader, "free_memory", lambda device: free << 30)
    monkeypatch.setattr(LlamaConfig, "weight_bytes", lambda config, itemsize: 64 << 30)
    with pytest.raises(EngineError, match=f"64.0 GiB of memory .* {free}.0 GiB are free: {fits}"):
        load_model(str(tiny), device="cpu")


def test_the_memory_that_is_free_here_is_known() -> None:
    free = loader.free_memory(torch.device("cpu"))
    assert free is not None and 1 << 26 < free < 1 << 45


def test_a_smaller_context_takes_less_memory(tiny: Path) -> None:
    whole, half = (load_model(str(tiny), device="cpu", context=c).llama for c in (None, 256))
    assert (whole.config.context, half.config.context) == (512, 256)
    for llama, pages in ((whole, 32), (half, 16)):
        assert core.page_count(llama) == core.CONTEXTS * pages
    for wrong in (0, 63, 513):
        with pytest.raises(EngineError, match=f"context {wrong} is not from 64 to 512"):
            load_model(str(tiny), device="cpu", context=wrong)


def test_the_kv_cache_is_as_large_as_memory_allows(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama = load_model(str(tiny), device="cpu").llama
    page = core.PAGE * llama.token_bytes
    context = 32 * page
    frees = ((128, 1 << 40), (64, 2 * context + core.HEADROOM), (32, context), (32, context + 1))
    for pages, free in frees:
        monkeypatch.setattr(core, "free_memory", lambda _, free=free: free)
        assert core.page_count(llama) == pages
    monkeypatch.setattr(core, "free_memory", lambda _: 1 << 40)
    assert core.page_count(llama, memory=50 * page + 1) == 50
    with pytest.raises(EngineError, match=r"are given\): a context of 496 .* more KV memory"):
        core.page_count(llama, memory=context - 1)
    with pytest.raises(EngineError, match="KV memory of .* only .* are free"):
        core.page_count(llama, memory=1 << 41)
    monkeypatch.setattr(core, "free_memory", lambda _: context - 1)
    with pytest.raises(
        EngineError, match=r"512 tokens \(.* a context of 496 tokens would fit \(--context 496\)$"
    ):
        core.page_count(llama)
    monkeypatch.setattr(core, "free_memory", lambda _: page)
    with pytest.raises(EngineError, match=r"are given\): give a smaller model$"):
        core.page_count(llama)


def test_a_cache_that_cannot_be_made_is_said(tiny: Path) -> None:
    llama = load_model(str(tiny), device="cpu").llama
    with pytest.raises(EngineError, match="no memory for a KV cache of .* give a smaller context"):
        core.make_pool(llama, 1 << 50)


MEASURE = """
import io, sys, threading, time
import torch
from cl_engine.loader import load_model

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

torch.set_num_threads(1)
# What is imported and set up at first use.
load_model("embedded", device="cpu")
torch.save({"a": torch.ones(1)}, file := io.BytesIO())
torch.load(io.BytesIO(file.getvalue()), weights_only=True)
before, peak, running = anonymous(), 0, True

def watch():
    global peak
    while running:
        peak = max(peak, anonymous())
        time.sleep(0.001)

thread = threading.Thread(target=watch)
thread.start()
totals, began = set(), time.monotonic()
model = load_model(
    sys.argv[1], device="cpu", dtype=sys.argv[2], progress=lambda done, total: totals.add(total)
)
seconds = time.monotonic() - began
running, after = False, anonymous()
thread.join()
print(*totals, max(peak, after) - before, after - before, seconds)
"""


def write_random(folder: Path, dim: int, ffn: int, layers: int) -> None:
    """A bfloat16 checkpoint with one shard a layer, written fast: its layers share their values."""
    make_checkpoint(folder, vocab=32016, dim=8, layers=1, heads=2, kv_heads=2, ffn=8)
    (folder / "model.safetensors").unlink()
    path = folder / "config.json"
    sizes = {"hidden_size": dim, "intermediate_size": ffn, "num_hidden_layers": layers}
    heads = {"num_attention_heads": dim // 64, "num_key_value_heads": dim // 64}
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes | heads))
    shapes = read_config(folder).tensor_shapes()
    values = torch.randn(32016 * dim).bfloat16()
    weight_map = {name: f"{'-'.join(name.split('.')[:3])}.safetensors" for name in shapes}
    for shard in set(weight_map.values()):
        names = [name for name in shapes if weight_map[name] == shard]
        part = {n: values[: math.prod(shapes[n])].view(shapes[n]).clone() for n in names}
        save_file(part, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def check_memory(folder: Path, dtype: str) -> None:
    command = [sys.executable, "-c", MEASURE, str(folder), dtype]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    model, peak, after, seconds = map(float, done.stdout.split())
    mib = 2**20
    print(
        f"{folder.name} as {dtype}: model {model / mib:.0f} MiB, at most {(peak - model) / mib:.1f}"
        f" and in the end {(after - model) / mib:.1f} MiB beyond it, {seconds:.1f} s"
    )
    assert 0.9 * model < after <= peak < model + SLACK


@pytest.mark.parametrize(("layout", "files"), [("safetensors", 3), ("bin", 2), ("meta", 2)])
def test_loading_takes_the_model_and_nothing_beside(
    tmp_path: Path, layout: Layout, files: int
) -> None:
    sizes: dict[str, Any] = {"dim": 512, "layers": 6, "heads": 8, "kv_heads": 4, "ffn": 1376}
    folder = make_checkpoint(tmp_path / layout, vocab=32016, layout=layout, files=files, **sizes)
    check_memory(folder, "float32")
    check_memory(folder, "bfloat16")
    shutil.rmtree(folder)


@pytest.mark.soak
def test_loading_2_gb_takes_the_model_and_nothing_beside(tmp_path: Path) -> None:
    folder = tmp_path / "2GB"
    write_random(folder, dim=2048, ffn=5504, layers=18)
    check_memory(folder, "bfloat16")
    check_memory(folder, "float32")
    shutil.rmtree(folder)
