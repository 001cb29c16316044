"""What a step of the kernels is told: written on the host, brought to the device by one copy.

The host's side has two of everything, in turns: one may still be on its way while the next step is
written. The device's side stays where it is, so that CUDA graphs can be made of it.
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

GROUP = 16  # rows that are chosen for at once, and the most that a graph computes


class Packed:
    """Arrays in one piece of memory, on the host and on the device."""

    def __init__(self, device: torch.device, fields: dict[str, tuple[type, tuple[int, ...]]]):
        places: dict[str, slice] = {}
        end = 0
        for name, (dtype, shape) in fields.items():
            size = math.prod(shape) * numpy.dtype(dtype).itemsize
            places[name] = slice(end, end + size)
            end += -(-size // 16) * 16
        cuda = device.type == "cuda"
        self._host = [torch.zeros(end, dtype=torch.uint8, pin_memory=cuda) for _ in range(2)]
        self._sent = [torch.cuda.Event() if cuda else None for _ in self._host]
        self._device = torch.zeros(end, dtype=torch.uint8, device=device)
        self._turn = 0

        def views(memory: torch.Tensor) -> dict[str, torch.Tensor]:
            return {
                name: memory[places[name]].view(getattr(torch, dtype.__name__)).view(shape)
                for name, (dtype, shape) in fields.items()
            }

        self._arrays = [{n: t.numpy() for n, t in views(m).items()} for m in self._host]
        self.tensors = views(self._device)

    def write(self) -> dict[str, numpy.ndarray]:
        """The host's arrays, with what they held the time before last; to be followed by `send`."""
        self._turn = 1 - self._turn
        if (event := self._sent[self._turn]) is not None:
            event.synchronize()
        return self._arrays[self._turn]

    def send(self) -> None:
        self._device.copy_(self._host[self._turn], non_blocking=True)
        if (event := self._sent[self._turn]) is not None:
            event.record()


class Staging:
    """At most `rows` rows of `sequences` sequences, whose contexts have `pages` pages of `size`."""

    def __init__(
        self, device: torch.device, vocab: int, rows: int, sequences: int, pages: int, size: int
    ):
        self._size = size
        self._step = Packed(
            device,
            {
                "ids": (numpy.int64, (rows,)),
                "slots": (numpy.int64, (rows,)),
                "positions": (numpy.int32, (rows,)),
                "lengths": (numpy.int32, (sequences,)),
                "first": (numpy.int32, (sequences + 1,)),
                "pages": (numpy.int32, (sequences, pages)),
                "blocks": (numpy.int32, (rows, 2)),  # more than there can be
            },
        )
        self._choices = Packed(
            device,
            {
                "seeds": (numpy.int64, (GROUP,)),
                "picked": (numpy.int64, (GROUP,)),
                "positions": (numpy.int32, (GROUP,)),
                "top_k": (numpy.int32, (GROUP,)),
                "masked": (numpy.int32, (GROUP,)),
                "temperature": (numpy.float32, (GROUP,)),
                "top_p": (numpy.float32, (GROUP,)),
                "min_p": (numpy.float32, (GROUP,)),
            },
        )
        self._masks = Packed(device, {"allowed": (numpy.int32, (GROUP, -(-vocab // 32)))})
        t = self._step.tensors
        self.inputs = Inputs(
            t["ids"],
            Places(t["positions"], t["slots"]),
            Sequences(t["pages"], t["lengths"], t["first"], size, GROUP),
        )

    def choices(self, rows: int) -> Choices:
        """On the device, of the first rows."""
        t = {name: tensor[:rows] for name, tensor in self._choices.tensors.items()}
        del t["picked"]
        return Choices(**t, allowed=self._masks.tensors["allowed"][:rows])

    @property
    def picked(self) -> torch.Tensor:
        """[GROUP], int64, on the device: rows that `send_choices` was given."""
        return self._choices.tensors["picked"]

    def blocks(self, count: int) -> torch.Tensor:
        return self._step.tensors["blocks"][:count]

    def send_step(self, spans: list[Span], blocks: list[tuple[int, int]] | None = None) -> None:
        """`blocks`: see `prefill_attention`. Behind the spans' rows up to GROUP are rows that are
        of no sequence and leave nothing behind."""
        a, row = self._step.write(), 0
        a["slots"][:GROUP] = -1
        a["ids"][:GROUP] = a["positions"][:GROUP] = 0
        a["lengths"][:] = 0
        for i, span in enumerate(spans):
            n = len(span.ids)
            table = numpy.asarray(span.pages[: -(-span.end // self._size)], numpy.int32)
            at = numpy.arange(span.start, span.end)
            a["ids"][row : row + n] = span.ids
            a["positions"][row : row + n] = at
            a["slots"][row : row + n] = table[at // self._size] * self._size + at % self._size
            a["pages"][i, : len(table)] = table
            a["lengths"][i] = span.end
            a["first"][i] = row
            row += n
        a["first"][len(spans) :] = row
        if blocks is not None:
            a["blocks"][: len(blocks)] = blocks
        self._step.send()

    def send_choices(
        self, rows: Sequence[int], positions: Sequence[int], choices: Sequence[Choice | None]
    ) -> None:
        """Of at most GROUP rows: which they are, where they stand, and how they are chosen for."""
        a, n = self._choices.write(), len(rows)
        for name, value in {"temperature": 0, "masked": 0, "picked": 0, "positions": 0}.items():
            a[name][:] = value
        a["picked"][:n], a["positions"][:n] = rows, positions
        masks: numpy.ndarray | None = None
        for i, choice in enumerate(choices):
            if choice is None:
                continue
            p = choice.params
            a["temperature"][i] = p.temperature if p.temperature >= GREEDY else 0
            a["top_k"][i], a["top_p"][i], a["min_p"][i] = p.top_k, p.top_p, p.min_p
            a["seeds"][i] = choice.seed
            if choice.allowed is not None:
                masks = self._masks.write()["allowed"] if masks is None else masks
                bits = numpy.packbits(choice.allowed, bitorder="little")
                masks[i].view(numpy.uint8)[: len(bits)] = bits
                a["masked"][i] = 1
        self._choices.send()
        if masks is not None:
            self._masks.send()
