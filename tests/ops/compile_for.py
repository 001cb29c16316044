"""Compiles every kernel that a model needs, for a GPU that is not here:
`compile_for.py CC MODEL all|largest`, of the buckets of each number of rows.

Triton is told that a GPU of compute capability CC is there; what would be launched is compiled,
ptxas included, and not launched. Prints a line of JSON for each kernel. To be run in a process of
its own, without TRITON_INTERPRET.
"""

import json
import sys
from typing import Any

import torch
from cl_engine import graphs
from cl_engine.catalogue import HEAD_DIM, PUBLISHED
from cl_engine.config import LlamaConfig
from cl_engine.models.fused import Few, Fused, Head
from cl_engine.models.llama import Layer, Llama, Weights
from cl_engine.ops import Matrix
from cl_engine.staging import GROUP, Staging
from cl_kernels import paged_attention, tiles
from cl_kernels.prefill_attention import most_blocks
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

SHARED = {80: 163 << 10, 89: 99 << 10, 90: 227 << 10}  # bytes that a program may have
CONTEXT, PAGE = 2048, 16


class Pretended:
    def __init__(self, capability: int):
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def pretend(capability: int) -> list[tuple[str, Any]]:
    """From now on every launch compiles; what it made is put into the list."""
    made: list[tuple[str, Any]] = []
    run = JITFunction.run

    def compiled(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        if all(kernel is not known for _, known in made):
            made.append((self.__name__, kernel))
        return kernel

    JITFunction.run = compiled
    driver.set_active(Pretended(capability))  # pyright: ignore[reportArgumentType]
    tiles.pdl = lambda tensor: capability >= 90
    tiles._shared_memory = lambda index: SHARED[capability]
    paged_attention._multiprocessors = lambda device: 132
    tiles.choose = lambda op, rows, n, k, device: tiles.fallback(
        op, rows if op.startswith("paged") else tiles.bucket(rows), k, SHARED[capability]
    )
    return made


def empty_llama(alias: str) -> Llama:
    """One layer of a model's true shape, its values whatever memory holds."""
    model = next(m for m in PUBLISHED if m.alias == alias)
    config = LlamaConfig(
        vocab=model.vocab,
        dim=model.dim,
        layers=1,
        heads=model.heads,
        kv_heads=model.kv_heads,
        head_dim=HEAD_DIM,
        ffn=model.ffn,
        norm_eps=1e-5,
        rope_theta=model.rope_theta,
        context=CONTEXT,
        tied=False,
        int8=False,
    )

    def matrix(rows: int, columns: int) -> Matrix:
        return Matrix(torch.empty(rows, columns, dtype=torch.bfloat16))

    c, norm = config, torch.ones(config.dim)
    layer = Layer(
        norm,
        matrix((c.heads + 2 * c.kv_heads) * HEAD_DIM, c.dim),
        matrix(c.dim, c.heads * HEAD_DIM),
        norm,
        matrix(2 * c.ffn, c.dim),
        matrix(c.dim, c.ffn),
    )
    return Llama(c, Weights(matrix(c.vocab, c.dim), [layer], norm, matrix(c.vocab, c.dim)))


def main(capability: int, alias: str, buckets: str) -> None:
    made = pretend(capability)
    llama = empty_llama(alias)
    pool = llama.new_pool(CONTEXT // PAGE, PAGE)
    rows = 64
    staging = Staging(llama.device, llama.config.vocab, rows, GROUP, CONTEXT // PAGE, PAGE)
    fused = Fused(llama, pool, rows)
    largest = {bucket.rows: bucket for bucket in graphs.BUCKETS}.values()
    for bucket in graphs.BUCKETS if buckets == "all" else largest:
        Few(fused, staging.inputs.of(*bucket), staging.choices_of(bucket.rows)).launch()
    torch.mm = lambda *args, **options: None  # cuBLAS' part
    blocks = most_blocks(rows, GROUP, llama.cache_dtype, llama.device)
    fused.many(staging.inputs.of(rows, GROUP, rows, blocks))
    for n in (1, 8, GROUP):
        Head(fused, fused.stream(n), staging.choices_of(n)).launch_for(staging.picked[:n])
    for name, kernel in made:
        print(json.dumps({"name": name, "shared": kernel.metadata.shared}))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
