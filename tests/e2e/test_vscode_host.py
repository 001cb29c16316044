"""What only VS Code's own API can tell."""

import shutil

import pytest

from tests.e2e.neovim import ROOT
from tests.e2e.vscode import DRIVER, EXTENSION, VSIX, a_user, install, vscode

pytestmark = [pytest.mark.editor, pytest.mark.timeout(240)]


def test_inside_the_extension_host() -> None:
    """`test/host/index.ts`, which VS Code runs with the extension."""
    with a_user() as user:
        install(user)
        shutil.copy(ROOT / "examples/inventory.py", user.path / "project")
        with vscode(user, VSIX, DRIVER) as code:
            assert code.run_inside(EXTENSION, EXTENSION / "dist/test/host/index.js") == 0
