"""Train the embedded model from scratch on one GPU, in three steps; MODEL_CARD.md has the commands.

`tokenizer` makes tokenizer.model out of a corpus (see embedded_corpus.py), `train` makes a bf16
checkpoint in so many minutes, `pack` stores it as int8 with one scale per row.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from embedded_data import CONTEXT, VOCAB, Rows, encode_corpus, read_corpus, train_tokenizer
from embedded_model import (
    HEAD_DIM,
    NORM_EPS,
    ROPE_THETA,
    SHAPES,
    Model,
    Optimiser,
    Shape,
    attention,
    example_bounds,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

INDEX = "model.safetensors.index.json"
COMPILED = 10  # steps before the clock starts

Losses = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]


def batches(args: argparse.Namespace, device: str) -> Iterator[list[Tensor]]:
    """Endless ids, weights and positions, each [rows, length], made by worker processes."""
    began = time.time()
    documents = read_corpus(args.corpus)
    print(f"{len(documents)} documents, read in {time.time() - began:.0f} s", flush=True)
    corpus = encode_corpus(documents[: args.documents], args.tokenizer, args.workers)
    seconds, megabytes = time.time() - began, len(corpus.text) / 1e6
    tokens = len(corpus.tokens) / 1e6
    print(f"{megabytes:.0f} MB, {tokens:.1f} M tokens, encoded at {seconds:.0f} s", flush=True)
    loader = torch.utils.data.DataLoader(
        Rows(corpus, args.tokenizer, args.length),
        batch_size=args.rows,
        num_workers=args.workers,
        prefetch_factor=2,
        pin_memory=device == "cuda",
        multiprocessing_context="fork",  # so that the workers share the corpus
    )
    return iter(loader)


def losses_of(model: Model, length: int, device: str) -> Losses:
    """A function to the weighted loss, the mean outside middles, and the mean inside them."""

    def losses(ids: Tensor, weights: Tensor, positions: Tensor, bounds: Tensor | None):
        with torch.autocast(device, torch.bfloat16):
            logits = model(ids, positions, attention(bounds, length))
        targets = F.pad(ids[1:], (0, 1))
        each = F.cross_entropy(logits.float(), targets, reduction="none")
        total = (each * weights).sum() / weights.sum()
        middle = weights > 1
        with torch.no_grad():
            plain = (each * ~middle * (weights > 0)).sum() / (~middle * (weights > 0)).sum()
            inside = (each * middle).sum() / middle.sum()
        return total, plain, inside

    return losses


class Run:
    """Steps so far against the time, which runs from the end of the compilation."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.step = self.tokens = 0
        self.began: float | None = None
        self.saved = 0.0
        self.log: list[str] = []

    @property
    def seconds(self) -> float:
        return time.time() - self.began if self.began else 0.0

    @property
    def progress(self) -> float:
        return self.seconds / (60 * self.args.minutes)

    @property
    def over(self) -> bool:
        return self.progress >= 1 or (self.args.steps > 0 and self.step >= self.args.steps)

    def learning_rate(self) -> float:
        """Share of the peak: warm-up by steps, then flat, then linear to zero at the end."""
        falling = max(0.0, (1 - self.progress) / (1 - self.args.flat))
        return min(1.0, (self.step + 1) / self.args.warm_up, falling)

    def count(self, tokens: int, losses: tuple[Tensor, Tensor, Tensor]) -> None:
        """A step is done."""
        total, plain, inside = losses
        self.step, self.tokens = self.step + 1, self.tokens + tokens
        if self.step == COMPILED:
            total.item()  # waits for the GPU
            self.began, self.tokens = time.time(), 0
        elif self.began and self.step % self.args.log_every == 0:
            loss, middle = round(float(plain), 4), round(float(inside), 4)
            row = {"step": self.step, "s": round(self.seconds, 1), "loss": loss, "middle": middle}
            self.log.append(json.dumps(row | {"tokens_per_s": round(self.tokens / self.seconds)}))
            print(self.log[-1], flush=True)

    def save(self, model: Model) -> None:
        """Replace the checkpoint in --out; whoever copies it meanwhile finds whole files."""
        out: Path = self.args.out
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=out.name, dir=out.parent) as partial:
            save_sharded(model.state(), Path(partial))
            (Path(partial) / "train-log.json").write_text("\n".join(self.log) + "\n")
            for path in Path(partial).iterdir():
                path.replace(out / path.name)
        self.saved = self.seconds

    def save_if_due(self, model: Model) -> None:
        if self.args.save_every and self.seconds - self.saved > 60 * self.args.save_every:
            self.save(model)


