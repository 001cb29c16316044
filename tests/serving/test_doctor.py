"""`cl-lsp doctor` on this machine, and on those it was written for."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cl_engine import doctor
from cl_engine.doctor import Finding

from tests.conftest import cl_lsp


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_on_this_machine(home: Path) -> None:
    done = cl_lsp("doctor", "--json")
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert found["PyTorch"]["said"].startswith(torch.__version__)
    assert found["embedded model"]["state"] == "ok"
    assert str(home) in found["daemon"]["said"] and "none runs" in found["daemon"]["said"]
    wrong = [finding for finding in found.values() if finding["state"] == "wrong"]
    assert done.returncode == bool(wrong) and all(finding["fix"] for finding in wrong)
    shown = cl_lsp("doctor").stdout
    assert shown.count("\n") >= len(found) and "✓ embedded model  is complete" in shown


def program(folder: Path, name: str, prints: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_a_gpu_that_pytorch_cannot_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert by_name(doctor.gpu())["GPU"].state == "note"
    program(path, "nvidia-smi", "NVIDIA GeForce RTX 4090, 580.1")
    monkeypatch.setattr(torch.version, "cuda", None)
    found = by_name(doctor.gpu())["GPU"]
    assert found.state == "wrong" and "RTX 4090" in found.said and "pip install" in found.fix
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "a driver for CUDA 13.0" in by_name(doctor.gpu())["GPU"].fix


def test_an_old_gpu_without_a_compiler(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("is_available", True),
        ("device_count", 1),
        ("mem_get_info", (5e9, 11e9)),
        ("get_device_name", "NVIDIA GeForce GTX 1080 Ti"),
        ("get_device_capability", (6, 1)),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda *args, value=value: value)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(path / "none"))
    found = by_name(doctor.gpu())
    assert found["GPU"].state == "wrong" and "--kernels torch" in found["GPU"].fix
    assert "5.0 of 11.0 GB free" in found["GPU"].said
    assert found["C compiler"].state == "wrong" and "apt install" in found["C compiler"].fix
    assert "none yet" in found["compiled kernels"].said
    program(path, "gcc", "gcc")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    found = by_name(doctor.gpu())
    assert found["GPU"].state == "ok" and "Python's headers" in found["C compiler"].said


def test_editors(path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SHARE", home)
    assert {finding.state for finding in doctor.editors()} == {"note"}
    for version, state in (("NVIM v0.11.5", "note"), ("NVIM v0.12.0-dev", "ok")):
        program(path, "nvim", version)
        found = by_name(doctor.editors())["editor"]
        assert (found.said, found.state) == (version, state)
    (path / "nvim").unlink()
    program(path, "vim", "VIM - Vi IMproved 9.1")
    found = by_name(doctor.editors())["editor"]
    assert found.state == "note" and "no LSP client" in found.fix
    (Path.home() / ".vim" / "pack" / "any" / "start" / "ale").mkdir(parents=True)
    assert by_name(doctor.editors())["editor"].state == "ok"
    program(path, "vim", "NVIM v0.11.5")
    assert by_name(doctor.editors())["editor"].fix == "ghost text needs Neovim 0.12"
    program(path, "cl-lsp", "cl-lsp")
    assert by_name(doctor.editors())["cl-lsp"].said == str(path / "cl-lsp")
