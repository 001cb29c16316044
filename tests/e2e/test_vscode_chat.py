"""Chats and edits in a real VS Code, with a scripted engine: the embedded model cannot chat."""

import contextlib
import re
from collections.abc import Iterator

import pytest

from tests.e2e.contrast import CONTRAST
from tests.e2e.neovim import Home, wait_for
from tests.e2e.vscode import (
    ARTEFACTS,
    VsCode,
    code,
    on_the_example,
    scripted,
    type_until_ghost,
    user,
)
from tests.e2e.window import Window
from tests.lsp.fake_engine import FakeEngine

__all__ = ["code", "user"]  # fixtures
pytestmark = [pytest.mark.editor, pytest.mark.timeout(240)]


ANSWER = """\
It adds up `price * quantity` of **every** item.

- An empty inventory gives `0`, an integer.
- With `math.fsum` rounding errors do not add up:

```python
    def total(self) -> float:
        return fsum(item.price * item.quantity for item in self.items.values())
```
"""


@contextlib.contextmanager
def chatting(code: VsCode, user: Home, **more: object) -> Iterator[tuple[Window, FakeEngine]]:
    """The example with `total` selected, and an engine that says ANSWER: a scripted one.

    `more` are settings.
    """
    engine = FakeEngine(text=ANSWER, delay_s=2)
    with scripted(engine) as url:
        code.settings({"cl-lsp.chat.endpoint": url} | more)
        with on_the_example(code, user) as window:
            window.press("Control+G")
            window.type("23\n")
            window.press("Home", "Home", "Shift+ArrowDown", "Shift+End")
            yield window, engine


def test_a_chat_streams_into_its_view_and_its_code_is_applied(code: VsCode, user: Home) -> None:
    with chatting(code, user) as (window, engine):
        window.action("Explain this code")
        answer = window.chat().locator("article.assistant")
        answer.get_by_text("It adds up").wait_for()
        assert "fsum" not in answer.inner_text(), "it did not stream"
        answer.get_by_text("fsum(item.price").wait_for()
        assert answer.locator("strong").inner_text() == "every"
        assert "inventory.py:23-24" in window.chat().locator("#about").inner_text()
        assert "def total(self)" in engine.requests[-1]["messages"][-1]["content"]
        wait_for("the end", lambda: not window.chat().locator(".busy").count())
        window.widen_side_bar(120)
        window.screenshot(ARTEFACTS / "vscode-chat.png")
        answer.get_by_role("button", name="Apply").click()
        wait_for("the changed line", lambda: "fsum(" in "".join(window.lines()))
        window.press("Control+Z")
        wait_for("the undone change", lambda: "fsum(" not in "".join(window.lines()))
        assert "return sum(item.price" in "".join(window.lines())

        engine.delay_s = 60
        question = window.chat().locator("#question")
        question.click()
        window.type("And why?\n")
        stop = window.chat().get_by_role("button", name="Stop")
        stop.click()
        window.chat().get_by_text("stopped").wait_for()
        assert [m["role"] for m in engine.requests[-1]["messages"]] == ["user", "assistant", "user"]
        window.check_quiet()


def test_a_chat_outlives_a_reload_until_it_is_cleared(code: VsCode, user: Home) -> None:
    with chatting(code, user) as (window, engine):
        engine.delay_s = 0
        window.action("Explain this code")
        chat = window.chat()
        chat.get_by_text("fsum(item.price").wait_for()
        chat.locator("#question").click()
        window.type("And why")
        window.press("Control+Shift+E")
        window.page.locator(".explorer-folders-view").wait_for()
        window.command("cl-lsp: Open Chat")
        wait_for("the draft", lambda: chat.locator("#question").input_value() == "And why")
        reload(window)
        answer = chat.locator("article.assistant")
        answer.get_by_text("fsum(item.price").wait_for()
        assert chat.locator("article").count() == 2
        assert "inventory.py:23-24" in chat.locator("#about").inner_text()
        [kept] = user.path.glob("server/data/User/workspaceStorage/*/cl-lsp.cl-lsp/chat.json")
        assert kept.stat().st_mode & 0o777 == 0o600

        engine.delay_s = 60
        chat.locator("#question").fill("")
        window.type("And why?\n")
        answer.nth(1).get_by_text("It adds").wait_for()
        asked = engine.requests[-1]["messages"]
        assert [message["role"] for message in asked] == ["user", "assistant", "user"]
        assert "And why?" in asked[-1]["content"]
        assert "def total(self)" in asked[-1]["content"]
        reload(window)
        chat.get_by_text(re.compile("(ended|closed) meanwhile")).wait_for()
        assert "It adds" in answer.nth(1).inner_text()

        window.command("cl-lsp: New Chat")
        wait_for("an empty chat", lambda: not chat.locator("article").count())
        reload(window)
        chat.get_by_text("Ask about the code").wait_for()
        assert not chat.locator("article").count()
        assert not kept.exists()
        window.check_quiet()