def train(args: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader = batches(args, device)
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    model = Model(SHAPES[args.shape]).to(device)
    if args.resume:
        load(model, args.resume)
    optimiser = Optimiser(model, args.lr, device)
    losses_of_batch = losses_of(model, args.length, device)
    if not args.eager:
        losses_of_batch = torch.compile(losses_of_batch)
    run = Run(args)
    for batch in loader:
        if run.over:
            break
        bounds = None
        if device == "cuda":
            # Found while still on the CPU: the GPU would have to finish its step first.
            bounds = example_bounds(batch[2].view(-1), args.length).to(device, non_blocking=True)
        ids, weights, positions = (t.to(device, non_blocking=True).view(-1) for t in batch)
        share = run.learning_rate()
        losses = losses_of_batch(ids, weights, positions, bounds)
        losses[0].backward()
        optimiser.step(share)
        run.count(len(ids), losses)
        run.save_if_due(model)
    run.save(model)
    print(f"{run.step} steps, {run.tokens / 1e6:.0f} M tokens\ndone", flush=True)


def save_sharded(state: dict[str, Tensor], folder: Path, limit: int = 15 << 20) -> None:
    """Hugging Face's sharded safetensors, no file over `limit` bytes."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in state.items():
        if size + tensor.nbytes > limit and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    index: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        (folder / name).chmod(0o644)  # safetensors lets only the owner read
        index |= dict.fromkeys(shard, name)
    total = sum(t.nbytes for t in state.values())
    content = {"metadata": {"total_size": total}, "weight_map": index}
    (folder / INDEX).write_text(json.dumps(content, indent=1) + "\n")


def read_sharded(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name in sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values())):
        state |= load_file(folder / name)
    return state


@torch.no_grad()
def load(model: Model, folder: Path) -> None:
    """Continue from a checkpoint that `train` wrote (bf16)."""
    state = read_sharded(folder)
    for name, parameter in model.state(torch.float32).items():
        parameter.copy_(state[name])


def pack(args: argparse.Namespace) -> None:
    """int8 with a scale per row, in compressed-tensors' names: `weight` and `weight_scale`."""
    out: dict[str, Tensor] = {}
    for name, tensor in read_sharded(args.checkpoint).items():
        if tensor.ndim == 1:
            out[name] = tensor
            continue
        scale = (tensor.float().abs().amax(1, keepdim=True) / 127).clamp(min=1e-12).bfloat16()
        out[name] = (tensor.float() / scale.float()).round().clamp(-127, 127).to(torch.int8)
        out[name + "_scale"] = scale
    args.out.mkdir(parents=True, exist_ok=True)
    save_sharded(out, args.out, limit=32 << 20)
    (args.out / "tokenizer.model").write_bytes(args.tokenizer.read_bytes())
    config = config_of(SHAPES[args.shape])
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def config_of(shape: Shape) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB,
        "hidden_size": shape.dim,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPS,
        "rope_theta": ROPE_THETA,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16",
        "quantization_config": {"quant_method": "compressed-tensors", "format": "int-quantized"},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("tokenizer")
    p.add_argument("--corpus", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--sample-mb", type=int, default=120)
    p = commands.add_parser("train")
    p.add_argument("--corpus", type=Path, required=True)
    p.add_argument("--tokenizer", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=15)
    p.add_argument("--save-every", type=float, default=3, help="minutes; 0: only at the end")
    p.add_argument("--rows", type=int, default=48, help="rows of 4,096 tokens a step")
    p.add_argument("--shape", choices=SHAPES, default="full")
    p.add_argument("--length", type=int, default=CONTEXT, help="tokens in a row")
    p.add_argument("--resume", type=Path, help="start from this checkpoint's weights")
    p.add_argument("--workers", type=int, default=min(14, os.cpu_count() or 1))
    p.add_argument("--warm-up", type=int, default=100, help="steps")
    p.add_argument("--flat", type=float, default=0.5, help="share of the time before decay begins")
    p.add_argument("--lr", type=float, default=4e-3)
    p.add_argument("--steps", type=int, default=0)
    p.add_argument("--documents", type=int, default=None)
    p.add_argument("--log-every", type=int, default=50)
    p.add_argument("--eager", action="store_true")
    p = commands.add_parser("pack")
    p.add_argument("--shape", choices=SHAPES, default="full")
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--tokenizer", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "tokenizer":
        train_tokenizer(args.corpus, args.out, args.sample_mb << 20)
    elif args.command == "train":
        train(args)
    else:
        pack(args)


if __name__ == "__main__":
    main()
