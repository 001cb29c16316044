"""One page of VS Code: what a user sees of it, and the keys that he presses."""

import contextlib
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import FrameLocator, Locator, Page
from playwright.sync_api import TimeoutError as Late

from tests.e2e.neovim import wait_for

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

    def open(self, name: str, shown: str = ".editor-instance .view-line") -> None:
        """A file of the folder, by Go to File; `shown` is there when it is open."""
        self.press("Control+P")
        self.page.wait_for_selector(".quick-input-widget input")
        self.type(name, 5)
        self.page.locator(".quick-input-list .monaco-list-row.focused", has_text=name).wait_for()
        self.press("Enter")
        self.page.locator(".tab.active", has_text=name).first.wait_for()
        self.page.wait_for_selector(shown)

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
        outer = self.page.frame_locator("iframe.webview.ready[src*='extensionId=cl-lsp']")
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
        """Nothing was said to the user, nor is there anything for him to look up."""
        self.command("Notifications: Show Notifications")
        self.page.locator(".notifications-center.visible").wait_for()
        # A progress is in that list, too, until it is over.
        ours = re.compile("cl-lsp|error", re.IGNORECASE)
        wait_for("quiet", lambda: not [m for m in self.messages if ours.search(m)], 20)
