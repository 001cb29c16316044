"""Kernels that cannot be had, memory that runs out, a device that fails: said, and survived."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from cl_engine import kernels, loop
from cl_engine.errors import DeviceLost, EngineError, NotReady
from cl_engine.kernels import machine_for
from cl_engine.loader import LoadedModel, load_model
from cl_engine.loop import Engine, Generation, Job
from cl_engine.machine import Rows, TorchMachine
from cl_engine.models.llama import Span
from cl_engine.prompt import Prompt
from cl_engine.registry import Registry
from cl_engine.request import Limits, TextEvent
from cl_engine.sampling import Choice, SamplingParams
from cl_engine.serve import Serving, _watch

from tests.checkpoints import make_checkpoint
from tests.serving.machines import Chooser
from tests.serving.stepping import Bench

ILLEGAL = "CUDA error: an illegal memory access was encountered"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(make_checkpoint(tmp_path_factory.mktemp("m"))), device="cpu")


def on_gpu(**config: Any) -> Any:
    """What is looked at of a model on a GPU that is not there."""
    sizes = {"head_dim": 128, "dim": 4096, "ffn": 11008} | config
    return SimpleNamespace(device=torch.device("cuda"), config=SimpleNamespace(**sizes))


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    # What `machine_for` sets is forgotten afterwards.
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    monkeypatch.delenv("TRITON_CACHE_DIR")


def test_plain_torch_on_a_cpu_and_where_asked_for(model: LoadedModel) -> None:
    assert machine_for(model.llama, "auto", 64) is TorchMachine
    assert machine_for(on_gpu(), "torch", 1024) is TorchMachine
    with pytest.raises(EngineError, match="'triton' is none of auto, torch"):
        machine_for(model.llama, "triton", 64)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("capability", "hip", "config", "said"),
    [
        ((7, 5), None, {}, r"NVIDIA H100 \(compute capability 7.5\) is older"),
        ((9, 4), "6.2", {}, "is not an NVIDIA GPU"),
        ((9, 0), None, {"head_dim": 80}, "head_dim 80 is not 32, 64 or 128"),
        ((9, 0), None, {"ffn": 1000}, "intermediate_size 1000 is not a multiple of 32"),
    ],
)
def test_what_the_kernels_cannot_is_said_with_the_way_out(
    hopper: None,
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    hip: str | None,
    config: dict[str, int],
    said: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    with pytest.raises(
        EngineError, match=f"{said}.*--kernels torch .* runs the model without them"
    ):
        machine_for(on_gpu(**config), "auto", 1024)


def failing(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> EngineError:
    """What becomes of an error while kernels are compiled; None: there is no Triton."""

    def fail(*args: object) -> None:
        assert error is not None
        raise RuntimeError("while compiling") from error

    graphs = ModuleType("cl_engine.graphs")
    graphs.KernelMachine = fail  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "cl_engine.graphs", graphs if error else None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(EngineError) as caught:
        machine_for(on_gpu(), "auto", 1024)(on_gpu(), None)  # pyright: ignore[reportArgumentType]
    return caught.value


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "need Triton .* `pip install triton`, or --kernels torch"),
        (subprocess.CalledProcessError(1, ["gcc"]), r"needs a C compiler and Python's\s+headers"),
        (RuntimeError("Failed to find C compiler. Please specify via CC"), "apt install gcc"),
        (RuntimeError("provided PTX was compiled with an unsupported toolchain"), "newer NVIDIA"),
    ],
)
def test_what_keeps_kernels_from_compiling(
    hopper: None, monkeypatch: pytest.MonkeyPatch, error: Exception | None, said: str
) -> None:
    wrong = failing(error, monkeypatch)
    assert not isinstance(wrong, DeviceLost)
    assert "--kernels torch" in str(wrong)
    with pytest.raises(EngineError, match=said):
        raise wrong


def test_compiled_kernels_are_kept_in_the_users_cache(
    hopper: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    failing(RuntimeError("whatever"), monkeypatch)
    assert kernels.os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "cl-lsp" / "triton")


def test_no_memory_for_the_step_at_the_start(hopper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    graphs = ModuleType("cl_engine.graphs")
    graphs.KernelMachine = fail  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "cl_engine.graphs", graphs)
    with pytest.raises(EngineError, match="give a smaller context or less KV memory"):
        machine_for(on_gpu(), "auto", 1024)(on_gpu(), None)  # pyright: ignore[reportArgumentType]


class Short(Chooser):
    """Has no memory for more than ten rows of one sequence."""

    def launch(self, spans: list[Span], choices: Sequence[Choice | None]) -> Callable[[], Rows]:
        if any(len(span.ids) > 10 for span in spans):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().launch(spans, choices)


def test_out_of_memory_fails_who_asks_for_too_much(model: LoadedModel) -> None:
    bench = Bench(model, machine=Short)
    small = [bench.ask("completion", text, 6) for text in ("x = ", "y = ")]
    large = bench.ask("completion", "def f(a, b, c):\n    return a + b + c\n" * 3, 6)
    bench.run()
    assert "no memory on the device for this step" in str(large.error)
    assert all(one.end and len(one.ids) == 6 for one in small)
    bench.core.scheduler.check_integrity()


class Lost(Chooser):
    """Fails at its third step, as a GPU does for good."""

    steps = 0

    def launch(self, spans: list[Span], choices: Sequence[Choice | None]) -> Callable[[], Rows]:
        self.steps += 1
        wait = super().launch(spans, choices)

        def broken() -> Rows:
            raise torch.AcceleratorError(ILLEGAL)

        return broken if self.steps > 2 else wait


def test_a_lost_device_is_said_to_all_and_ends_the_daemon(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "load_model", lambda *args, **options: model)
    monkeypatch.setattr(loop, "machine_for", lambda *args: Lost)
    engine = Engine("whatever", speculate=False)
    ids = model.tokenizer.encode("x = ")

    async def ask() -> list[int]:
        generation = Generation(engine, [Job(Prompt(ids, 0), Limits(9), SamplingParams())])
        try:
            events = [event async for _, event in generation]
        finally:
            generation.close()
        return [i for event in events if isinstance(event, TextEvent) for i in event.tokens]

    async def daemon() -> None:
        await engine.model()
        for _ in range(2):  # the one that was there, and one that comes too late
            with pytest.raises(DeviceLost, match="illegal memory access.*restart the daemon"):
                await ask()
        assert engine.state == "failed" and isinstance(engine.error, DeviceLost)
        server: Any = SimpleNamespace(should_exit=False)
        registry = Registry("whatever")
        registry._held["whatever"] = engine
        with pytest.raises(DeviceLost):
            await registry.engine("whatever")
        serving = Serving("whatever", "", idle_exit_s=0.02)
        await asyncio.wait_for(_watch(serving, registry, server), 10)
        assert server.should_exit

    engine.start()
    try:
        asyncio.run(daemon())
    finally:
        engine.stop()
    assert not engine._thread.is_alive()


async def test_who_comes_while_it_stops_is_told_at_once(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "load_model", lambda *args, **options: model)
    engine = Engine("whatever")
    engine.start()
    await engine.model()
    engine.stop_soon()
    with pytest.raises(NotReady, match="is stopping"):
        Generation(engine, [Job(Prompt([1], 0), Limits(9), SamplingParams())])
    assert (engine.active, engine.under_way) == (0, 0)
    engine.stop()
    assert not engine._thread.is_alive()
