"""One model's files, from the hub into Hugging Face's cache.

The library lays out the cache and fetches what is small. Weights are fetched here: the library
throws away what has come of a broken-off file (huggingface_hub#4196), and a shard has 10 GB.
"""

import errno
import hashlib
import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, get_token, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import get_hf_file_metadata, repo_folder_name
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (
    WeakFileLock,
    build_hf_headers,
    get_session,
    hf_raise_for_status,
    tqdm,
)

from .catalogue import human_size, lookup
from .errors import CannotPull, DiskFull, EngineError, GatedModel, HubUnreachable, UnknownModel

SMALL_FILES = frozenset(
    (
        "config.json",
        "generation_config.json",
        "tokenizer.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    )
)
META_FILES = frozenset(("params.json", "tokenizer.model"))
RETRIES = 5
RETRY_WAIT_S = 1.0


def download(repo_id: str, revision: str) -> Path:
    """The snapshot directory of a model at `revision`, fetched where it is not there yet.

    Raises UnknownModel, HubUnreachable, GatedModel, DiskFull or CannotPull.
    """
    with _explained(repo_id, revision):
        if constants.is_offline_mode():
            raise OfflineModeIsEnabled
        api = HfApi()
        commit = api.model_info(repo_id, revision=revision).sha or revision
        tree = api.list_repo_tree(repo_id, revision=commit, recursive=True)
        sizes = {file.path: file.size for file in tree if isinstance(file, RepoFile)}
        weights, rest = choose(sizes)
        if not weights:
            raise UnknownModel(
                f"{repo_id} has no weights that can be read: neither model*.safetensors, nor "
                "pytorch_model*.bin, nor Meta's consolidated.*.pth"
            )
        folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo_id, repo_type="model"))
        files = [_remote_file(repo_id, commit, name, sizes[name], folder) for name in weights]
        missing = [file for file in files if not file.blob.exists()]
        _check_room(repo_id, folder, missing, sum(sizes[name] for name in rest))
        for file in missing:
            file.fetch(lock=folder.parent / ".locks" / folder.name / f"{file.blob.name}.lock")
        # Only now is there a snapshot: links to the weights, and the small files.
        return Path(
            snapshot_download(
                repo_id, revision=revision, allow_patterns=weights + rest, tqdm_class=_Silent
            )
        )


def choose(paths: Collection[str]) -> tuple[list[str], list[str]]:
    """Of a repository's files the weights and the small ones to fetch: one layout, never two.

    >>> choose(["config.json", "model.safetensors", "pytorch_model.bin", "README.md"])
    (['model.safetensors'], ['config.json'])
    """
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        index = f"{stem}{suffix}.index.json"
        pattern = rf"{stem}-\d+-of-\d+\{suffix}" if index in paths else re.escape(stem + suffix)
        weights = sorted(path for path in paths if re.fullmatch(pattern, path))
        if weights and "config.json" in paths:
            return weights, sorted((SMALL_FILES | {index}) & set(paths))
    weights = sorted(path for path in paths if re.fullmatch(r"consolidated\.\d+\.pth", path))
    return (weights, sorted(META_FILES & set(paths))) if "params.json" in paths else ([], [])


@dataclass(frozen=True)
class RemoteFile:
    """A file of weights, and the blob that it becomes in the cache: named by its content's hash."""

    name: str
    url: str
    size: int  # bytes
    blob: Path

    @property
    def partial(self) -> Path:
        return self.blob.with_name(self.blob.name + ".incomplete")

    @property
    def missing_bytes(self) -> int:
        return self.size - (self.partial.stat().st_size if self.partial.exists() else 0)

    def fetch(self, lock: Path) -> None:
        """Go on with what has come, until the blob is there; one process at a time.

        Raises CannotPull if it came damaged, HubUnreachable, and what the hub's answers mean.
        """
        lock.parent.mkdir(parents=True, exist_ok=True)
        self.blob.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not self.blob.exists():
                self._complete()
                self.partial.rename(self.blob)

    def _complete(self) -> None:
        with self.partial.open("a+b") as file:
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256")
            with tqdm(
                desc=self.name,
                initial=file.tell(),
                total=self.size,
                unit="B",
                unit_scale=True,
                disable=None,  # on a terminal only
            ) as bar:
                for chunk in self._chunks(file.tell()):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
            right = file.tell() == self.size
        # A large file is named by its sha256; a small one by git's hash, which is not checked.
        if len(self.blob.name) == len(digest.hexdigest()):
            right = right and digest.hexdigest() == self.blob.name
        if not right:
            self.partial.unlink()
            raise CannotPull(f"{self.name} came damaged and was thrown away; pull again")

    def _chunks(self, have: int) -> Iterator[bytes]:
        """The file from byte `have` on, over as many connections as it takes."""
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        failures = 0  # in a row, without a byte
        while have < self.size:
            start, reason = have, None
            if have:
                headers["Range"] = f"bytes={have}-"
            wait = constants.HF_HUB_DOWNLOAD_TIMEOUT
            try:
                with get_session().stream(
                    "GET", self.url, headers=headers, timeout=wait
                ) as response:
                    hf_raise_for_status(response)
                    known = 0 if response.status_code == 206 else have  # 200: all of it again
                    for chunk in response.iter_bytes():
                        new = chunk[known:]
                        known -= len(chunk) - len(new)
                        have += len(new)
                        yield new
            except httpx2.TransportError as error:
                reason = error
            failures = 0 if have > start else failures + 1
            if failures > RETRIES:
                raise HubUnreachable(
                    f"{self.name} broke off at {human_size(have)} of {human_size(self.size)} "
                    f"({reason or 'the hub sends nothing'}); pull again to go on from there"
                ) from reason
            if have < self.size:
                time.sleep(RETRY_WAIT_S)


