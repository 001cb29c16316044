"""The engine on a GPU, for `bench.py --gpu`: steps against the read floor, prefill, a typing trace
over HTTP, start-up, memory, and how far the logits are from float32, beside transformers.
"""

import functools
import gc
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import torch
from bench_model import (
    config_of,
    know_by_heart,
    published,
    random_llama,
    weight_bytes,
    write_checkpoint,
)
from bench_peers import Peer, Result
from bench_texts import TYPING, held_out
from cl_engine.catalogue import Published
from cl_engine.core import CHUNK, PAGE, Core
from cl_engine.graphs import KernelMachine
from cl_engine.loader import LoadedModel, load_model
from cl_engine.models.llama import Llama, Span
from cl_engine.prompt import Prompt
from cl_engine.request import Event, Limits, Request, TextEvent
from cl_engine.sampling import SamplingParams
from cl_engine.tokenizer import Tokenizer

sys.path.append(str(Path(__file__).parents[1] / "kernels"))  # behind: it, too, has a bench.py
sys.path.append(str(Path(__file__).parents[1]))

from timing import read_ceiling

from tests.checkpoints import make_tokenizer

KEYS = 24  # of the typing trace
STEPS = {  # name: cached tokens of each sequence, and how many new rows each has
    "1 row, 256 cached": ([256], 1),
    "1 row, 2,048 cached": ([2048], 1),
    "1 row, 16,384 cached": ([16368], 1),
    "8 rows of one, 2,048 cached": ([2048], 8),
    "16 rows of one, 2,048 cached": ([2048], 16),
    "8 sequences, 256 cached": ([256] * 8, 1),
    "8 sequences, 2,048 cached": ([2048] * 8, 1),
}


@dataclass
class Gpu:
    """What the measurements share, made when first asked for. `repeats` of everything timed."""

    folder: Path
    repeats: int = 20
    device: str = "cuda"  # or "cpu", where the kernels are interpreted, in float32: a test
    model: Published = field(default_factory=lambda: published("7b"))

    @cached_property
    def ceiling(self) -> float:
        """Bytes a second that a kernel which only reads reaches here."""
        return read_ceiling()

    @cached_property
    def checkpoint(self) -> Path:
        """`model` with random weights on disk, in the page cache."""
        folder = self.folder / "model"
        folder.mkdir(parents=True)
        make_tokenizer(folder / "tokenizer.model", self.model.vocab)
        llama = self.random(self.model)
        know_by_heart(llama, Tokenizer.open(folder).encode(typed(KEYS + 40)))
        write_checkpoint(llama, folder)
        del llama
        self.clear()
        return folder

    @property
    def dtype(self) -> str:
        return "bfloat16" if self.device == "cuda" else "float32"

    def random(self, model: Published) -> Llama:
        return random_llama(config_of(model), self.device, getattr(torch, self.dtype))

    def load(self) -> LoadedModel:
        return load_model(str(self.checkpoint), device=self.device, dtype=self.dtype)

    def clear(self) -> None:
        """Give back the memory of what is no longer used, so that others see it free."""
        gc.collect()
        torch.cuda.empty_cache()


def ceilings(gpu: Gpu) -> Result:
    return {"read_gb_s": round(gpu.ceiling / 1e9, 1)}


