"""What a step of the kernels is told: written on the host, brought to the device by a CUDA graph.

There is one of everything, at a fixed place, so that graphs can hold the copies: whoever writes
must know that the last step is over. But for the choices behind a prompt's step: that step's own
copy may bring them half written, and reads none of them; their head's graph copies them again.
"""

import math
from collections.abc import Sequence

import numpy
import torch
from cl_kernels.norm_qkv_rope_append import Places
from cl_kernels.paged_attention import Sequences
from cl_kernels.sample import Choices

from .models.fused import Inputs
from .models.llama import Span
from .sampling import GREEDY, Choice

GROUP = 16  # rows that are chosen for at once, and the most of a step without cuBLAS


class Packed:
    """Arrays in one piece of memory, on the host (`arrays`) and on the device (`tensors`)."""

    def __init__(self, device: torch.device, fields: dict[str, tuple[type, tuple[int, ...]]]):
        places: dict[str, slice] = {}
        end = 0
        for name, (dtype, shape) in fields.items():
            size = math.prod(shape) * numpy.dtype(dtype).itemsize
            places[name] = slice(end, end + size)
            end += -(-size // 16) * 16

        def views(memory: torch.Tensor) -> dict[str, torch.Tensor]:
            return {
                name: memory[places[name]].view(getattr(torch, dtype.__name__)).view(shape)
                for name, (dtype, shape) in fields.items()
            }

        self._host = pinned(end, torch.uint8, device)
        self._device = torch.zeros(end, dtype=torch.uint8, device=device)
        self.arrays = {name: t.numpy() for name, t in views(self._host).items()}
        self.tensors = views(self._device)

    def copy(self) -> None:
        """Bring all of it to the device."""
        self._device.copy_(self._host, non_blocking=True)


def pinned(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Memory of the host that `device` copies from and to by itself."""
    return torch.zeros(size, dtype=dtype, pin_memory=device.type == "cuda")


class Staging:
    """At most `rows` rows of `sequences` sequences, whose contexts have `pages` pages of `size`."""

    def __init__(
        self, device: torch.device, vocab: int, rows: int, sequences: int, pages: int, size: int
    ):
        self.rows, self._size, self._vocab = rows, size, vocab
        self.step = Packed(
            device,
            {
                "ids": (numpy.int64, (rows,)),
                "slots": (numpy.int64, (rows,)),
                "positions": (numpy.int32, (rows,)),
                "lengths": (numpy.int32, (sequences,)),
                "first": (numpy.int32, (sequences + 1,)),
                "runs": (numpy.int32, (sequences,)),
                "blocks": (numpy.int32, (rows + sequences, 2)),  # more than there can be
                "pages": (numpy.int32, (sequences, pages)),
                # How tokens are chosen, of at most GROUP rows.
                "picked": (numpy.int64, (GROUP,)),
                "seeds": (numpy.int64, (GROUP,)),
                "drawn_at": (numpy.int32, (GROUP,)),
                "top_k": (numpy.int32, (GROUP,)),
                "masked": (numpy.int32, (GROUP,)),
                "temperature": (numpy.float32, (GROUP,)),
                "top_p": (numpy.float32, (GROUP,)),
                "min_p": (numpy.float32, (GROUP,)),
            },
        )
        self.masks = Packed(device, {"allowed": (numpy.int32, (GROUP, -(-vocab // 32)))})
        t = self.step.tensors
        self.inputs = Inputs(
            t["ids"],
            Places(t["positions"], t["slots"]),
            Sequences(t["pages"], t["lengths"], t["first"], size, GROUP),
            t["runs"],
            t["blocks"],
        )

    def choices_of(self, rows: int) -> Choices:
        """On the device, of the first rows."""
        t = self.step.tensors
        return Choices(
            temperature=t["temperature"][:rows],
            top_k=t["top_k"][:rows],
            top_p=t["top_p"][:rows],
            min_p=t["min_p"][:rows],
            seeds=t["seeds"][:rows],
            positions=t["drawn_at"][:rows],
            masked=t["masked"][:rows],
            allowed=self.masks.tensors["allowed"][:rows],
        )

    @property
    def picked(self) -> torch.Tensor:
        """[GROUP], int64, on the device: the rows that `write_choices` was given."""
        return self.step.tensors["picked"]

    def write_step(self, spans: list[Span], rows: int, blocks: list[tuple[int, int]]) -> None:
        """`blocks`: see `prefill_attention`. The rows behind the spans', up to `rows`, belong to
        no sequence and leave nothing behind; likewise all further blocks."""
        a, row = self.step.arrays, 0
        for i, span in enumerate(spans):
            n, end = len(span.ids), span.end
            table = span.pages[: -(-end // self._size)]
            pages = a["pages"][i, : len(table)]
            pages[:] = table
            a["lengths"][i], a["first"][i] = end, row
            if n == 1:  # a step of decoding: the host's time is the GPU's, too
                a["ids"][row], a["positions"][row] = span.ids[0], end - 1
                a["slots"][row] = table[-1] * self._size + (end - 1) % self._size
                row += 1
                continue
            at = numpy.arange(span.start, end)
            a["ids"][row : row + n] = span.ids
            a["positions"][row : row + n] = at
            a["slots"][row : row + n] = pages[at // self._size].astype(int) * self._size + at % (
                self._size
            )
            row += n
        for name, nothing in (("ids", 0), ("positions", 0), ("slots", -1)):
            a[name][row:rows] = nothing
        a["lengths"][len(spans) :] = 0
        a["first"][len(spans) :] = row
        if blocks:
            a["blocks"][:, 0] = -1
            a["blocks"][: len(blocks)] = blocks
            for i, length in enumerate(a["lengths"][: len(spans)]):
                pages = a["pages"][i, : -(-length // self._size)]
                a["runs"][i] = pages[0] if (numpy.diff(pages) == 1).all() else -1

    def write_choices(
        self, rows: Sequence[int], positions: Sequence[int], choices: Sequence[Choice | None]
    ) -> bool:
        """Of at most GROUP rows: which they are, where they stand, and how they are chosen for.

        Without a choice it is the likeliest token. True: masks are to be copied, too.
        """
        a, masked = self.step.arrays, False
        a["temperature"][:] = a["masked"][:] = a["picked"][:] = 0
        a["picked"][: len(rows)], a["drawn_at"][: len(rows)] = rows, positions
        for i, choice in enumerate(choices):
            if choice is None:
                continue
            p = choice.params
            if p.temperature >= GREEDY:
                a["temperature"][i], a["seeds"][i] = p.temperature, choice.seed
                a["top_k"][i] = min(p.top_k, self._vocab)
                a["top_p"][i], a["min_p"][i] = p.top_p, p.min_p
            if choice.allowed is not None:
                bits = numpy.packbits(choice.allowed, bitorder="little")
                self.masks.arrays["allowed"][i].view(numpy.uint8)[: len(bits)] = bits
                a["masked"][i] = masked = True
        return masked
