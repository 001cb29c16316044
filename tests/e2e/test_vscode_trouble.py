"""What goes wrong in a real VS Code: one message each, with a button that helps."""

import shutil
import sys
import time

import pytest

from tests.e2e.neovim import ROOT, Home, wait_for
from tests.e2e.vscode import (
    VsCode,
    code,
    on_the_example,
    stop_engine,
    type_until_ghost,
    user,
    write,
)

__all__ = ["code", "user"]  # fixtures
pytestmark = [pytest.mark.editor, pytest.mark.timeout(240)]


OLD = f"""#!{sys.executable}
from pygls.lsp.server import LanguageServer
LanguageServer("cl-lsp", "0.0.1").start_io()
"""
CRASHING = f"""#!{sys.executable}
import os
from pygls.lsp.server import LanguageServer
server = LanguageServer("cl-lsp", "9.0")
@server.feature("initialized")
def crash(*_):
    with open(__file__ + ".starts", "a") as starts:
        starts.write(".")
    os._exit(1)
server.start_io()
"""


def test_each_trouble_is_told_once_with_a_button_that_helps(code: VsCode, user: Home) -> None:
    """No server, one that is too old, one that keeps crashing; then the way out of it."""
    old, crashing, starts = (user.path / name for name in ("old", "crashing", "crashing.starts"))
    old.write_text(OLD)
    crashing.write_text(CRASHING)
    for program in (old, crashing):
        program.chmod(0o755)
    code.settings({"cl-lsp.server.path": "/no/such/cl-lsp"})
    with code.window() as window:
        wait_for("no server", lambda: "not installed" in window.status)
        window.command("Notifications: Show Notifications")
        wait_for("no program", lambda: "There is no program /no/such" in window.told)
        assert window.button("Choose the Program…").count() == 1
        window.command("cl-lsp: Restart the Language Server")
        window.command("cl-lsp: Open Chat")
        code.settings({"cl-lsp.server.path": str(old)})
        wait_for("too old", lambda: "is cl-lsp 0.0.1; this extension needs" in window.told)
        code.settings({"cl-lsp.server.path": str(crashing)})
        wait_for("crashes", lambda: "ended five times" in window.told)
        assert len(starts.read_text()) == 5
        time.sleep(1)  # for what could come late
        assert len(starts.read_text()) == 5
        told = [message for message in window.messages if "cl-lsp" in message]
        assert len(told) == 3, told
        assert "stopped" in window.status
        code.settings()
        wait_for("the language server", lambda: "ready" in window.status)


def test_a_program_that_never_answers_can_be_left(code: VsCode, user: Home) -> None:
    """As one that is no language server, or hangs; it is ended, and not started again."""
    silent = user.path / "silent"
    silent.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    silent.chmod(0o755)
    code.settings({"cl-lsp.server.path": str(silent)})
    with code.window() as window:
        wait_for("its start", lambda: str(silent) in str(user.processes()))
        wait_for("that", lambda: "starting" in window.status)
        code.settings()
        wait_for("the language server", lambda: "ready" in window.status)
        wait_for("its end", lambda: str(silent) not in str(user.processes()))
        time.sleep(1)  # for what could come late
        assert str(silent) not in str(user.processes())
        window.check_quiet()


def test_a_question_is_not_lost_where_there_is_no_server(code: VsCode) -> None:
    code.settings({"cl-lsp.server.path": "/no/such/cl-lsp"})
    with code.window() as window:
        wait_for("no server", lambda: "not installed" in window.status)
        window.command("cl-lsp: Open Chat")
        question = window.chat().locator("#question")
        question.fill("And why?")
        question.press("Enter")
        window.page.wait_for_timeout(1000)
        assert question.input_value() == "And why?"
        assert window.button("Choose the Program…").count() == 1


def test_an_engine_that_does_not_start_is_told_once_and_tried_again(
    code: VsCode, user: Home
) -> None:
    """As where it was installed without `[engine]`."""
    torch, program = user.path / "bare/torch", user.path / "bare/cl-lsp"
    write(torch / "__init__.py", """raise ModuleNotFoundError("No module named 'torch'")""")
    paths = f"{torch.parent}:{user.env.get('PYTHONPATH', '')}"
    write(program, f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} -m cl_lsp "$@"\n')
    program.chmod(0o755)
    stop_engine(user)
    code.settings({"cl-lsp.server.path": str(program)})
    with on_the_example(code, user, "engine is not installed") as window:
        window.command("Notifications: Show Notifications")
        wait_for("the message", lambda: "No module named 'torch'): pip install" in window.told)
        window.press("Control+1")
        window.press("Control+End")
        window.type("\nfor item in self.items.values():\n    print(item", 60)
        time.sleep(1)  # for what could come late
        assert len(window.messages) == 1, window.told
        assert window.button("Show Log").count() == 1
        shutil.rmtree(torch)
        window.button("Connect Again").click()
        wait_for("the engine", lambda: "ready" in window.status)
        window.press("Control+1", "End", "Enter")
        type_until_ghost(window, "self.items[name")
        window.command("Notifications: Show Notifications")
        wait_for("its answer", lambda: window.told == "cl-lsp: the engine answers")


def test_a_folder_that_vanishes_is_no_trouble(code: VsCode, user: Home) -> None:
    """As over a connection that is lost, or with a branch that is left."""
    write(user.path / "gone/inventory.py", (ROOT / "examples/inventory.py").read_text())
    code.settings()
    with code.window("gone") as window:
        window.open("inventory.py")
        wait_for("the language server", lambda: "ready" in window.status)
        shutil.rmtree(user.path / "gone")
        window.press("Control+End", "ArrowUp", "End")
        type_until_ghost(window, "ems[name]")
        window.check_quiet()
