"""From the user's word for a model to the directory of a checkpoint.

A word is `embedded`, a directory, a hub id with or without `@revision`, or a published model's
short name. Finding never touches the network; pulling does.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from .catalogue import EMBEDDED, human_size, lookup
from .errors import UnknownModel

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
_HUB_ID = re.compile(
    r"(?!.*\.\.)(?P<id>\w[\w.-]{0,95}/\w[\w.-]{0,95})(?:@(?P<revision>\w[\w./-]*))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubModel:
    """A repository at one revision, and where Hugging Face's cache has it."""

    repo_id: str
    revision: str = constants.DEFAULT_REVISION  # a commit, a branch or a tag

    def __str__(self) -> str:
        main = self.revision == constants.DEFAULT_REVISION
        return self.repo_id if main else f"{self.repo_id}@{self.revision}"

    @property
    def folder(self) -> Path:
        return Path(constants.HF_HUB_CACHE, "models--" + self.repo_id.replace("/", "--"))

    @property
    def snapshot(self) -> Path | None:
        """The directory of this revision, whole or not; None if nothing of it is there."""
        try:
            named = (self.folder / "refs" / self.revision).read_text().strip()
        except OSError:
            named = self.revision
        snapshot = self.folder / "snapshots" / named
        return snapshot if _COMMIT.fullmatch(named) and snapshot.is_dir() else None


def find_model(name: str, *, revision: str | None = None) -> Path:
    """The directory of a checkpoint on this disk.

    Raises UnknownModel, which says what would be accepted or how to get the model.
    """
    place = _resolve(name, revision)
    if isinstance(place, Path) and _is_checkpoint(place):
        return place
    if isinstance(place, HubModel):
        snapshot = place.snapshot
        if snapshot is not None and is_whole(snapshot):
            return snapshot
        published = lookup(place.repo_id)
        size = f" ({human_size(published.weight_bytes)})" if published else ""
        state = "is no directory, and not on this disk" if snapshot is None else "is not whole"
        raise UnknownModel(f"{place} {state}: `cl-lsp pull {place}` downloads it{size}")
    layout = "a directory with a config.json (or Meta's params.json and consolidated.*.pth)"
    where = "not found" if place is None else f"{place} is not {layout}"
    raise UnknownModel(
        f"no model {name!r} ({where}): give '{EMBEDDED}' or the directory of a checkpoint, or "
        "a model of the hub such as codellama/CodeLlama-7b-hf; `cl-lsp models` lists them"
    )


def check_name(name: str) -> None:
    """Raises UnknownModel for what is neither on this disk nor, by its form, on the hub."""
    if not isinstance(_resolve(name), HubModel):
        find_model(name)


def canonical_name(name: str) -> str:
    """The one name of a model, however it is spelled: a path, or a hub id with its revision."""
    try:
        place = _resolve(name)
    except UnknownModel:
        return name
    if name == EMBEDDED or place is None:
        return name
    return str(place if isinstance(place, HubModel) else place.resolve())


def pull(name: str, revision: str | None = None) -> Path:
    """The directory of a model, in the hub's newest version of `revision`; downloads what lacks.

    A broken-off download goes on where it stopped. Raises UnknownModel, HubUnreachable,
    GatedModel, DiskFull or CannotPull.
    """
    place = _resolve(name, revision)
    if not isinstance(place, HubModel):
        return find_model(name, revision=revision)
    fixed = _COMMIT.fullmatch(place.revision) or constants.is_offline_mode()
    if fixed and place.snapshot is not None and is_whole(place.snapshot):
        return place.snapshot
    from .download import download  # half a second of imports

    return download(place.repo_id, place.revision)


def ensure(name: str, *, revision: str | None = None) -> Path:
    """The directory of a model: what is on this disk, else what `pull` brings, which see."""
    try:
        return find_model(name, revision=revision)
    except UnknownModel:
        return pull(name, revision)


def on_disk(repo_id: str) -> Path | None:
    """A whole snapshot of a repository: its main branch's, else any that was pinned."""
    model = HubModel(repo_id)
    snapshots = [model.snapshot, *sorted(model.folder.glob("snapshots/*"))]
    return next((found for found in snapshots if found and is_whole(found)), None)


def is_whole(snapshot: Path) -> bool:
    """Whether it has its config and every file of weights that its index names."""
    if not (snapshot / "config.json").is_file():
        return _is_metas(snapshot)
    for weights in ("model.safetensors", "pytorch_model.bin"):
        if (snapshot / weights).is_file():
            return True
        try:
            index = json.loads((snapshot / f"{weights}.index.json").read_text())
            return all((snapshot / shard).is_file() for shard in index["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue
    return False


def _is_checkpoint(folder: Path) -> bool:
    """Whether it says what model it is; whether the weights are there is seen on reading."""
    return (folder / "config.json").is_file() or (folder / "params.json").is_file()


def _is_metas(folder: Path) -> bool:
    return (folder / "params.json").is_file() and any(folder.glob("consolidated.*.pth"))


def _resolve(name: str, revision: str | None = None) -> Path | HubModel | None:
    """What a word stands for; a directory before a hub id. None: nothing by its form.

    Raises UnknownModel if the word and `revision` do not go together.
    """
    path = EMBEDDED_FOLDER if name == EMBEDDED else Path(os.path.expanduser(name))
    if os.path.exists(path):
        if revision:
            raise UnknownModel(f"{name!r} is no model of the hub: it has no revision {revision!r}")
        return path
    word, at, pinned = name.partition("@")
    if published := lookup(word):
        gated = word.lower() == published.gated_id.lower()
        name = (published.gated_id if gated else published.hub_id) + at + pinned
    match = _HUB_ID.fullmatch(name)
    if match is None:
        return None
    if revision and match["revision"] not in (None, revision):
        raise UnknownModel(f"{name!r} and revision {revision!r}: give one revision, not two")
    return HubModel(match["id"], revision or match["revision"] or constants.DEFAULT_REVISION)
