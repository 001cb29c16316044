"""From a name or a directory to a model in memory, laid out on the device that computes with it.

Nothing is fetched. Memory is laid out first and then filled tensor by tensor, so that loading takes
no more than the model and one tensor. Every fault of a checkpoint gets its own message.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .catalogue import PUBLISHED, Identity
from .checkpoint import Checkpoint
from .config import LlamaConfig
from .errors import BrokenCheckpoint, EngineError
from .facts import Facts, read_facts
from .models.llama import Layer, Llama, Weights
from .ops import Matrix
from .tokenizer import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

MIN_CONTEXT = 64  # tokens

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Need:
    """Bytes of memory that a model takes on a device: its weights, and one context's KV cache."""

    device: torch.device
    weights: int
    kv_cache: int

    @property
    def size(self) -> int:
        return self.weights + self.kv_cache


@dataclass(frozen=True)
class LoadedModel:
    name: str
    llama: Llama
    tokenizer: Tokenizer
    identity: Identity
    dtype: str  # of the matrices


def open_weights(facts: Facts) -> Checkpoint:
    """A model's tensors, no values read yet. Raises BrokenCheckpoint if they do not fit it."""
    folder, config, tokenizer = facts.folder, facts.config, facts.tokenizer
    checkpoint = Checkpoint.open(folder, config)
    rows = math.prod(checkpoint.shape("model.embed_tokens.weight")[:1])
    if tokenizer.size != rows:
        raise BrokenCheckpoint(
            f"{folder}: the tokenizer has {tokenizer.size} pieces, the embedding {rows} rows. Of"
            " Code Llama's tokenizers the one with 32016 pieces belongs to 7B and 13B, base and"
            " Instruct, and to 70B; the one with 32000 to 34B and to 7B- and 13B-Python"
        )
    if config.vocab != rows:
        raise BrokenCheckpoint(
            f"{folder}: vocab_size is {config.vocab}, the embedding has {rows} rows"
        )
    return checkpoint


def load_model(
    name: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    context: int | None = None,
    progress: Progress | None = None,
) -> LoadedModel:
    """Load what `hub.find_model` finds on this disk under `name`, at `revision` if it is a hub id.

    `device` is a torch device; auto: CUDA if there is one, else the CPU. `dtype` is the type of the
    matrices and of the KV cache, "float32" or "bfloat16"; auto: bfloat16 on CUDA and float32 on the
    CPU, where int8 matrices stay int8. bfloat16 halves the memory on a CPU too. `context`: so many
    tokens instead of the model's own number, for smaller KV caches. `progress` is told the bytes of
    the model that are in place and their total, after each tensor.

    Raises UnknownModel, BrokenCheckpoint, or EngineError if there is no such device or too little
    memory on it.
    """
    facts = read_facts(name, revision=revision)
    config, checkpoint = facts.config, open_weights(facts)
    place, chosen = _place(config, device, dtype)
    _context(context, config)  # before anything large is done
    _check_memory(name, config, place, chosen)
    try:
        layout = _Layout(config, place, chosen)
    except RuntimeError as error:  # torch's, of both devices
        raise EngineError(_too_large(name, config, place, chosen)) from error
    _fill(checkpoint, layout.destinations, progress)
    llama = Llama(replace(config, context=_context(context, config)), layout.weights)
    kind = str(chosen).removeprefix("torch.")
    return LoadedModel(name, llama, facts.tokenizer, facts.identity, kind)


def memory_needed(facts: Facts, device: str, dtype: str, context: int | None) -> Need:
    """What `load_model` of these would take. Raises EngineError if there is no such device."""
    config = facts.config
    place, chosen = _place(config, device, dtype)
    kv_type = torch.bfloat16 if chosen == torch.int8 else chosen
    tokens = _context(context, config)
    kv_cache = tokens * config.kv_bytes(kv_type.itemsize)
    return Need(place, config.weight_bytes(chosen.itemsize), kv_cache)


