"""The residual stream between two ops, with what the next norm needs of it.

A norm costs no pass and no launch: whoever writes x also writes x·gamma in the weights' type and
its sums of squares; whoever reads it divides its product by the root of their mean. With 8 rows
that is 8 KB per row and program instead of 24 (x and gamma in full).
"""

from dataclasses import dataclass

import torch

from cl_kernels import tiles


@dataclass(frozen=True)
class Stream:
    x: torch.Tensor  # [rows, dim], float32
    scaled: torch.Tensor  # [rows, dim], x·gamma of the norm that comes next, in the weights' type
    squares: torch.Tensor  # [rows, parts], float32: sums of x² over dim / parts neighbours

    @property
    def rows(self) -> int:
        return len(self.x)

    @property
    def dim(self) -> int:
        return self.x.shape[1]

    @property
    def part(self) -> int:
        """Neighbours in one sum; who writes the stream has one or more of these parts."""
        return self.dim // self.squares.shape[1]

    def check(self) -> None:
        assert self.x.dtype == self.squares.dtype == torch.float32
        assert self.scaled.shape == self.x.shape and len(self.squares) == self.rows
        assert self.dim % self.squares.shape[1] == 0, "sums over equal parts"
        assert all(t.is_contiguous() for t in (self.x, self.scaled, self.squares))

    def scale(self, eps: float) -> torch.Tensor:
        """[rows, 1]: what a product with `scaled` is multiplied with."""
        return torch.rsqrt(self.squares.sum(1, keepdim=True) / self.dim + eps)

    def normed(self, eps: float) -> torch.Tensor:
        """[rows, dim], float32."""
        return self.scaled.float() * self.scale(eps)

    def put_ref(self, x: torch.Tensor, gamma: torch.Tensor) -> None:
        self.x.copy_(x)
        self.scaled.copy_(x * gamma.float())
        self.squares.copy_((x * x).view(self.rows, -1, self.part).sum(2))


def new_stream(
    rows: int, dim: int, widths: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> Stream:
    """Uninitialised. `widths` are those of the rows that are projected back into the stream."""
    chosen = [tiles.choose("project_residual", rows, dim, k, device).bn for k in widths]
    x = torch.empty(rows, dim, device=device)
    squares = torch.empty(rows, dim // min(chosen), device=device)
    return Stream(x, torch.empty(rows, dim, device=device, dtype=dtype), squares)
