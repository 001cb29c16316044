"""The GPU's benchmark on a CPU, in small: what it drives works, and its figures are all there."""

from dataclasses import replace

import pytest

pytest.importorskip("triton", reason="kernels need triton, which comes with PyTorch for CUDA")

import bench
import bench_gpu
import bench_model
from bench_bars import GPU_BARS, H200, judge
from cl_engine.graphs import BUCKETS, KernelMachine


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> bench_gpu.Gpu:
    small = replace(
        bench_gpu.published("7b"),
        layers=1,
        dim=64,
        heads=2,
        kv_heads=1,
        ffn=96,
        vocab=8192,
        context=4096,
    )
    return bench_gpu.Gpu(tmp_path_factory.mktemp("gpu"), 1, "cpu", small)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_model, "HEAD_DIM", 32)
    monkeypatch.setattr(bench_gpu, "used_memory", lambda: 0)
    monkeypatch.setattr(bench_gpu.Gpu, "ceiling", 1e12)
    monkeypatch.setenv("TRITON_INTERPRET", "1")


def test_steps(gpu: bench_gpu.Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        KernelMachine, "time", lambda self, spans, repeats: asked.append(len(spans)) or [2.0]
    )
    monkeypatch.setattr(bench_gpu, "published", lambda alias: gpu.model)
    found = bench_gpu.steps(gpu, "7b")
    assert asked == [len(lengths) for lengths, _ in bench_gpu.STEPS.values()]
    one = found["1 row, 2,048 cached"]
    layer = 64 * (2 + 2 * 1) * 32 + 64 * 64 + 3 * 64 * 96
    read = 4 * (8192 * 64 + layer) + 2049 * 2 * 4 * 32
    assert one["floor_ms"] == pytest.approx(read / 1e12 * 1e3, abs=1e-4)
    assert found["8_rows_to_1"] == 1 and found["8_sequences_to_1_at_256"] == 1


def test_answers_and_the_peer(gpu: bench_gpu.Gpu) -> None:
    found = bench_gpu.answers(gpu, (8, 20), 2)
    assert set(found["prefill_ms"]) == {"8", "20"} and found["token_ms_at_20"] > 0
    peer = bench_gpu.transformers_peer(gpu, 64, 16)
    errors = peer["logits_from_float32"]
    theirs = errors.pop("transformers")  # in bfloat16; ours are in float32 here
    assert len(errors) == 4 and 1e-3 < theirs < 0.1, peer
    assert all(error < 1e-4 for error in errors.values()), peer
    assert peer["transformers_prefill_128_ms"] > 0


def test_the_daemon_is_driven_as_an_editor_does(gpu: bench_gpu.Gpu) -> None:
    found = bench_gpu.typing(gpu, drafts=False, keys=3, tokens=4)
    assert found["tokens"] == 4 and 0 < found["first_ms"] <= found["whole_ms"]
    started = bench_gpu.start(gpu)
    assert started["warm_s"] > 0 and started["compiled_by_warm"] == 0


def test_every_bar_is_of_something_measured() -> None:
    assert {bar.name.split(".")[0] for bar in GPU_BARS} <= set(bench_gpu.MEASURES)
    for measures in (bench.MEASURES, bench_gpu.MEASURES):  # they share a line of JSON
        assert not set(measures) & set(bench.circumstances("c"))
    results = {"typing": {"first_ms": 8.0, "whole_ms": 100.0}}
    judged = judge(results, GPU_BARS, H200)
    assert [verdict["pass"] for verdict in judged.values()] == [False, True]
    assert judge(results, GPU_BARS, "another") == {}
    assert len(BUCKETS) == 7