def _place(config: LlamaConfig, device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Where, and as what, the matrices lie. Raises EngineError."""
    place = _device(device)
    if dtype not in (*DTYPES, "auto"):
        raise EngineError(f"dtype {dtype!r} is none of auto, {', '.join(DTYPES)}")
    chosen = DTYPES.get(dtype, torch.bfloat16 if place.type == "cuda" else torch.float32)
    if config.int8 and dtype == "auto" and place.type == "cpu":
        chosen = torch.int8
    return place, chosen


def _context(wanted: int | None, config: LlamaConfig) -> int:
    if wanted is not None and not MIN_CONTEXT <= wanted <= config.context:
        raise EngineError(f"context {wanted} is not from {MIN_CONTEXT} to {config.context}")
    return wanted or config.context


class _Layout:
    """A model's weights, not yet filled; `destinations` says which tensor goes where."""

    def __init__(self, config: LlamaConfig, device: torch.device, dtype: torch.dtype):
        self._shapes = config.tensor_shapes()
        self._device, self._dtype = device, dtype
        self.destinations: dict[str, torch.Tensor] = {}
        embedding = self._matrix("model.embed_tokens")
        self.weights = Weights(
            embedding=embedding,
            layers=[self._layer(f"model.layers.{i}.") for i in range(config.layers)],
            norm=self._norm("model.norm"),
            head=embedding if config.tied else self._matrix("lm_head"),
        )

    def _layer(self, prefix: str) -> Layer:
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        return Layer(
            attention_norm=self._norm(prefix + "input_layernorm"),
            qkv=self._matrix(*(f"{attention}{part}_proj" for part in "qkv")),
            out=self._matrix(attention + "o_proj"),
            ffn_norm=self._norm(prefix + "post_attention_layernorm"),
            gate_up=self._matrix(mlp + "gate_proj", mlp + "up_proj"),
            down=self._matrix(mlp + "down_proj"),
        )

    def _norm(self, name: str) -> torch.Tensor:
        return self._place([name + ".weight"], self._shapes[name + ".weight"], torch.float32)

    def _matrix(self, *names: str) -> Matrix:
        """One matrix that computes several on the same input in one product."""
        weights = [name + ".weight" for name in names]
        rows, columns = sum(self._shapes[w][0] for w in weights), self._shapes[weights[0]][1]
        weight = self._place(weights, (rows, columns), self._dtype)
        if self._dtype != torch.int8:
            return Matrix(weight)
        scale = self._place([w + "_scale" for w in weights], (rows, 1), torch.bfloat16)
        return Matrix(weight, scale.view(-1))

    def _place(self, names: list[str], shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        whole = torch.empty(shape, dtype=dtype, device=self._device)
        rows = [self._shapes[name.removesuffix("_scale")][0] for name in names]
        self.destinations |= zip(names, whole.split(rows), strict=True)
        return whole


def _fill(
    checkpoint: Checkpoint, destinations: dict[str, torch.Tensor], progress: Progress | None
) -> None:
    total, done = sum(tensor.nbytes for tensor in destinations.values()), 0
    for name in checkpoint.in_order(destinations):
        checkpoint.read_into(name, destinations[name])
        done += destinations[name].nbytes
        if progress:
            progress(done, total)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise EngineError(f"device {name!r} is none of auto, cpu, cuda, cuda:N")
    if device.type == "cpu" and device.index:
        raise EngineError(f"device {name!r}: there is but one CPU, `cpu`")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(f"device {name!r}: {_no_cuda()}; `auto` takes what there is")
    return device


def _no_cuda() -> str:
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA: install one with it"
    if not torch.cuda.device_count():
        return "PyTorch sees no CUDA device: is NVIDIA's driver there (`nvidia-smi`)?"
    return f"PyTorch sees {torch.cuda.device_count()} CUDA devices"


def _check_memory(name: str, config: LlamaConfig, device: torch.device, dtype: torch.dtype) -> None:
    """On a CPU an allocation that is too large succeeds, and its first use ends the process."""
    free = free_memory(device)
    if free is not None and free < config.weight_bytes(dtype.itemsize):
        raise EngineError(_too_large(name, config, device, dtype))


def _too_large(name: str, config: LlamaConfig, device: torch.device, dtype: torch.dtype) -> str:
    """What is missing, and what would fit."""
    kind, free = str(dtype).removeprefix("torch."), free_memory(device)
    size = _gib(config.weight_bytes(dtype.itemsize))
    needs = f"{name} needs {size} of memory on {device} as {kind}"
    if free is None:
        return needs
    there = f"; {_gib(free)} are free"
    if dtype == torch.float32 and free > config.weight_bytes(torch.bfloat16.itemsize):
        return f"{needs}{there}: --dtype bfloat16 halves it"
    # The KV cache, too, wants some: a context of Code Llama's own length at least.
    fits = [p for p in PUBLISHED if p.weight_bytes + p.context * p.kv_bytes_per_token < free]
    best = max(fits, key=lambda p: p.weight_bytes, default=None)
    how = " with --dtype bfloat16" if dtype == torch.float32 else ""
    smaller = f"{best.alias} would fit{how}" if best else "no Code Llama fits, `embedded` does"
    return f"{needs}{there}: {smaller}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken on `device`, page cache and swap included; None: unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":") for line in lines)
    return sum(int(fields[key].split()[0]) for key in ("MemAvailable", "SwapFree")) * 1024