def _remote_file(repo_id: str, commit: str, name: str, size: int, folder: Path) -> RemoteFile:
    url = hf_hub_url(repo_id, name, revision=commit)
    metadata = get_hf_file_metadata(url)
    if metadata.etag is None:
        raise CannotPull(f"{constants.ENDPOINT} names no ETag for {name}: it is no hub")
    return RemoteFile(name, url, metadata.size or size, folder / "blobs" / metadata.etag)


def _check_room(repo_id: str, folder: Path, missing: list[RemoteFile], rest: int) -> None:
    needed = sum(file.missing_bytes for file in missing) + rest
    there = next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise DiskFull(
            f"{repo_id} needs {human_size(needed)} more below {folder.parent}, where "
            f"{human_size(free)} are free: make room, or set HF_HOME to a larger disk"
        )


class _Silent(tqdm):
    """The bars of the library's own part, which is small, would only wipe out ours."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs | {"disable": True})


@contextmanager
def _explained(repo_id: str, revision: str) -> Iterator[None]:
    """Turns what the library raises into what a user can act on."""
    try:
        yield
    except HFValidationError as error:
        raise UnknownModel(f"{repo_id} cannot be a model of the hub: {error}") from error
    except (OSError, httpx2.HTTPError) as error:
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        raise _explain(cause or error, repo_id, revision) from error


def _explain(error: BaseException, repo_id: str, revision: str) -> EngineError:
    hub, published = constants.ENDPOINT, lookup(repo_id)
    gated = published is not None and repo_id == published.gated_id
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, OfflineModeIsEnabled):
        return HubUnreachable(
            f"offline mode is on, and {repo_id} is not whole on this disk: unset HF_HUB_OFFLINE "
            "(and TRANSFORMERS_OFFLINE) to pull it"
        )
    if isinstance(error, GatedRepoError) or (gated and status in (401, 403)):
        return _gated(repo_id)
    if isinstance(error, RevisionNotFoundError):
        return UnknownModel(f"{repo_id} has no revision {revision!r}: see {hub}/{repo_id}/commits")
    # 401 without a token is also how the hub answers for what is not there.
    if isinstance(error, RepositoryNotFoundError) or (status == 401 and not get_token()):
        return UnknownModel(
            f"{hub} has no model {repo_id}, or shows it only to those who log in "
            "(`hf auth login` or HF_TOKEN); `cl-lsp models` lists what is published"
        )
    if status in (401, 403):
        return GatedModel(
            f"{hub} refuses access to {repo_id} with your token, if any: log in again with "
            "`hf auth login`, or set HF_TOKEN to one that may read it"
        )
    if status is not None:
        return CannotPull(f"{hub} answered {status} for {repo_id}; try again later")
    if isinstance(error, httpx2.HTTPError | LocalEntryNotFoundError):
        return HubUnreachable(
            f"cannot reach {hub} ({error}): check the network and HF_ENDPOINT; what is on this "
            "disk works without it"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"the disk of {constants.HF_HUB_CACHE} is full: make room and pull again, it goes on "
            "where it stopped"
        )
    return CannotPull(f"cannot write {repo_id} below {constants.HF_HUB_CACHE}: {error}")


def _gated(repo_id: str) -> GatedModel:
    page = f"{constants.ENDPOINT}/{repo_id}"
    token = (
        "your token shows no access: the licence may not be granted yet"
        if get_token()
        else "then log in with `hf auth login` or set HF_TOKEN"
    )
    published = lookup(repo_id)
    twin = f"; {published.hub_id} is the same model without a gate" if published else ""
    return GatedModel(f"{repo_id} is gated: accept its licence at {page}, {token}{twin}")
