"""What a model on this disk is, from its small files alone: no weights are read, no torch."""

from dataclasses import dataclass
from pathlib import Path

from .catalogue import Identity, identify
from .config import LlamaConfig, read_config
from .hub import find_model
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class Facts:
    name: str  # the user's word for it
    folder: Path
    config: LlamaConfig
    tokenizer: Tokenizer
    identity: Identity


def read_facts(name: str, *, revision: str | None = None) -> Facts:
    """Of what `hub.find_model` finds. Raises UnknownModel or BrokenCheckpoint."""
    folder = find_model(name, revision=revision)
    config, tokenizer = read_config(folder), Tokenizer.open(folder)
    identity = identify(
        [name, str(folder.resolve()), config.name],
        layers=config.layers,
        dim=config.dim,
        can_infill=tokenizer.infill is not None,
    )
    return Facts(name, folder, config, tokenizer, identity)
