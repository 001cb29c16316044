"""Where code can be in a real VS Code: folders, nowhere."""

import json

import pytest

from tests.e2e.neovim import Home, wait_for
from tests.e2e.vscode import VsCode, code, scripted, type_until_ghost, user, write
from tests.lsp.fake_engine import FakeEngine

__all__ = ["code", "user"]  # fixtures
pytestmark = [pytest.mark.editor, pytest.mark.timeout(240)]


def test_without_a_folder_an_unsaved_document_has_ghost_text(code: VsCode) -> None:
    code.settings({"files.defaultLanguage": "python"})
    with code.window("") as window:
        wait_for("the language server", lambda: "ready" in window.status)
        window.command("File: New Untitled Text File")
        window.page.wait_for_selector(".editor-instance .view-line")
        window.type("def add(first, second):\n")
        ghost = type_until_ghost(window, "return first")
        line = window.lines()[-1]
        window.press("Tab")
        wait_for("the accepted text", lambda: window.lines()[-1] == line + ghost, 5)
        window.check_quiet()


def test_what_was_typed_while_the_server_started_has_ghost_text(code: VsCode, user: Home) -> None:
    """No further key is needed."""
    slow, go = user.path / "slow", user.path / "go"
    wait, program = f"until [ -e {go} ]; do sleep 0.1; done", user.path / ".local/bin/cl-lsp"
    slow.write_text(f'#!/bin/sh\n{wait}\nexec {program} "$@"\n')
    slow.chmod(0o755)
    write(user.path / "project/early.py", "def f(x):\n    return x\n\n")
    with scripted(FakeEngine(text="_told()")) as url:
        code.settings({"cl-lsp.engine.endpoint": url, "cl-lsp.server.path": str(slow)})
        with code.window() as window:
            wait_for("the start", lambda: "starting" in window.status)
            window.open("early.py")
            window.press("Control+End")
            window.type("zq")
            wait_for("what was typed", lambda: window.lines()[-1] == "zq")
            window.page.wait_for_timeout(1000)
            assert not window.ghost()
            go.touch()
            assert window.wait_for_ghost() == "_told()"
            window.check_quiet()


def test_a_workspace_that_is_not_trusted_runs_nothing_of_its_own(code: VsCode, user: Home) -> None:
    trap, sprung = user.path / "trap/.venv/bin/cl-lsp", user.path / "sprung"
    trap.parent.mkdir(parents=True)
    trap.write_text(f"#!/bin/sh\ntouch {sprung}\n")
    trap.chmod(0o755)
    code.settings({"security.workspace.trust.enabled": True})
    with code.window("trap") as window:
        window.page.get_by_text("Restricted Mode").first.wait_for()
        wait_for("the language server", lambda: "ready" in window.status)
        assert not sprung.exists()


def test_each_folder_of_a_workspace_has_its_own_settings(code: VsCode, user: Home) -> None:
    settings = {
        "one": {"cl-lsp.chat.maxTokens": 11, "cl-lsp.completion.maxTokens": 7},
        "two": {"cl-lsp.chat.maxTokens": 22, "cl-lsp.completion.disabledLanguages": ["python"]},
    }
    for folder, own in settings.items():
        write(user.path / folder / ".vscode/settings.json", json.dumps(own))
        write(user.path / folder / f"{folder}.py", "def f(x):\n    return x\n\n")
    write(user.path / "two/two.c", "int f(int x);\n\n")
    both = {"folders": [{"path": folder} for folder in settings]}
    write(user.path / "both.code-workspace", json.dumps(both))
    engine = FakeEngine(text="_told()")
    with scripted(engine) as url:
        code.settings(
            {"cl-lsp.engine.endpoint": url, "cl-lsp.chat.endpoint": url}
            | {f"cl-lsp.completion.{name}": False for name in ("prefetch", "warming")}
        )
        with code.window("both.code-workspace") as window:
            wait_for("the language server", lambda: "ready" in window.status)

            def ghost_in(name: str) -> str:
                window.open(name)
                window.press("Control+End")
                return type_until_ghost(window, "zqzq")

            assert ghost_in("one.py") == "_told()"
            assert engine.requests[-1]["max_tokens"] == 7
            asked = len(engine.requests)
            window.open("two.py")
            window.press("Control+End")
            window.type("zq")
            wait_for("the reason", lambda: "no suggestion: language" in window.status)
            assert len(engine.requests) == asked
            assert not window.ghost()
            assert ghost_in("two.c") == "_told()"
            assert engine.requests[-1]["max_tokens"] == 48
            for name, most in ("one.py", 11), ("two.py", 22):
                asked = len(engine.requests)
                window.open(name)
                window.press("Control+Home")
                window.action("Explain this code")
                window.chat().locator("article.assistant").get_by_text("_told()").wait_for()
                assert [request["max_tokens"] for request in engine.requests[asked:]] == [most]
            window.check_quiet()
