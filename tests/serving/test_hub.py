"""Pulling from a hub, and finding what was pulled: over real HTTP, from a hub on loopback."""

import errno
import hashlib
import json
import os
import pty
import random
import shutil
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from cl_engine import download, hub
from cl_engine.catalogue import PUBLISHED
from cl_engine.errors import (
    CannotPull,
    DiskFull,
    GatedModel,
    HubUnreachable,
    UnknownModel,
)
from huggingface_hub import close_session, constants, snapshot_download

from tests.conftest import cl_lsp
from tests.serving.fake_hub import FakeHub, Files

NAME = "codellama/CodeLlama-7b-hf"
GATED = "meta-llama/CodeLlama-7b-hf"
SMALL: Files = {
    "config.json": b"{}",
    "generation_config.json": b"{}",
    "tokenizer.model": b"pieces",
    "tokenizer_config.json": b"{}",
}
CLUTTER: Files = {"README.md": b"#", "LICENSE": b"x", "flax_model.msgpack": b"x", "a/b.bin": b"x"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub that this process and its children take for huggingface.co, and an empty cache."""
    fake = FakeHub()
    home = tmp_path / "hf"
    for name, value in {
        "ENDPOINT": fake.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": fake.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(download, "RETRY_WAIT_S", 0)
    monkeypatch.setenv("HF_ENDPOINT", fake.url)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    yield fake
    stop(fake)


def stop(fake: FakeHub) -> None:
    fake.close()
    close_session()  # its connections outlive the server


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def weights(seed: int = 0, size: int = 300_000) -> bytes:
    return random.Random(seed).randbytes(size)


def sharded(stem: str = "model", suffix: str = ".safetensors", seed: int = 0) -> Files:
    shards = {f"{stem}-0000{i}-of-00002{suffix}": weights(seed + i) for i in (1, 2)}
    index = {"weight_map": {f"tensor{i}": name for i, name in enumerate(shards)}}
    return shards | {f"{stem}{suffix}.index.json": json.dumps(index).encode()}


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def partials() -> list[Path]:
    return list(Path(constants.HF_HUB_CACHE).rglob("*.incomplete"))


def test_pull_brings_what_a_model_needs_and_nothing_else(fake: FakeHub) -> None:
    files = SMALL | sharded()
    commit = fake.add(NAME, files | CLUTTER | sharded("pytorch_model", ".bin"))
    pulled = cl_lsp("pull", "7b")
    assert pulled.returncode == 0, pulled.stderr
    folder = Path(pulled.stdout.strip())
    assert folder.name == commit and names(folder) == set(files)
    assert all((folder / name).read_bytes() == data for name, data in files.items())
    assert not fake.asked("pytorch_model-00001-of-00002.bin")

    # Found again without a hub, by every spelling; and by the library, as its own.
    stop(fake)
    assert hub.find_model(NAME) == hub.find_model("CodeLlama-7b-hf") == folder
    assert hub.find_model(f"{NAME}@{commit}") == hub.find_model("7B", revision=commit) == folder
    assert hub.ensure("7b") == folder
    found = cl_lsp("models", "--json")
    row = next(row for row in json.loads(found.stdout) if row["hub_id"] == NAME)
    assert row["on_disk"] and row["path"] == str(folder)
    assert row["disk_bytes"] == sum(map(len, files.values()))
    patterns = ["config.json", "model*", "tokenizer*"]
    assert snapshot_download(NAME, local_files_only=True, allow_patterns=patterns) == str(folder)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"model.safetensors": b"s"} | sharded("pytorch_model", ".bin"), {"model.safetensors"}),
        (sharded("pytorch_model", ".bin"), set(sharded("pytorch_model", ".bin"))),
        ({"pytorch_model.bin": b"b"}, {"pytorch_model.bin"}),
        ({"model.safetensors": b"s", "adapter_model.safetensors": b"a"}, {"model.safetensors"}),
    ],
)
def test_safetensors_before_bin(fake: FakeHub, files: Files, wanted: set[str]) -> None:
    fake.add(NAME, SMALL | CLUTTER | files)
    folder = hub.pull(NAME)
    assert names(folder) == wanted | set(SMALL)
    assert hub.find_model(NAME) == folder


def test_metas_own_layout_where_there_is_no_other(fake: FakeHub) -> None:
    metas = {"params.json": b"{}", "consolidated.00.pth": b"0", "consolidated.01.pth": b"1"}
    fake.add("some/CodeLlama-13b", metas | CLUTTER | {"tokenizer.model": b"pieces"})
    folder = hub.pull("some/CodeLlama-13b")
    assert names(folder) == set(metas) | {"tokenizer.model"}
    assert hub.find_model("some/CodeLlama-13b") == folder


def test_a_repository_without_weights(fake: FakeHub) -> None:
    fake.add("some/dataset", SMALL | CLUTTER)
    with pytest.raises(UnknownModel, match="some/dataset has no weights that can be read"):
        hub.pull("some/dataset")


def test_a_broken_off_pull_goes_on(fake: FakeHub) -> None:
    files = SMALL | sharded()
    fake.add(NAME, files)
    fake.drops, fake.cdn_is_down = [100_000], True
    with pytest.raises(CannotPull, match="answered 503"):
        hub.pull(NAME)
    assert [file.stat().st_size for file in partials()] == [100_000]
    with pytest.raises(UnknownModel, match="cl-lsp pull codellama/CodeLlama-7b-hf"):
        hub.find_model(NAME)
    lines = cl_lsp("models").stdout.splitlines()
    assert next(line for line in lines if line.startswith("CodeLlama-7b-hf ")).endswith(" part")

    fake.cdn_is_down = False
    fake.log.clear()
    folder = hub.pull(NAME)
    assert all((folder / name).read_bytes() == data for name, data in files.items())
    first, second = (hashlib.sha256(files[name]).hexdigest() for name in sorted(files)[2:4])
    assert [request.range for request in fake.asked(first, server="cdn")] == ["bytes=100000-"]
    assert [request.range for request in fake.asked(second, server="cdn")] == [None]
    assert not partials()


@pytest.mark.parametrize("ranges", [True, False])
def test_dropped_connections_cost_nothing_but_a_new_one(fake: FakeHub, ranges: bool) -> None:
    fake.add(NAME, SMALL | {"model.safetensors": weights()})
    fake.drops, fake.cdn_knows_ranges = [70_000, 150_000, 200_000], ranges
    assert (hub.pull(NAME) / "model.safetensors").read_bytes() == weights()
    assert len(fake.asked(hashlib.sha256(weights()).hexdigest(), server="cdn")) == 3 + (not ranges)


def test_a_hub_that_sends_nothing_is_given_up(fake: FakeHub) -> None:
    fake.add(NAME, SMALL | {"model.safetensors": weights()})
    fake.drops = [50_000] + [0] * 9
    with pytest.raises(HubUnreachable, match=r"model.safetensors broke off at 50 kB of 300 kB"):
        hub.pull(NAME)


def test_a_damaged_file_is_thrown_away(fake: FakeHub) -> None:
    fake.add(NAME, SMALL | {"model.safetensors": weights()})
    fake.drops, fake.cdn_is_down = [100_000], True
    with pytest.raises(CannotPull):
        hub.pull(NAME)
    (partial,) = partials()
    partial.write_bytes(bytes(100_000))  # as a crash leaves it on some file systems
    fake.cdn_is_down = False
    with pytest.raises(CannotPull, match="model.safetensors came damaged"):
        hub.pull(NAME)
    assert (hub.pull(NAME) / "model.safetensors").read_bytes() == weights()


def test_progress_is_shown_on_a_terminal(fake: FakeHub) -> None:
    fake.add(NAME, SMALL | sharded())
    shown, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    command = [sys.executable, "-m", "cl_lsp", "pull", NAME]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, timeout=60)
    os.close(terminal)
    text = os.read(shown, 1 << 16).decode()
    os.close(shown)
    assert done.returncode == 0, text
    for shard in (1, 2):
        assert f"model-0000{shard}-of-00002.safetensors: 100%" in text
    assert "300k/300k" in text and "Fetching" not in text


def test_a_pinned_revision(fake: FakeHub) -> None:
    old = fake.add(NAME, SMALL | {"model.safetensors": weights(1)})
    new = fake.add(NAME, SMALL | {"model.safetensors": weights(2)})
    fake.add(NAME, SMALL | {"model.safetensors": weights(3)}, branch="next")
    pinned = hub.pull(f"{NAME}@{old}")
    assert pinned.name == old and (pinned / "model.safetensors").read_bytes() == weights(1)
    with pytest.raises(UnknownModel, match="is no directory, and not on this disk"):
        hub.find_model(NAME)
    asked = len(fake.log)
    assert hub.pull(NAME, revision=old) == pinned and len(fake.log) == asked  # nothing to ask
    assert hub.pull(NAME).name == new
    branch = cl_lsp("pull", NAME, "--revision", "next")
    assert (Path(branch.stdout.strip()) / "model.safetensors").read_bytes() == weights(3)
    assert hub.find_model(f"{NAME}@next") == Path(branch.stdout.strip())
    assert hub.find_model(NAME).name == new and hub.find_model(NAME, revision=old) == pinned
    with pytest.raises(UnknownModel, match="has no revision 'gone'"):
        hub.pull(f"{NAME}@gone")
    with pytest.raises(UnknownModel, match="one revision, not two"):
        hub.pull(f"{NAME}@next", revision=old)


def test_pull_follows_the_branch(fake: FakeHub) -> None:
    fake.add(NAME, SMALL | {"model.safetensors": weights(1)})
    first = hub.pull(NAME)
    second = fake.add(NAME, SMALL | {"model.safetensors": weights(2)})
    assert hub.ensure(NAME) == first  # what is there will do
    assert hub.pull(NAME).name == second == hub.find_model(NAME).name


def test_a_gated_model(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.add(GATED, SMALL | sharded(), token="hf_good")
    without = cl_lsp("pull", GATED)
    assert without.returncode == 1 and "Traceback" not in without.stderr
    for part in (f"{fake.url}/{GATED}", "`hf auth login`", "HF_TOKEN", NAME):
        assert part in without.stderr
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    with pytest.raises(GatedModel, match="your token shows no access"):
        hub.pull(GATED)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert names(hub.pull(GATED)) == set(SMALL | sharded())
    on_hub = {request.authorization for request in fake.asked(".safetensors")}
    on_cdn = {request.authorization for request in fake.log if request.server == "cdn"}
    assert "Bearer hf_good" in on_hub and on_cdn == {None}  # the token stays with the hub


def test_an_unknown_repository(fake: FakeHub) -> None:
    refused = cl_lsp("pull", "codellama/CodeLlama-8b-hf")
    assert refused.returncode == 2
    assert f"{fake.url} has no model codellama/CodeLlama-8b-hf" in refused.stderr
    for gibberish in (
        "codelama",
        "a/b/c",
        "a--b/c",
        "own/er-.git",
        "~nobody/x/y",
        "x\0y",
        "x" * 5000,
    ):
        with pytest.raises(UnknownModel):
            hub.ensure(gibberish)


def test_no_network(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.add(NAME, SMALL | {"model.safetensors": weights()})
    folder = hub.pull(NAME)
    stop(fake)
    with pytest.raises(HubUnreachable, match=f"cannot reach {fake.url} .*works without it"):
        hub.pull(NAME)
    assert hub.ensure(NAME) == folder


def test_offline_mode(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.add(NAME, SMALL | {"model.safetensors": weights()})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused = cl_lsp("pull", NAME)
    assert refused.returncode == 1 and "offline mode is on" in refused.stderr
    assert "unset HF_HUB_OFFLINE" in refused.stderr and not fake.log
    folder = hub.pull(NAME)
    go_offline(monkeypatch)
    asked = len(fake.log)
    assert hub.pull(NAME) == folder and len(fake.log) == asked


def test_too_little_room(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.add(NAME, SMALL | sharded())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, 500_000))
    with pytest.raises(DiskFull, match=r"needs 600 kB more below .*, where 500 kB are free"):
        hub.pull(NAME)
    assert not fake.asked("", server="cdn")


def test_a_disk_that_fills_up(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.add(NAME, SMALL | {"model.safetensors": weights()})

    class Full(download.tqdm):
        def update(self, n: float | None = 1) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download, "tqdm", Full)
        with pytest.raises(DiskFull, match="pull again, it goes on where it stopped"):
            hub.pull(NAME)
    assert 0 < partials()[0].stat().st_size < 300_000
    assert (hub.pull(NAME) / "model.safetensors").read_bytes() == weights()


def test_a_cache_that_cannot_be_written(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.add(NAME, SMALL | {"model.safetensors": weights()})
    file = Path("file")
    file.touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(file / "hub"))
    with pytest.raises(CannotPull, match=f"cannot write {NAME}"):
        hub.pull(NAME)


def test_a_shard_that_is_missing_makes_a_snapshot_unwhole(fake: FakeHub) -> None:
    files = SMALL | sharded()
    fake.add(NAME, files)
    folder = hub.pull(NAME)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UnknownModel, match=r"is not whole: `cl-lsp pull .*13\.5 GB"):
        hub.find_model(NAME)
    assert hub.pull(NAME) == folder == hub.find_model(NAME)


def test_a_directory_goes_before_the_hub(fake: FakeHub) -> None:
    fake.add(NAME, SMALL | {"model.safetensors": weights()})
    for word in (NAME, "7b"):
        Path(word).mkdir(parents=True)
        with pytest.raises(UnknownModel, match=r"not a directory with a config\.json"):
            hub.ensure(word)
        (Path(word) / "config.json").touch()
        assert hub.ensure(word) == hub.pull(word) == Path(word)
        assert hub.canonical_name(word) == str(Path(word).resolve())
        with pytest.raises(UnknownModel, match="has no revision 'main'"):
            hub.find_model(word, revision="main")
    assert not fake.log
    assert hub.find_model("embedded") == hub.pull("embedded") == hub.EMBEDDED_FOLDER


def test_canonical_names(fake: FakeHub) -> None:
    for word in (NAME, "7b", "CodeLlama-7b", "CODELLAMA/codellama-7B-HF", f"{NAME}@main"):
        assert hub.canonical_name(word) == NAME
    assert hub.canonical_name("7b@next") == f"{NAME}@next"
    assert hub.canonical_name("Meta-Llama/codellama-7b-hf") == GATED
    assert hub.canonical_name("Owner/My-Model") == "Owner/My-Model"
    assert hub.canonical_name("embedded") == "embedded"
    assert hub.canonical_name("nonesuch") == "nonesuch"


def test_the_table_of_models(fake: FakeHub) -> None:
    lines = cl_lsp("models").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in lines if "GB" in line and "·" in line}
    assert list(rows) == [model.name for model in PUBLISHED]
    assert rows["CodeLlama-7b-Instruct-hf"] == [*"✓✓✓·", "13.5", "GB", "524", "MB", "no"]
    assert rows["CodeLlama-34b-Python-hf"] == [*"✓··✓", "67.5", "GB", "197", "MB", "no"]
    listed = json.loads(cl_lsp("models", "--json").stdout)
    assert [row["name"] for row in listed] == ["embedded", *rows]
    assert listed[0]["on_disk"] and not any(row["on_disk"] for row in listed[1:])
    assert listed[3]["capabilities"] == ["completion", "infilling", "chat"]
    assert (listed[3]["weight_bytes"], listed[3]["kv_bytes_per_token"]) == (13_477_093_376, 524_288)


def test_listing_and_finding_stay_light() -> None:
    heavy = (
        "import sys, cl_engine.listing; print(*{'torch', 'httpx2', 'fastapi'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", heavy]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"
