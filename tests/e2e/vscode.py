"""A real VS Code in a user's home of its own: its server, its page in Chromium, keys as typed."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import pytest
import uvicorn
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.neovim import ROOT, Home, wait_for
from tests.e2e.window import Window
from tests.lsp.fake_engine import FakeEngine

VSCODE = ROOT / ".cache/vscode"
EXTENSION = ROOT / "editors/vscode"
ARTEFACTS = ROOT / ".cache/artefacts"
VSIX = ROOT / "dist/cl-lsp-0.1.0.vsix"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
DRIVER = "--enable-smoke-test-driver"
# Of the user; nothing here is what the extension needs: only what else would come in between.
SETTINGS = {
    "security.workspace.trust.enabled": False,
    "workbench.startupEditor": "none",
    "workbench.tips.enabled": False,
    "chat.disableAIFeatures": True,
    "editor.fontFamily": "DejaVu Sans Mono",
    "editor.minimap.enabled": False,
    # On a busy machine their list opens before the suggestion comes, and takes Tab.
    "editor.wordBasedSuggestions": "off",
    "window.commandCenter": False,
    "workbench.secondarySideBar.defaultVisibility": "hidden",
}


@dataclass
class VsCode:
    """A VS Code server with the extension in it, and the browser that shows it."""

    home: Home
    port: int
    browser: Browser

    def settings(self, changed: Mapping[str, object] | None = None) -> None:
        """Ours are the machine's, whose changes an open window sees; the others are the user's."""
        own = {key: value for key, value in (changed or {}).items() if key.startswith("cl-lsp.")}
        user = {key: value for key, value in (changed or {}).items() if key not in own}
        for place, settings in ("Machine", own), ("User", SETTINGS | user):
            path = self.home.path / "server/data" / place / "settings.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings))

    @contextlib.contextmanager
    def window(self, place: str = "project") -> Iterator[Window]:
        """A page on a folder or workspace of the home (empty: on none), with its own storage."""
        context = self.browser.new_context(viewport={"width": 1000, "height": 620})
        page = context.new_page()
        try:
            kind = "workspace" if place.endswith(".code-workspace") else "folder"
            at = f"{kind}={self.home.path / place}" if place else "ew=true"
            page.goto(f"http://127.0.0.1:{self.port}/?{at}")
            page.wait_for_selector(".monaco-workbench .statusbar-item", timeout=60_000)
            yield Window(page)
        except BaseException:
            ARTEFACTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=ARTEFACTS / "vscode-failed.png")
            raise
        finally:
            context.close()

    def run_inside(self, extension: Path, tests: Path) -> int:
        """The exit code of tests in the extension host, with the extension from its folder.

        For a server with the option DRIVER, without which there is no such thing, and with which
        messages do not pop up.
        """
        at = f"vscode-remote://127.0.0.1:{self.port}"
        given = {
            "extensionDevelopmentPath": at + str(extension),
            "extensionTestsPath": at + str(tests),
        }
        query = urlencode(
            {"folder": self.home.path / "project", "payload": json.dumps([*given.items()])}
        )
        codes: list[int] = []
        context = self.browser.new_context()
        page = context.new_page()
        page.expose_function("codeAutomationLog", lambda kind, said: print(kind, *said))
        page.expose_function("codeAutomationExit", lambda code: codes.append(code))
        page.on("console", lambda message: print(message.text[:300]))
        try:
            page.goto(f"http://127.0.0.1:{self.port}/?{query}")
            deadline = time.monotonic() + 60
            while not codes and time.monotonic() < deadline:
                page.wait_for_timeout(100)
        finally:
            context.close()
        return codes[0]


def install(home: Home, folder: str = ".local/bin") -> None:
    """`cl-lsp` as of this tree, where a user has it."""
    program = home.path / folder / "cl-lsp"
    program.parent.mkdir(parents=True)
    paths = os.environ.get("PYTHONPATH", "")
    program.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} -m cl_lsp "$@"\n')
    program.chmod(0o755)


@contextlib.contextmanager
def vscode(home: Home, vsix: Path, *more: str) -> Iterator[VsCode]:
    """The server at a free port, with the extension installed from its package."""
    port = free_port()
    program = [VSCODE / "node", VSCODE / "vscode/out/server-main.js"]
    places = ["--server-data-dir", home.path / "server", "--extensions-dir", home.path / "ext"]
    home.run(*program, *places, "--install-extension", vsix)
    log = (home.path / "server.log").open("wb")
    options = ["--host", "127.0.0.1", "--port", str(port), "--without-connection-token",
               "--accept-server-license-terms", "--telemetry-level", "off",
               "--reconnection-grace-time", "1", *more]  # fmt: skip
    server = subprocess.Popen(
        [*program, *options, *places], env=home.env, cwd=home.path,
        stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for("VS Code's server", lambda: _listens(port))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            code = VsCode(home, port, browser)
            code.settings()
            yield code
            browser.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
        log.close()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def scripted(engine: FakeEngine) -> Iterator[str]:
    """The URL of an engine that says what it is told to: the embedded model cannot chat."""
    port = free_port()
    config = uvicorn.Config(engine.app(), port=port, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        wait_for("the scripted engine", lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def user() -> Iterator[Home]:
    with a_user() as home:
        yield home


@contextlib.contextmanager
def a_user(kind: type[Home] = Home) -> Iterator[Home]:
    """Without `cl-lsp`, and with an empty project."""
    for path in (VSCODE / "node", Path(CHROMIUM), VSIX):
        if not path.exists():
            pytest.fail(f"{path} is missing: `make test-editors` makes it, `.ci/run` Chromium")
    with tempfile.TemporaryDirectory(prefix="cl-", dir="/tmp") as folder:
        home = kind(Path(folder))
        (home.path / "run").mkdir(mode=0o700)
        (home.path / "project/.git").mkdir(parents=True)
        try:
            yield home
            wait_for("end of all but the daemon", lambda: len(home.processes()) <= 1, 15)
        finally:
            for pid in home.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def code(user: Home) -> Iterator[VsCode]:
    install(user)
    with vscode(user, VSIX) as code:
        yield code


@contextlib.contextmanager
def on_the_example(code: VsCode, user: Home, status: str = "ready") -> Iterator[Window]:
    """A window on it, when the status bar has that to say."""
    shutil.copy(ROOT / "examples/inventory.py", user.path / "project")
    with code.window() as window:
        window.open("inventory.py")
        wait_for("the language server", lambda: status in window.status)
        yield window


def stop_engine(user: Home) -> None:
    """The daemon, also one that is loading and does not listen yet."""
    for pid in user.engines():
        os.kill(pid, signal.SIGTERM)
    wait_for("the end of the engine", lambda: not user.engines())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def type_until_ghost(window: Window, keys: str) -> str:
    for key in keys:
        window.type(key)
        with contextlib.suppress(AssertionError):
            return window.wait_for_ghost(2.5)
    pytest.fail(f"no ghost text anywhere in {window.lines()}")
