"""Whether our kernels compute a model, and what to do where they cannot: said, never guessed.

They run on NVIDIA GPUs from Ampere on. All else is plain torch: a CPU always, a GPU if asked.
"""

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import torch
from platformdirs import user_cache_path

from .config import LlamaConfig
from .errors import EngineError, InvalidRequest
from .machine import Machine, TorchMachine, is_memory, raise_if_lost
from .models.llama import KVPool, Llama

log = logging.getLogger(__name__)
Kernels = Literal["auto", "torch"]
OLDEST = (8, 0)  # compute capability: Ampere
OUT = "--kernels torch (in an editor the option `kernels`) runs the model without them, slower"

Progress = Callable[[int, int], None]


def machine_for(
    llama: Llama, kernels: Kernels, chunk: int, progress: Progress | None = None
) -> Callable[[Llama, KVPool], Machine]:
    """What makes the machine for this model.

    kernels: "auto", ours on a GPU; "torch", none. `progress` is told of the graphs that are made.
    Raises EngineError with the reason where ours were to be used and cannot be.
    """
    if kernels not in get_args(Kernels):
        raise InvalidRequest(f"kernels: {kernels!r} is none of {', '.join(get_args(Kernels))}")
    if llama.device.type == "cpu" or kernels == "torch":
        return TorchMachine
    if (reason := _refusal(llama)) is not None:
        raise EngineError(f"{reason}: {OUT}")

    def make(llama: Llama, pool: KVPool) -> Machine:
        # Compiled kernels are kept, so that only the first start on a machine compiles.
        os.environ.setdefault("TRITON_CACHE_DIR", str(compile_cache()))
        try:
            from .graphs import KernelMachine

            return KernelMachine(llama, pool, chunk, progress or (lambda done, of: None))
        except EngineError:
            raise
        except Exception as error:
            raise_if_lost(error)
            raise EngineError(_why_not(error)) from error

    return make


def compile_cache() -> Path:
    return user_cache_path("cl-lsp") / "triton"


def _refusal(llama: Llama) -> str | None:
    """Why ours cannot compute this model on its device."""
    name = torch.cuda.get_device_name(llama.device)
    capability = torch.cuda.get_device_capability(llama.device)
    if capability < OLDEST:
        major, minor = capability
        return f"{name} (compute capability {major}.{minor}) is older than the kernels need, 8.0"
    if torch.version.hip is not None:
        return f"{name} is not an NVIDIA GPU, for which the kernels are written"
    return unsuited(llama.config)


def unsuited(c: LlamaConfig) -> str | None:
    """Which size of a model no tile of the kernels fits; Code Llama's all fit."""
    if c.head_dim not in (32, 64, 128):
        return f"head_dim {c.head_dim} is not 32, 64 or 128"
    for name, size in (("hidden_size", c.dim), ("intermediate_size", c.ffn)):
        if size % 32:
            return f"{name} {size} is not a multiple of 32, as the kernels need"
    return None


def _why_not(error: Exception) -> str:
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    said = str(error).strip().splitlines() or [type(error).__name__]
    if is_memory(error):
        return (
            "no memory on the device beside the weights and the KV cache for a step: give a"
            " smaller context or less KV memory"
        )
    if isinstance(error, ModuleNotFoundError):
        return f"the kernels need Triton ({said[0]}): `pip install triton`, or {OUT}"
    tools = isinstance(error, subprocess.CalledProcessError | FileNotFoundError)
    if tools or "compiler" in said[0]:
        return (
            f"the kernels could not be compiled ({said[0]}): Triton needs a C compiler and Python's"
            f" headers (Debian: apt install gcc python3-dev); {OUT}"
        )
    return (
        f"the kernels could not be compiled or loaded ({said[0]}): a newer NVIDIA driver or Triton"
        f" may do; {OUT}"
    )
