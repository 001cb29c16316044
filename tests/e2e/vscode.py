"""A real VS Code in a user's home of its own: its server, its page in Chromium, keys as typed."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import uvicorn
from playwright.sync_api import Browser, FrameLocator, Locator, Page, sync_playwright
from playwright.sync_api import TimeoutError as Late

from tests.e2e.neovim import ROOT, Home, wait_for
from tests.lsp.fake_engine import FakeEngine

VSCODE = ROOT / ".cache/vscode"
EXTENSION = ROOT / "editors/vscode"
ARTEFACTS = ROOT / ".cache/artefacts"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
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

    def settings(self, changed: dict[str, object] | None = None) -> None:
        """Ours are the machine's, whose changes an open window sees; the others are the user's."""
        own = {key: value for key, value in (changed or {}).items() if key.startswith("cl-lsp.")}
        user = {key: value for key, value in (changed or {}).items() if key not in own}
        for place, settings in ("Machine", own), ("User", SETTINGS | user):
            path = self.home.path / "server/data" / place / "settings.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings))

    @contextlib.contextmanager
    def window(self, folder: str = "project", query: str = "") -> Iterator["Window"]:
        """A page on a folder of the home (empty: on none), with storage of its own."""
        context = self.browser.new_context(viewport={"width": 1000, "height": 620})
        page = context.new_page()
        try:
            at = f"folder={self.home.path / folder}" if folder else "ew=true"
            page.goto(f"http://127.0.0.1:{self.port}/?{at}{query}")
            page.wait_for_selector(".monaco-workbench .statusbar-item", timeout=60_000)
            yield Window(page)
        except BaseException:
            ARTEFACTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=ARTEFACTS / "vscode-failed.png")
            raise
        finally:
            context.close()

    def run_inside(self, extension: Path, tests: Path) -> int:
        """The exit code of tests in the extension host, with the extension from its folder."""
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


def install(home: Home) -> None:
    """`cl-lsp` as of this tree, where a user has it."""
    program = home.path / ".local/bin/cl-lsp"
    program.parent.mkdir(parents=True)
    paths = os.environ.get("PYTHONPATH", "")
    program.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} -m cl_lsp "$@"\n')
    program.chmod(0o755)


@contextlib.contextmanager
def vscode(home: Home, vsix: Path) -> Iterator[VsCode]:
    """The server at a free port, with the extension installed from its package."""
    port = free_port()
    program = [VSCODE / "node", VSCODE / "vscode/out/server-main.js"]
    places = ["--server-data-dir", home.path / "server", "--extensions-dir", home.path / "ext"]
    home.run(*program, *places, "--install-extension", vsix)
    log = (home.path / "server.log").open("wb")
    options = ["--host", "127.0.0.1", "--port", str(port), "--without-connection-token",
               "--accept-server-license-terms", "--telemetry-level", "off",
               "--enable-smoke-test-driver", "--reconnection-grace-time", "1"]  # fmt: skip
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


# The lines of the active editor as they are shown, without ghost text; and the ghost text.
LINES = """() => [...document.querySelectorAll('.editor-instance .view-line')]
  .sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))
  .map(line => [...line.querySelectorAll('span > span')]
    .filter(span => !/ghost-text/.test(span.className)).map(span => span.textContent).join(''))"""
GHOST = """() => [...document.querySelectorAll('.editor-instance [class*=ghost-text-decoration]')]
  .filter(e => e.offsetParent !== null).map(e => e.textContent).join('')"""


# Sets window.toGhost to a promise. Each frame is looked at: what a user sees are frames.
STOPWATCH = """() => {
  const all = () => document.querySelectorAll('.editor-instance [class*=ghost-text-decoration]');
  const shown = () => [...all()].some(e => e.offsetParent !== null);
  window.toGhost = new Promise(resolve => addEventListener('keydown', () => {
    const began = performance.now();
    const look = () => {
      const ms = performance.now() - began;
      if (shown() || ms > 1500) resolve(shown() ? ms : null);
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, {once: true, capture: true}));
}"""


class Window:
    """One page: what a user sees of it, and the keys that he presses."""

    def __init__(self, page: Page):
        self.page = page

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str, delay_ms: float = 30) -> None:
        self.page.keyboard.type(text, delay=delay_ms)

    def open(self, name: str) -> None:
        """A file of the folder, by Go to File."""
        self.press("Control+P")
        self.page.wait_for_selector(".quick-input-widget input")
        self.type(name, 5)
        self.page.locator(".quick-input-list .monaco-list-row", has_text=name).first.wait_for()
        self.press("Enter")
        self.page.wait_for_selector(f'.editor-instance[aria-label*="{name}"], .editor-instance')
        self.page.wait_for_selector(".editor-instance .view-line")

    def command(self, title: str) -> None:
        """By the command palette."""
        self.press("F1")
        box = self.page.locator(".quick-input-widget input").first
        box.wait_for()
        self.type(title, 5)
        self.page.locator(".quick-input-list .monaco-list-row", has_text=title).first.wait_for()
        self.press("Enter")

    def action(self, title: str) -> None:
        """A code action, by the menu at the cursor; asked for again while the server starts."""
        entry = self.page.locator(".action-widget .monaco-list-row", has_text=title).first

        def offered() -> bool:
            self.press("Control+.")
            with contextlib.suppress(Late):
                entry.wait_for(timeout=5000)
                return True
            self.press("Escape")
            return False

        wait_for(f"the action {title!r}", offered)
        entry.click()

    def ghost(self) -> str:
        """What of the ghost text stands on the cursor's line."""
        return self.page.evaluate(GHOST).replace("\xa0", " ")

    def milliseconds_to_ghost(self, key: str) -> float | None:
        """From the key's event in the page to the frame with ghost text; None if there is none."""
        self.page.evaluate(STOPWATCH)
        self.press(key)
        return self.page.evaluate("() => window.toGhost")

    def chat(self) -> FrameLocator:
        """The page of the chat view."""
        outer = self.page.frame_locator("iframe.webview.ready")
        return outer.frame_locator("iframe#active-frame")

    def lines(self) -> list[str]:
        shown = str.maketrans("\xa0·", "  ")  # blanks, also where they are selected
        return [line.translate(shown) for line in self.page.evaluate(LINES)]

    @property
    def item(self) -> Locator:
        """Ours in the status bar."""
        return self.page.locator('[id="cl-lsp.cl-lsp.cl-lsp.status"] a')

    @property
    def status(self) -> str:
        """What our item says to those who hear it."""
        return self.item.get_attribute("aria-label") or "" if self.item.count() else ""

    def choose(self, title: str) -> None:
        """An entry of the menu behind our item."""
        self.item.click()
        self.page.locator(".quick-input-list .monaco-list-row", has_text=title).first.click()

    @property
    def messages(self) -> list[str]:
        """The texts of the notifications that are shown."""
        return self.page.locator(".notification-list-item-message").all_inner_texts()

    @property
    def told(self) -> str:
        return "\n".join(self.messages)

    def button(self, title: str) -> Locator:
        """Of a notification."""
        return self.page.locator(".notification-list-item .monaco-button", has_text=title)

    def wait_for_ghost(self, seconds: float = 20) -> str:
        return wait_for("ghost text", self.ghost, seconds)

    def widen_side_bar(self, pixels: int) -> None:
        box = self.page.locator(".part.sidebar").bounding_box()
        assert box
        edge, middle = box["x"] + box["width"], box["y"] + box["height"] / 2
        self.page.mouse.move(edge, middle)
        self.page.mouse.down()
        self.page.mouse.move(edge + pixels, middle, steps=4)
        self.page.mouse.up()
        self.page.mouse.move(edge + pixels * 2, middle)
        self.page.wait_for_timeout(500)  # the edge's colour goes slowly

    def milliseconds_to_start(self) -> int:
        """That VS Code says the extension took to activate."""
        self.command("Developer: Show Running Extensions")
        own = self.page.locator(".extension", has_text="cl-lsp").first.inner_text()
        return int(re.findall(r"Activation: (\d+)ms", own)[0])

    def screenshot(self, path: Path, **options: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, **options)

    def check_quiet(self) -> None:
        """Nothing was said to the user."""
        assert [m for m in self.messages if re.search("cl-lsp|error", m, re.I)] == []
