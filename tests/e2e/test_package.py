"""What `make package` built, installed as a user does: of this checkout only `dist/` is used."""

import asyncio
import json
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.neovim import ROOT, Home, home
from tests.e2e.plugin import install, plugin_editor, wait_for
from tests.lsp.client import LspClient

__all__ = ["home"]  # a fixture

DIST = ROOT / "dist"
WHEEL = DIST / "cl_lsp-0.1.0-py3-none-any.whl"
SDIST = DIST / "cl_lsp-0.1.0.tar.gz"
PLUGIN = DIST / "cl-lsp.nvim.tar.gz"
FOLDERS = {"cl_lsp": "cl_lsp", "engine/cl_engine": "cl_engine", "kernels/cl_kernels": "cl_kernels"}

pytestmark = [pytest.mark.editor, pytest.mark.timeout(180)]


@dataclass(frozen=True)
class User(Home):
    """One who has the wheel in an environment of its own, and no other `cl-lsp`."""

    @property
    def bin(self) -> Path:
        return self.path / "venv/bin"

    @property
    def env(self) -> dict[str, str]:
        ours = {"PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin"}
        return {name: value for name, value in super().env.items() if name != "PYTHONPATH"} | ours


@pytest.fixture
def user(home: Home) -> User:
    """The packages that ours needs are those of the running environment: they are gigabytes."""
    user = User(home.path)
    pip = ["-m", "pip", "-q", "--python", user.bin / "python", "install", "--no-index"]
    user.run(sys.executable, "-m", "venv", "--without-pip", user.path / "venv")
    user.run(sys.executable, *pip, "--no-deps", WHEEL)
    (packages,) = (user.path / "venv/lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    user.run(sys.executable, *pip, f"{WHEEL}[engine]")  # says which one is missing
    return user


def checkout() -> set[str]:
    """The files of the project as it is now, also those that are not committed yet."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


def test_the_archives_hold_the_project_and_nothing_that_lies_beside_it() -> None:
    project = checkout()
    with tarfile.open(SDIST) as sdist:
        files = {member.name.split("/", 1)[1] for member in sdist if member.isfile()}
    assert files - {"PKG-INFO"} == {name for name in project if not name.startswith(".ci/")}
    with zipfile.ZipFile(WHEEL) as wheel:  # built from the sdist, not from here
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == {
        name.replace(folder, package, 1)
        for folder, package in FOLDERS.items()
        for name in project
        if name.startswith(f"{folder}/")
    }


async def initialize(user: User) -> dict:
    process = await asyncio.create_subprocess_exec(
        user.bin / "cl-lsp",
        env=user.env,
        cwd=user.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    client = LspClient(process)
    capabilities = await client.initialize()
    assert await client.shutdown() == 0
    return capabilities


async def test_the_wheel(user: User) -> None:
    names = "cl_lsp, cl_engine.serve, cl_kernels"
    where = user.run(user.bin / "python", "-Pc", f"import {names}; print(cl_engine, cl_lsp)")
    assert where.count(str(user.path)) == 2
    assert "complete" in user.run(user.bin / "cl-lsp", "--help")
    assert "inlineCompletionProvider" in await initialize(user)
    place = ["--line", "28", "--column", "24"]
    file = user.path / "project/inventory.py"
    answer = json.loads(user.run(user.bin / "cl-lsp", "complete", file, *place, "--json"))
    assert answer["text"].strip()
    (engine,) = user.engines()
    assert str(user.bin) in user.processes()[engine]


def test_the_neovim_plugin(user: User) -> None:
    install(user, PLUGIN)
    with plugin_editor(user) as editor:
        editor.insert("if name in self.items")
        editor.press("\rdel self.it")
        ghost = wait_for("ghost text", editor.ghost, 60)
        editor.press("\t")
        wait_for("it in the line", lambda: editor.line.endswith(f"del self.it{ghost}"))
