"""A VS Code in which the extension was just installed, on a machine without `cl-lsp`."""

import importlib.metadata
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.e2e.neovim import Home, wait_for
from tests.e2e.vscode import ARTEFACTS, VSIX, a_user, install, type_until_ghost, vscode, write
from tests.e2e.window import Window

pytestmark = [pytest.mark.editor, pytest.mark.timeout(240)]

PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
WHEEL = VSIX.with_name("cl_lsp-0.1.0-py3-none-any.whl")
OLD = f"""#!{sys.executable}
from pygls.lsp.server import LanguageServer
LanguageServer("cl-lsp", "0.0.1").start_io()
"""


class Newcomer(Home):
    """With a `python3` and nothing of this checkout."""

    @property
    def env(self) -> dict[str, str]:
        env = {name: value for name, value in super().env.items() if name != "PYTHONPATH"}
        return env | {"PATH": f"{self.path}/tools:/usr/bin:/bin"}


def tool(user: Home, name: str, text: str) -> None:
    write(user.path / "tools" / name, text)
    (user.path / "tools" / name).chmod(0o755)


def test_from_no_server_to_the_first_ghost_text() -> None:
    with a_user(Newcomer) as user, vscode(user, VSIX) as code, code.window() as window:
        write(user.path / "project/a.py", "def add(first, second):\n    return fir\n")
        wait_for("no server", lambda: "not installed" in window.status)
        window.open("a.py")
        for _ in range(2):
            window.command("cl-lsp: Restart the Language Server")
        window.command("Notifications: Show Notifications")
        wait_for("the message", lambda: "not installed on the machine that has your" in window.told)
        assert len(window.messages) == 1, window.told

        window.button("Install…").click()
        title = window.page.locator(".quick-input-widget", has_text="The wheel of cl-lsp")
        title.wait_for()
        window.press("Escape")

        install(user, "elsewhere")
        window.command("cl-lsp: Choose the Language Server’s Program…")
        pick(window, "The program cl-lsp", user.path / "elsewhere/cl-lsp")
        wait_for("the language server", lambda: "ready" in window.status)
        window.press("Control+1", "Control+End", "ArrowUp", "End")
        type_until_ghost(window, "st + sec")


def pick(window: Window, title: str, file: Path) -> None:
    """In a dialog for a file, which looks into folders as one types."""
    dialog = window.page.locator(".quick-input-widget", has_text=title)
    row = dialog.locator(".monaco-list-row")
    row.first.wait_for()
    dialog.locator("input").fill(str(file))
    row.filter(has_text=file.name).wait_for()
    window.press("Enter")
    dialog.wait_for(state="hidden")


def test_install_takes_the_place_of_a_server_that_is_too_old() -> None:
    """To the end: an environment, pip, a wheel as `make package` made it; after a first try that
    fails."""
    with a_user(Newcomer) as user, vscode(user, VSIX) as code:
        write(user.path / ".profile", 'PATH="$HOME/tools:$PATH"\n')
        tool(user, "cl-lsp", OLD)
        tool(user, "python3", "#!/bin/sh\necho there is no ensurepip\nexit 1\n")
        packages_of_the_running_environment(user.path)
        write(user.path / "project/a.py", "def add(first, second):\n    return fir\n")
        with code.window() as window:
            window.open("a.py")
            wait_for("the message", lambda: "is cl-lsp 0.0.1; this extension needs" in window.told)
            window.button("Install…").click()
            pick(window, "The wheel of cl-lsp", WHEEL)
            wait_for("its failure", lambda: "was not installed; the terminal says" in window.told)
            window.screenshot(ARTEFACTS / "vscode-install-failed.png")
            tool(user, "python3", f'#!/bin/sh\nexec {PYTHON} "$@"\n')
            window.button("Install…").click()
            pick(window, "The wheel of cl-lsp", WHEEL)
            program = user.path / "server/data/User/globalStorage/cl-lsp.cl-lsp/server/bin/cl-lsp"
            wait_for("it", lambda: f"{program} --stdio" in str(user.processes()), 120)
            wait_for("the language server", lambda: "ready" in window.status)
            window.screenshot(ARTEFACTS / "vscode-installed.png")
            window.press("Control+1", "Control+End", "ArrowUp", "End")
            type_until_ghost(window, "st + sec")


def packages_of_the_running_environment(home: Path) -> None:
    """The user's pip finds what cl-lsp needs, without the gigabytes: wheels that say which version
    the tests run with, the first of which leads there."""
    index = home / "index"
    index.mkdir()
    leads = {"others.pth": sysconfig.get_path("purelib")}
    for line in importlib.metadata.requires("cl-lsp") or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": "engine"}):
            name = requirement.name.replace("-", "_")
            version = importlib.metadata.version(requirement.name).partition("+")[0]
            info = f"{name}-{version}.dist-info"
            with zipfile.ZipFile(index / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
                about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
                files = {"METADATA": about, "WHEEL": tag, "RECORD": ""}
                for file, text in (
                    {f"{info}/{file}": files[file] for file in files} | leads
                ).items():
                    wheel.writestr(file, text)
            leads = {}
    write(home / ".config/pip/pip.conf", f"[global]\nno-index = true\nfind-links = {index}\n")
