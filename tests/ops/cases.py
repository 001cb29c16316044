"""Random arguments for every op, on a CPU in tiny shapes (interpreted) or on a GPU in true ones.

`op` and `op_ref` are handed the same arguments, each its own outputs, which start as NaN.
"""

from dataclasses import dataclass

import torch
from cl_kernels.norm_qkv_rope_append import Places
from cl_kernels.paged_attention import Scratch, Sequences, new_scratch
from cl_kernels.sample import Choices
from cl_kernels.stream import Stream, new_stream

EPS = 1e-5


@dataclass(frozen=True)
class Shape:
    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int


TINY = Shape(64, 4, 2, 16, 96, 75)
LLAMA_7B = Shape(4096, 32, 32, 128, 11008, 32016)
LLAMA_13B = Shape(5120, 40, 40, 128, 13824, 32016)
LLAMA_34B = Shape(8192, 64, 8, 128, 22016, 32000)


def tolerance(dtype: torch.dtype) -> float:
    """Of ‖out − ref‖ / ‖ref‖; a bf16 result is rounded once (2⁻⁹ at most, 1.7e-3 on average)."""
    return {torch.float32: 2e-6, torch.float16: 6e-4, torch.bfloat16: 4e-3}[dtype]


def distance(got: torch.Tensor, want: torch.Tensor) -> float:
    got, want = got.double(), want.double()
    return ((got - want).norm() / want.norm().clamp_min(1e-30)).item()


class Maker:
    def __init__(self, device: str, dtype: torch.dtype, seed: int):
        self.device, self.dtype = torch.device(device), dtype
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(self, *shape: int, std: float = 1.0, dtype: torch.dtype | None = None):
        t = torch.randn(*shape, generator=self.generator, device=self.device)
        return (t * std).to(dtype or self.dtype)

    def weight(self, n: int, k: int) -> torch.Tensor:
        return self.normal(n, k, std=k**-0.5)

    def gamma(self, dim: int) -> torch.Tensor:
        return (1 + self.normal(dim, std=0.3, dtype=torch.float32)).to(self.dtype)

    def ints(self, low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64):
        t = torch.randint(low, high, shape, generator=self.generator, device=self.device)
        return t.to(dtype)

    def nan(self, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.full(shape, float("nan"), device=self.device, dtype=dtype or self.dtype)

    def empty_stream(self, rows: int, dim: int, widths: tuple[int, ...] = ()) -> Stream:
        stream = new_stream(rows, dim, widths or (dim,), self.device, self.dtype)
        for t in (stream.x, stream.scaled, stream.squares):
            t.fill_(float("nan"))
        return stream

    def stream(self, rows: int, dim: int, widths: tuple[int, ...] = ()) -> Stream:
        """As an op before would have left it, with one entry that outweighs all others."""
        stream = self.empty_stream(rows, dim, widths)
        x = self.normal(rows, dim, std=3.0, dtype=torch.float32)
        x[:, dim // 3] = 40.0
        stream.put_ref(x, self.gamma(dim))
        return stream

    def rope(self, context: int, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        inverse = 1e6 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angles = torch.outer(torch.arange(context, dtype=torch.float64), inverse)
        angles = angles.repeat(1, 2).to(self.device)
        return angles.cos().float(), angles.sin().float()

    def choices(self, rows: int, vocab: int) -> Choices:
        """Of all kinds."""

        def repeated(values: list[float]) -> torch.Tensor:
            times = -(-rows // len(values))
            return torch.tensor(values * times, device=self.device)[:rows]

        words = self.ints(-(2**31), 2**31, rows, -(-vocab // 32), dtype=torch.int32)
        words[:, 0] |= 1  # or a small vocabulary might allow nothing
        masked = torch.arange(rows, device=self.device) >= rows // 2
        return Choices(
            temperature=repeated([0, 0.7, 1.3, 1, 1, 1, 0.5, 1]).float(),
            top_k=repeated([0, 50, 0, 0, 7, 10**6, 0, 1]).int(),
            top_p=repeated([1, 1, 0.8, 0.3, 0.9, 0, 0.95, 1]).float(),
            min_p=repeated([0, 0, 0, 0.1, 0.05, 0, 0, 0]).float(),
            seeds=self.ints(-(2**62), 2**62, rows),
            positions=self.ints(0, 16384, rows, dtype=torch.int32),
            masked=masked.int(),
            allowed=words,
        )

    def places(self, rows: int, slots: int) -> Places:
        order = torch.randperm(slots, generator=self.generator, device=self.device)[:rows]
        if rows > 2:
            order[1] = -1
        return Places(self.ints(0, 300, rows, dtype=torch.int32), order)

    def cache(
        self,
        shape: Shape,
        lengths: list[int],
        counts: list[int],
        size: int,
        most: int,
        in_order: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, Sequences, Scratch]:
        """Keys, values, in pages at random places, unless they are to be in order.

        What belongs to no sequence is NaN.
        """
        need = [-(-n // size) for n in lengths]
        pages = sum(need) + 2
        order = torch.randperm(pages, generator=self.generator, device=self.device)
        if in_order:
            order = torch.arange(1, pages, device=self.device)
        table = torch.full((len(lengths), max(need) + 1), 2**30, device=self.device).int()
        pools = [self.nan(shape.kv_heads, pages * size, shape.head_dim) for _ in range(2)]
        taken = 0
        for s, (n, length) in enumerate(zip(need, lengths, strict=True)):
            own = order[taken : taken + n]
            taken += n
            table[s, :n] = own
            at = torch.arange(length, device=self.device)
            slots = own[at // size] * size + at % size
            for pool in pools:
                pool[:, slots] = self.normal(shape.kv_heads, length, shape.head_dim)
        first = torch.tensor([0, *counts], device=self.device).cumsum(0).int()
        known = Sequences(table, torch.tensor(lengths, device=self.device).int(), first, size, most)
        scratch = new_scratch(
            len(lengths), most, shape.heads, shape.kv_heads, shape.head_dim, self.device
        )
        return pools[0], pools[1], known, scratch


def copied(stream: Stream) -> Stream:
    return Stream(stream.x.clone(), stream.scaled.clone(), stream.squares.clone())
