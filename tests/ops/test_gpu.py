"""The engine on a GPU with its kernels: `TRITON_INTERPRET=0 pytest tests/ops/test_gpu.py`."""

import asyncio
import os
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="kernels need triton, which comes with PyTorch for CUDA")

from cl_engine.core import CHUNK, Core
from cl_engine.export import export
from cl_engine.graphs import KernelMachine
from cl_engine.loader import LoadedModel, load_model
from cl_engine.loop import Engine, Generation, Job
from cl_engine.machine import TorchMachine
from cl_engine.prompt import Prompt
from cl_engine.registry import Options, Registry
from cl_engine.request import Limits, TextEvent
from cl_engine.sampling import SamplingParams

from tests.serving import test_same_answer
from tests.serving.stepping import Bench

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1",
    reason="no GPU, or Triton interprets the kernels",
)
SOURCE = test_same_answer.SOURCE
KERNELS = partial(KernelMachine, chunk=CHUNK["cuda"])


def loaded(dtype: str) -> LoadedModel:
    return load_model("embedded", device="cuda", dtype=dtype)


def test_greedy_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    """In float32, prompts of all lengths, so that few and many rows are computed."""
    from transformers import AutoModelForCausalLM

    model = loaded("float32")
    folder = export("embedded", tmp_path / "e")
    peer: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    peer.to("cuda")
    peer.generation_config.eos_token_id = None
    peer.generation_config.pad_token_id = 0
    bench = Bench(model, machine=KERNELS, healing_depth=0)
    for length in (1, 3, 9, 40, 300, 1100):
        asked = bench.ask("completion", SOURCE[:length], 32)
        bench.run()
        ids = torch.tensor([asked.request.prompt.ids], device="cuda")
        out = peer.generate(ids, max_new_tokens=32, do_sample=False)[0, ids.shape[1] :].tolist()
        assert asked.error is None and asked.ids == out


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_answers_do_not_depend_on_what_else_happens(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_same_answer, "Core", partial(Core, machine=KERNELS))
    seeds, greedy = range(4), dtype == "bfloat16"
    compared, gaps = test_same_answer.differences(loaded(dtype), seeds, greedy=greedy)
    print(f"{dtype}: {len(gaps)} of {compared} tokens differ, by {gaps}")
    assert compared > 300 and len(gaps) < compared / 50
    assert max(gaps, default=0) < (test_same_answer.AS_GOOD if greedy else 1e-3)


def test_what_is_drawn_is_what_the_seed_says() -> None:
    bench = Bench(loaded("float32"), machine=KERNELS)
    warm = SamplingParams(temperature=0.9, top_p=0.9, top_k=40, seed=5)
    answers = []
    for _ in range(3):
        asked = bench.ask("completion", SOURCE[:200], 20, sampling=warm)
        others = [bench.ask("completion", SOURCE[: 50 * i], 9) for i in range(random.randrange(4))]
        bench.run()
        assert all(one.end for one in others)
        answers.append(asked.ids)
    assert answers[0] == answers[1] == answers[2]


def test_a_prompts_scores_are_those_of_plain_torch() -> None:
    told, model = SamplingParams(logprobs=1), loaded("float32")
    scores: list[list[float | None]] = []
    for machine in (KERNELS, TorchMachine):
        bench = Bench(model, machine=machine)
        asked = bench.ask("completion", SOURCE[:1200], 2, sampling=told, scored=True)
        bench.run()
        scores.append(asked.scores)
    assert len(scores[0]) > 200 and scores[0][0] is None
    assert scores[0][1:] == pytest.approx(scores[1][1:], abs=1e-2)


def test_out_of_memory_fails_who_asked_for_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(loaded("bfloat16"), machine=KERNELS)
    launch = KernelMachine.launch

    def short(self: KernelMachine, spans: list, choices: list) -> object:
        if any(len(span.ids) > 100 for span in spans):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return launch(self, spans, choices)

    monkeypatch.setattr(KernelMachine, "launch", short)
    small, large = (bench.ask("completion", text, 6) for text in ("x = ", SOURCE[:900]))
    bench.run()
    assert large.error and "no memory on the device" in str(large.error)
    assert small.end and len(small.ids) == 6


def test_the_engine_takes_the_kernels_by_itself() -> None:
    made: list[tuple[int, int]] = []
    engine = Engine("embedded", device="cuda", making=lambda done, of: made.append((done, of)))
    engine.start()
    try:
        engine.loaded.result(120)
        assert made and made[-1][0] == made[-1][1] > 3
    finally:
        engine.stop()


async def test_models_come_and_go_and_leave_nothing(tmp_path: Path) -> None:
    """One is loaded, graphs and all, while the other answers; what is unloaded gives all back."""
    second = str(export("embedded", tmp_path / "second"))
    registry = Registry("embedded", Options("cuda"), others=True)

    async def answer(name: str, tokens: int = 60) -> list[int]:
        async with registry.use(name) as (engine, loaded):
            ids = loaded.tokenizer.encode(SOURCE[:900])
            job = Job(Prompt(ids, 0), Limits(tokens), SamplingParams())
            generation = Generation(engine, [job])
            try:
                events = [event async for _, event in generation]
            finally:
                generation.close()
        return [i for event in events if isinstance(event, TextEvent) for i in event.tokens]

    try:
        alone = await answer("embedded")
        torch.cuda.synchronize()
        before = torch.cuda.mem_get_info()[0]
        loading = asyncio.create_task(answer(second))
        beside = [await answer("embedded") for _ in range(20)]
        other = await loading
        beside += [await answer("embedded")]
        assert all(one == alone for one in beside)
        left: list[int] = []
        for _ in range(3):
            assert await registry.unload(second)
            left.append(torch.cuda.mem_get_info()[0])
            print(f"{left[-1] - before} bytes, {torch.cuda.memory_allocated()} of tensors")
            assert await answer(second) == other
            assert left[-1] - torch.cuda.mem_get_info()[0] > 16 << 20  # torch held some of it
        # What CUDA and cuBLAS keep for a thread is kept once, for the next one.
        assert left[0] - left[-1] < 16 << 20
        assert await registry.unload("embedded")
        assert await answer("embedded") == alone
    finally:
        registry.stop()
