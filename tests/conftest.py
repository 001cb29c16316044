"""Shared fixtures. Set before any import of a kernel: Triton interprets, and new memory is NaN."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cl_lsp.daemon import default_socket
from cl_lsp.holder import holder
from cl_lsp.wire import Address
from tests.checkpoints import make_checkpoint

_empty = torch.empty
USERS = (
    ("XDG_RUNTIME_DIR", "r"),
    ("XDG_STATE_HOME", "s"),
    ("XDG_CONFIG_HOME", "c"),
    ("HOME", "h"),
)


def _poisoned(*args, **kwargs) -> torch.Tensor:
    """torch.empty, with NaN where a test would otherwise pass on memory that happens to be zero."""
    tensor = _empty(*args, **kwargs)
    return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor


torch.empty = _poisoned
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random float32 checkpoint with the embedded model's tokenizer."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Runtime, state and home directories of a user of its own; a daemon left there is stopped."""
    with tempfile.TemporaryDirectory(prefix="clx") as name:  # short: a socket's path has 108 bytes
        folder = Path(name)
        for variable, part in USERS:
            (folder / part).mkdir(mode=0o700)
            monkeypatch.setenv(variable, str(folder / part))
        yield folder
        if holder(Address(uds=default_socket())) is not None:
            cl_lsp("stop")


def cl_lsp(*args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    command = [sys.executable, "-m", "cl_lsp", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
