"""Every kernel compiles for Ampere, Ada and Hopper, untuned, into the memory that a program has."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="kernels need triton, which comes with PyTorch for CUDA")

from tests.ops.compile_for import SHARED

ROOT = Path(__file__).parents[2]
KERNELS = {
    *("_add_norm_kernel", "_embed_kernel", "_norm_gate_up_silu_kernel", "_norm_lm_head_kernel"),
    *("_norm_qkv_rope_append_kernel", "_paged_attention_kernel", "_prefill_attention_kernel"),
    *("_project_residual_kernel", "_rope_append_kernel", "_sample_kernel", "_silu_mul_kernel"),
}


Compiling = dict[tuple[int, str], tuple[subprocess.Popen, Path]]
CASES = [(80, "7b"), (89, "34b"), (90, "34b")]


@pytest.fixture(scope="module")
def compiling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiling]:
    """A process for each of the cases, all at once, and where it writes."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "engine", ROOT / "kernels")))
    environment = os.environ | {"PYTHONPATH": path}
    del environment["TRITON_INTERPRET"]
    found: Compiling = {}
    for capability, model in CASES:
        folder = tmp_path_factory.mktemp("compiled")
        command = [sys.executable, "-m", "tests.ops.compile_for", str(capability), model]
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            own = environment | {"TRITON_CACHE_DIR": str(folder)}
            process = subprocess.Popen(command, cwd=ROOT, env=own, stdout=out, stderr=err)
        found[capability, model] = process, folder
    yield found
    for process, _ in found.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize(("capability", "model"), CASES)
def test_kernels_compile(capability: int, model: str, compiling: Compiling) -> None:
    process, folder = compiling[capability, model]
    code = process.wait(110)
    out, err = (folder.joinpath(name).read_text() for name in ("out", "err"))
    assert code == 0, err[-3000:]
    made = [json.loads(line) for line in out.splitlines()]
    assert {kernel["name"] for kernel in made} == KERNELS
    too_large = [kernel for kernel in made if kernel["shared"] > SHARED[capability]]
    assert not too_large
