"""Every kernel compiles for Ampere, Ada and Hopper, untuned, into the memory that a program has."""

import json
import os
import subprocess
import sys
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


LONG = pytest.mark.soak  # 30 to 40 s of a core each


@pytest.mark.parametrize(
    ("capability", "model", "buckets"),
    [
        pytest.param(80, "7b", "all", marks=LONG),
        pytest.param(89, "34b", "all", marks=LONG),
        pytest.param(90, "34b", "all", marks=LONG),
        (90, "34b", "largest"),
    ],
)
def test_kernels_compile(capability: int, model: str, buckets: str, tmp_path: Path) -> None:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "engine", ROOT / "kernels")))
    environment = os.environ | {"PYTHONPATH": path, "TRITON_CACHE_DIR": str(tmp_path)}
    del environment["TRITON_INTERPRET"]
    command = [sys.executable, "-m", "tests.ops.compile_for", str(capability), model, buckets]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert {kernel["name"] for kernel in made} == KERNELS
    too_large = [kernel for kernel in made if kernel["shared"] > SHARED[capability]]
    assert not too_large
