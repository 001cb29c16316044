"""`cl-lsp doctor`: what this machine has for the engine, and what to do about what it lacks."""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from .errors import EngineError, NotInstalled

State = Literal["ok", "note", "wrong"]
MARKS: dict[State, str] = {"ok": "✓", "note": "–", "wrong": "✗"}
GHOST_TEXT = (0, 12)  # of Neovim
SHARE = Path("/usr/share")
CLIENTS_OF_VIM = ("ale", "vim-lsp", "lsp", "coc.nvim")


@dataclass(frozen=True)
class Finding:
    """`fix`: what to do, if anything. What is `wrong` keeps something from working."""

    what: str
    state: State
    said: str
    fix: str = ""


def python() -> Iterator[Finding]:
    yield Finding("Python", "ok", f"{platform.python_version()} in {sys.prefix}")


def engine(needed: bool) -> Iterator[Finding]:
    """What it finds on this machine or, if it is not installed, only that."""
    try:
        from . import serve  # which imports all that it needs
    except ModuleNotFoundError as error:
        said = f"is not installed ({error})"
        yield Finding("engine", "wrong" if needed else "note", said, NotInstalled.fix)
        return
    assert serve
    for check in (pytorch, gpu, memory, models):
        yield from check()


def pytorch() -> Iterator[Finding]:
    import torch

    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    yield Finding("PyTorch", "ok", f"{torch.__version__}, {cuda}")


def gpu() -> Iterator[Finding]:
    """The driver, each GPU, and what the kernels need to be compiled."""
    import torch

    from .kernels import OLDEST

    smi = _first_line("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    if not torch.cuda.is_available():
        if smi is None:
            yield Finding("GPU", "note", "no NVIDIA driver here: models run on the CPU")
        elif torch.version.cuda is None:
            fix = "install PyTorch with CUDA: pip install --force-reinstall torch"
            yield Finding("GPU", "wrong", f"{smi}, but PyTorch is built without CUDA", fix)
        else:
            fix = f"a driver for CUDA {torch.version.cuda}, or an older PyTorch"
            yield Finding("GPU", "wrong", f"{smi}, but PyTorch cannot use it", fix)
        return
    for index in range(torch.cuda.device_count()):
        free, size = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        said = f"cuda:{index}, {name}, {free / 1e9:.1f} of {size / 1e9:.1f} GB free"
        capability = torch.cuda.get_device_capability(index)
        old = capability < OLDEST
        fix = "--kernels torch (in an editor the option `kernels`)" if old else ""
        said += f"; compute capability {capability[0]}.{capability[1]}"
        yield Finding("GPU", "wrong" if old else "ok", said, fix)
    yield from _compiler()


def _compiler() -> Iterator[Finding]:
    from .kernels import compile_cache

    try:
        yield Finding("Triton", "ok", importlib.metadata.version("triton"))
    except importlib.metadata.PackageNotFoundError:
        yield Finding("Triton", "wrong", "is not installed", "pip install triton")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    headers = Path(sysconfig.get_paths()["include"], "Python.h").is_file()
    if compiler and headers:
        yield Finding("C compiler", "ok", f"{compiler}, with Python's headers")
    else:
        lacks = "a C compiler" if not compiler else "Python's headers"
        fix = "Debian: apt install gcc python3-dev"
        yield Finding("C compiler", "wrong", f"Triton needs {lacks}", fix)
    cache = Path(os.environ.get("TRITON_CACHE_DIR") or compile_cache())
    kernels = sum(1 for _ in cache.rglob("*.cubin")) if cache.is_dir() else 0
    said = f"{kernels} in {cache}" if kernels else "none yet: the first start takes half a minute"
    yield Finding("compiled kernels", "ok", said)


def memory() -> Iterator[Finding]:
    import torch

    from .loader import free_memory

    free = free_memory(torch.device("cpu"))
    if free is not None:
        yield Finding("memory", "ok", f"{free / 1e9:.1f} GB free, {os.cpu_count()} cores")


def models() -> Iterator[Finding]:
    from .facts import read_facts
    from .listing import rows

    try:
        read_facts("embedded")
        yield Finding("embedded model", "ok", "is complete")
    except EngineError as error:
        yield Finding("embedded model", "wrong", str(error), "install cl-lsp again")
    here = [row.name for row in rows() if row.path is not None and row.hub_id is not None]
    fix = "" if here else "cl-lsp pull 7b"
    yield Finding(
        "Code Llama", "ok" if here else "note", ", ".join(here) or "none on this disk", fix
    )


def editors() -> Iterator[Finding]:
    command = shutil.which("cl-lsp")
    fix = "" if command else "link .venv/bin/cl-lsp to a folder of PATH, or give editors its path"
    yield Finding("cl-lsp", "ok" if command else "note", command or "is not on PATH", fix)
    found = False
    for name in ("nvim", "code", "hx", "emacs", "vim"):
        if (version := _first_line(name, "--version")) is not None:
            found = True
            fix = _lacking(name, version)
            yield Finding("editor", "note" if fix else "ok", version, fix)
    if not found:
        yield Finding("editor", "note", "none that is known is on PATH")


def _lacking(name: str, version: str) -> str:
    """What an editor needs besides, if anything."""
    if version.startswith("NVIM"):  # which some call vim
        return "ghost text needs Neovim 0.12" if _numbers(version) < GHOST_TEXT else ""
    if name == "vim" and not any(folder.is_dir() for folder in _clients_of_vim()):
        return "it has no LSP client of its own: install ALE (docs/vim.md)"
    return ""


def _clients_of_vim() -> Iterator[Path]:
    """Where a plugin that speaks LSP would be: Vim's packages, plugin managers, Debian's."""
    yield SHARE / "vim-ale"
    for top in (Path.home() / ".vim", SHARE / "vim/vimfiles"):
        for client in CLIENTS_OF_VIM:
            yield from (top / folder / client for folder in ("plugged", "bundle"))
            for kind in ("start", "opt"):
                yield from top.glob(f"pack/*/{kind}/{client}")


def _first_line(*command: str) -> str | None:
    """Of what it prints; None if it is not there, or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None


def _numbers(version: str) -> tuple[int, ...]:
    words = [word.lstrip("v") for word in version.split()]
    dotted = next((word for word in words if word[:1].isdigit()), "0")
    return tuple(int(part) for part in dotted.split("-")[0].split(".") if part.isdigit())


def examine(*, needed: bool = True) -> list[Finding]:
    """`needed`: there is no server elsewhere that would do."""
    return [*python(), *engine(needed), *editors()]


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 if something keeps something from working."""
    told = [Finding(**found) for found in json.loads(args.found)]
    elsewhere = any(found.what == "endpoint" for found in told)
    findings = examine(needed=not elsewhere) + told
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.what) for finding in findings)
        for found in findings:
            fix = f"\n    {'':{width}}→ {found.fix}" if found.fix else ""
            print(f"{MARKS[found.state]} {found.what:{width}}  {found.said}{fix}")
    return int(any(found.state == "wrong" for found in findings))