def reload(window: Window) -> None:
    window.page.reload()
    window.page.wait_for_selector(".monaco-workbench .statusbar-item")
    wait_for("the language server", lambda: "ready" in window.status)


def test_an_edit_is_seen_before_it_is_made_and_one_key_makes_it(code: VsCode, user: Home) -> None:
    with chatting(code, user) as (window, engine):
        engine.delay_s = 0
        diff = window.page.locator(".monaco-diff-editor")

        def ask_for_fsum() -> None:
            window.action("Edit this code")
            window.page.get_by_text("What is to be changed?").wait_for()
            window.type("Use fsum\n")
            diff.locator(".modified .view-line", has_text="fsum(").wait_for()
            tab = window.page.locator(".tab.active").inner_text()
            assert "Edit this code" in tab and "Ctrl+Enter applies" in tab
            assert "fsum(" not in (user.path / "project/inventory.py").read_text()

        ask_for_fsum()
        window.screenshot(ARTEFACTS / "vscode-edit.png")
        window.press("Escape")
        wait_for("no change", lambda: not diff.count())
        wait_for("the example", lambda: "return sum(item.price" in "".join(window.lines()))
        assert "fsum(" not in "".join(window.lines())
        assert window.page.locator(".tab").count() == 1

        ask_for_fsum()
        window.press("Control+Enter")
        wait_for("the end of the question", lambda: not diff.count())
        wait_for("the changed line", lambda: "fsum(" in "".join(window.lines()))
        window.press("Control+Z")
        wait_for("the undone change", lambda: "fsum(" not in "".join(window.lines()))

        window.press("Home", "Home", "Shift+ArrowDown", "Shift+End")
        ask_for_fsum()
        window.page.locator(".tab.active .tab-actions a").click()
        wait_for("no change", lambda: not diff.count())
        assert "fsum(" not in "".join(window.lines())

        window.action("Write tests for this code")
        diff.locator(".modified .view-line", has_text="fsum(").wait_for()
        window.command("cl-lsp: Apply the Change")
        wait_for("the end of the question", lambda: not diff.count())
        window.page.locator(".tab.active", has_text="test_inventory.py").wait_for()
        wait_for("the tests", lambda: "fsum(" in "".join(window.lines()))
        window.check_quiet()


READ = ["article.user", "article.assistant p", "article.assistant p code", ".bar span",
        ".bar button", "pre code", ".note", "#about", "#question", "#ask"]  # fmt: skip
THEMES = {
    "light": "Default Light Modern",
    "dark": "Default Dark Modern",
    "dark-contrast": "Default High Contrast",
    "light-contrast": "Default High Contrast Light",
}


@pytest.mark.parametrize("name", THEMES)
def test_everything_can_be_read_in_each_theme(code: VsCode, user: Home, name: str) -> None:
    """Screenshots of all of it are kept, for eyes; what is ours is measured."""
    theme = {"workbench.colorTheme": THEMES[name]}
    with chatting(code, user, **theme) as (window, engine):
        engine.delay_s = 0
        window.action("Explain this code")
        chat = window.chat()
        chat.get_by_text("fsum(item.price").wait_for()
        engine.delay_s = 60
        chat.locator("#question").click()
        window.type("And why?\n")
        chat.get_by_role("button", name="Stop").click()
        chat.get_by_text("stopped").wait_for()
        window.press("Control+1")
        window.page.locator(".editor-instance .monaco-editor.focused").wait_for()
        window.press("Control+End", "ArrowUp", "End")
        type_until_ghost(window, "ems[name]")
        window.widen_side_bar(120)
        window.screenshot(ARTEFACTS / f"vscode-{name}.png")
        side = window.page.locator(".part.sidebar")
        body = side.evaluate("e => getComputedStyle(e).backgroundColor")
        ratios = {what: chat.locator(what).first.evaluate(CONTRAST, body) for what in READ}
        least = 7 if "contrast" in name else 4.5
        assert {what: ratio for what, ratio in ratios.items() if ratio < least} == {}, ratios