def machine_of(llama: Llama, tokens: int) -> KernelMachine:
    """With a KV cache of so many tokens."""
    pool = llama.new_pool(-(-tokens // PAGE), PAGE)
    for part in (*pool.keys, *pool.values):
        part.normal_()
    return KernelMachine(llama, pool, CHUNK[llama.device.type])


def steps(gpu: Gpu, alias: str) -> Result:
    """Steps of one model in their CUDA graphs, against the bytes that they read."""
    gpu.clear()
    llama = gpu.random(published(alias))
    wanted = STEPS
    if alias != "7b":
        wanted = {n: STEPS[n] for n in ("1 row, 2,048 cached", "8 rows of one, 2,048 cached")}
    most = max(sum(n + rows + PAGE for n in lengths) for lengths, rows in wanted.values())
    machine = machine_of(llama, most)
    found: Result = {}
    for name, (lengths, rows) in wanted.items():
        spans, page = list[Span](), 0
        for cached in lengths:
            count = -(-(cached + rows) // PAGE)
            spans.append(Span([1] * rows, cached, list(range(page, page + count)), rows))
            page += count
        ms = statistics.median(machine.time(spans, gpu.repeats))
        kv = sum(span.end for span in spans) * llama.token_bytes
        floor = (weight_bytes(llama) + kv) / gpu.ceiling * 1e3
        found[name] = {
            "ms": round(ms, 4),
            "floor_ms": round(floor, 4),
            "of_floor": round(floor / ms, 4),
        }

    def ratio(a: str, b: str) -> float:
        return round(found[a]["ms"] / found[b]["ms"], 4)

    found["8_rows_to_1"] = ratio("8 rows of one, 2,048 cached", "1 row, 2,048 cached")
    if alias == "7b":
        batch, one = "8 sequences, 256 cached", "1 row, 256 cached"
        found["8_sequences_to_1_at_256"] = ratio(batch, one)
    return found


def answers(gpu: Gpu, lengths: tuple[int, ...] = (64, 512, 2048, 8192), tokens: int = 64) -> Result:
    """What the engine's loop adds to a step: tokens of a plain answer, and reading a prompt."""
    model = gpu.load()
    core = Core(
        model,
        pages=2 * max(lengths) // PAGE,
        machine=lambda llama, pool: KernelMachine(llama, pool, CHUNK[gpu.device]),
        speculate=False,
    )

    def ask(ids: list[int], tokens: int) -> list[float]:
        """Seconds until each token."""
        times: list[float] = []

        def deliver(event: Event) -> None:
            if isinstance(event, TextEvent):
                times.extend([time.perf_counter()] * len(event.tokens))

        limits = Limits(tokens, ignore_eos=True)
        began = time.perf_counter()
        core.scheduler.add(Request(Prompt(ids, 0), limits, SamplingParams(), deliver))
        core.run()
        return [at - began for at in times]

    random = torch.Generator().manual_seed(0)
    prompts = iter(torch.randint(1000, 8000, (40, max(lengths)), generator=random).tolist())
    middle, few = lengths[len(lengths) // 2], min(3, gpu.repeats)
    ask(next(prompts)[:middle], 2)
    prefill = {
        str(n): round(1e3 * statistics.median(ask(next(prompts)[:n], 1)[0] for _ in range(few)), 2)
        for n in lengths
    }
    long = next(prompts)[:middle]
    times = [ask(long, tokens) for _ in range(few)]
    token = statistics.median(b - a for own in times for a, b in zip(own, own[1:], strict=False))
    return {"prefill_ms": prefill, f"token_ms_at_{middle}": round(1e3 * token, 4)}


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[HTTPConnection, float]]:
    """A daemon of its own process, and when it was launched."""
    with tempfile.TemporaryDirectory(prefix="clb") as name:
        uds = Path(name) / "e.sock"
        command = [sys.executable, "-m", "cl_engine", "serve", str(folder), "--uds", str(uds)]
        log = Path(name) / "log"
        began = time.perf_counter()
        with log.open("w") as file:
            process = subprocess.Popen([*command, *options], stdout=file, stderr=file)
        try:
            while "serving " not in (said := log.read_text()):
                if process.poll() is not None:
                    raise RuntimeError(said)
                time.sleep(0.01)
            with closing(UnixConnection(uds)) as http:
                yield http, began
        finally:
            process.terminate()
            process.wait(60)


class UnixConnection(HTTPConnection):
    """The standard library's client: one of Python's fuller ones adds 2 ms to each request."""

    def __init__(self, path: Path):
        super().__init__("engine", timeout=600)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def streamed(http: HTTPConnection, body: Result) -> tuple[list[float], Result]:
    """Seconds until each event with text, and until the end; and the last event: its counts."""
    began, times = time.perf_counter(), list[float]()
    last: Result = {}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"content-type": "application/json"}
    http.request("POST", "/v1/completions", json.dumps(body | options), headers)
    response = http.getresponse()
    if response.status != 200:
        raise RuntimeError(response.read().decode())
    while line := response.readline():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line.removeprefix(b"data: "))
        if event.get("error"):
            raise RuntimeError(event["error"])
        last = event
        if any(choice["text"] for choice in event["choices"]):
            times.append(time.perf_counter() - began)
    return [*times, time.perf_counter() - began], last


def typed(keys: int) -> str:
    """What stands before the cursor after so many keys."""
    place = held_out(TYPING, 6000, 2000, keys)
    return place.prefix + place.typed


def typing(gpu: Gpu, drafts: bool, keys: int = KEYS, tokens: int = 32) -> Result:
    """A line typed into a file, a key after the other, each answered before the next one comes.

    The prompt is in the cache but for the key, as always when one types; suffix first. Of random
    weights the answers repeat themselves, so drafts are right more often than in real text.
    """
    place = held_out(TYPING, 6000, 2000, keys)
    with served(gpu.checkpoint, *([] if drafts else ["--no-drafts"])) as (http, began):
        firsts, wholes, ends = list[float](), list[float](), list[Result]()
        started = 0.0
        for key in range(keys + 1):
            body = {
                "prompt": place.prefix + place.typed[:key],
                "suffix": place.suffix,
                "max_tokens": tokens,
                "temperature": 0,
                "lane": "inline",
            }
            times, end = streamed(http, body)
            if key == 0:
                started = time.perf_counter() - began
                continue
            firsts.append(times[0])
            wholes.append(times[-1])
            ends.append(end)
        used = used_memory()
    engine = [end["timings"] for end in ends]
    return {
        "keys": keys,
        "tokens": statistics.median(end["usage"]["completion_tokens"] for end in ends),
        "first_ms": round(1e3 * statistics.median(firsts), 2),
        "whole_ms": round(1e3 * statistics.median(wholes), 2),
        "of_that_engine_first_ms": statistics.median(
            t["queue_ms"] + t["prefill_ms"] for t in engine
        ),
        "of_that_engine_decode_ms": statistics.median(t["decode_ms"] for t in engine),
        "slowest_first_ms": round(1e3 * max(firsts), 2),
        "launch_to_first_answer_s": round(started, 2),
        "device_memory_used": used,
    }


def used_memory() -> int:
    """Bytes in use on the device, by everybody."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.check_output(command, text=True).split()[0]) << 20


def start(gpu: Gpu) -> Result:
    """From the daemon's launch to its first answer: with no kernel compiled yet, and again.

    Memory is what the whole device has in use then, less what it had before.
    """
    cache = gpu.folder / "compiled"
    shutil.rmtree(cache, ignore_errors=True)
    os.environ["TRITON_CACHE_DIR"] = str(cache)
    body: Result = {"prompt": "def add(a, b):", "suffix": "", "max_tokens": 1, "temperature": 0}
    gpu.checkpoint  # noqa: B018  (made before the clock runs)
    gpu.clear()
    before = used_memory()
    found: Result = {}
    kv = 1 << 30
    for name in ("cold_s", "warm_s"):
        files = sum(1 for _ in cache.rglob("*")) if cache.exists() else 0
        with served(gpu.checkpoint, "--context", "2048", "--kv-memory", "1") as (http, began):
            streamed(http, body)
            found[name] = round(time.perf_counter() - began, 2)
            used = used_memory() - before
        found[f"compiled_by_{name.removesuffix('_s')}"] = sum(1 for _ in cache.rglob("*")) - files
    weights = sum(f.stat().st_size for f in gpu.checkpoint.glob("*.safetensors"))
    found["memory_beside_weights_and_kv_gb"] = round((used - weights - kv) / 1e9, 3)
    del os.environ["TRITON_CACHE_DIR"]
    return found


def transformers_peer(gpu: Gpu, length: int = 1024, rows: int = 64) -> Result:
    """transformers with the same weights: its times, and whose logits are how far from float32."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    random = torch.Generator().manual_seed(1)
    vocab = gpu.model.vocab
    ids = torch.randint(0, vocab, (1, length), generator=random)
    logits: dict[str, torch.Tensor] = {}
    found: Result = {}
    for name, dtype in (("float32", torch.float32), ("transformers", torch.bfloat16)):
        model: Any = AutoModelForCausalLM.from_pretrained(gpu.checkpoint, dtype=dtype)
        model.to(gpu.device)
        with torch.inference_mode():
            out = model(ids.to(gpu.device), logits_to_keep=rows)
            logits[name] = out.logits[0].float().cpu()
            if dtype == torch.bfloat16:
                found |= their_times(gpu, model, 2 * length)
        del model, out
        gpu.clear()
    model = gpu.load()
    pool = model.llama.new_pool(length // PAGE, PAGE)
    machine = KernelMachine(model.llama, pool, CHUNK[gpu.device])
    pages, known = list(range(length // PAGE)), ids[0].tolist()

    def ours(first: int, size: int) -> torch.Tensor:
        """In steps of `size` rows, from `first` on; the last `rows` tokens' logits."""
        got: list[torch.Tensor] = []
        for at in range(first, length, size):
            new = known[at : at + size]
            asked = min(len(new), max(0, at + len(new) - (length - rows)))
            for row in machine.launch([Span(new, at, pages, asked)], [None] * asked)():
                assert isinstance(row, torch.Tensor)
                got.append(row)
        return torch.stack(got)

    logits["ours, prefill"] = ours(0, CHUNK[gpu.device])
    for size in (1, 8, 16):
        logits[f"ours, {size} at a time"] = ours(length - rows, size)
    want = logits.pop("float32")
    errors = {k: float((got - want).norm() / want.norm()) for k, got in logits.items()}
    found["logits_from_float32"] = {k: round(e, 6) for k, e in errors.items()}
    theirs = errors.pop("transformers")
    found["worst_to_transformers"] = round(max(errors.values()) / theirs, 3)
    return found


def their_times(gpu: Gpu, model: Any, length: int) -> Result:
    """Milliseconds of its generate: a prompt of so many tokens, and a token behind it."""
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    peer = Peer("transformers", model, torch.get_num_threads())
    ids = torch.randint(0, gpu.model.vocab, (length,)).tolist()
    replies = [peer.ask(ids, 20) for _ in range(3)]
    first, token = (
        statistics.median(getattr(r, n) for r in replies) for n in ("first_s", "token_s")
    )
    return {
        f"transformers_prefill_{length}_ms": round(1e3 * first, 2),
        f"transformers_token_ms_at_{length}": round(1e3 * token, 3),
    }


MEASURES: dict[str, Callable[[Gpu], Result]] = {
    "ceilings": ceilings,
    "steps_7b": functools.partial(steps, alias="7b"),
    "steps_13b": functools.partial(steps, alias="13b"),
    "steps_34b": functools.partial(steps, alias="34b"),
    "answers": answers,
    "typing": functools.partial(typing, drafts=False),
    "typing_with_drafts": functools.partial(typing, drafts=True),
    "start": start,
    "beside_transformers": transformers_peer,
}
