"""Chat code actions: what is offered on a selection, what is asked, where the answer goes.

A model that cannot chat has them too, disabled with the engine's reason.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsprotocol import types
from platformdirs import user_cache_path

from .backend import Backend
from .documents import Snapshot
from .exchange import ChatRequest

COMMAND = "cl-lsp.chat"
MAX_SELECTION = 8000  # characters; a longer one is cut at a line, and the answer's title says so


@dataclass(frozen=True)
class Action:
    """One entry of the menu; `question` is asked about the selected code."""

    name: str
    title: str
    kind: str
    question: str


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "explain",
            "Explain this code",
            "source.explain",
            "Explain briefly what this {language} code does:",
        ),
    )
}
KINDS = tuple(dict.fromkeys(action.kind for action in ACTIONS.values()))


def code_actions(
    uri: str, at: types.Range, only: Sequence[str] | None, reason: str | None
) -> list[types.CodeAction]:
    """The menu for a range; with a `reason`, each entry is disabled and says it."""
    actions = ACTIONS.values()
    wanted = [a for a in actions if only is None or any(_is_kind(a.kind, kind) for kind in only)]
    disabled = types.CodeActionDisabled(reason) if reason else None
    return [
        types.CodeAction(
            title=f"cl-lsp: {action.title}",
            kind=action.kind,
            disabled=disabled,
            command=None if reason else _command(action, uri, at),
        )
        for action in wanted
    ]


def _command(action: Action, uri: str, at: types.Range) -> types.Command:
    span = [at.start.line, at.start.character, at.end.line, at.end.character]
    return types.Command(action.title, COMMAND, arguments=[action.name, uri, span])


def read_arguments(given: Any) -> tuple[Action, str, types.Range]:
    """What `_command` wrote. Raises TypeError, ValueError or KeyError for anything else."""
    name, uri, (line, column, end_line, end_column) = given
    at = types.Position(line, column), types.Position(end_line, end_column)
    return ACTIONS[name], str(uri), types.Range(*at)


def _is_kind(kind: str, wanted: str) -> bool:
    return not wanted or kind == wanted or kind.startswith(wanted + ".")


def selected(snapshot: Snapshot, end: int) -> str:
    """The code from the snapshot's cursor to offset `end`, or, if that is none, its paragraph."""
    if snapshot.text[snapshot.offset : end].strip():
        return snapshot.text[snapshot.offset : end]
    start = snapshot.text.rfind("\n\n", 0, snapshot.offset) + 1
    stop = snapshot.text.find("\n\n", snapshot.offset)
    return snapshot.text[start : stop if stop >= 0 else len(snapshot.text)].strip("\n")


def cut(code: str) -> str:
    """At most MAX_SELECTION characters of it, whole lines."""
    return code if len(code) <= MAX_SELECTION else code[: code.rfind("\n", 0, MAX_SELECTION) + 1]


async def ask(backend: Backend, action: Action, language: str, code: str, max_tokens: int) -> str:
    """The answer as Markdown, with the question in it. Raises EngineGone or EngineRefused."""
    sent = cut(code)
    fenced = f"```{language}\n{sent.rstrip()}\n```"
    question = f"{action.question.format(language=language)}\n{fenced}"
    request = ChatRequest([{"role": "user", "content": question}], backend.model, max_tokens)
    answer = ""
    async for chunk in backend.chat(request):
        answer += chunk.text
    note = "" if sent == code else f" (its first {len(sent):,} of {len(code):,} characters)"
    return f"# {action.title}{note}\n\n{fenced}\n\n{answer.strip()}\n"


def keep(markdown: str, action: Action) -> Path:
    """A file that the editor can show; old ones go after a day."""
    folder = user_cache_path("cl-lsp") / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.md"):
        if time.time() - old.stat().st_mtime > 86400:
            old.unlink(missing_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{action.name}.md"
    path.write_text(markdown, encoding="utf-8")
    return path
