"""The menu: what is offered on a range, what each entry asks, and the commands behind them.

An entry that the model cannot do is there too, disabled with the reason.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lsprotocol import types

from .fenced import fence
from .selection import Selection

CHAT = "cl-lsp.chat"
FILL = "cl-lsp.fill"


@dataclass(frozen=True)
class Action:
    """One entry. `gives`: what becomes of the answer; `question` is asked about the code.

    With `waits`, it is the user who writes the question, unless there is an instruction.
    """

    name: str
    title: str
    kind: str
    gives: Literal["answer", "edit", "file", "fill"]
    question: str = ""
    waits: bool = False


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "explain",
            "Explain this code",
            "cl-lsp.explain",
            "answer",
            "Explain briefly what this {language} code does:",
        ),
        Action("ask", "Ask about this code", "cl-lsp.ask", "answer", waits=True),
        Action(
            "fix",
            "Fix this code",
            "refactor.rewrite.fix",
            "edit",
            "Fix the errors in this {language} code.",
        ),
        Action(
            "document",
            "Add documentation",
            "refactor.rewrite.document",
            "edit",
            "Add documentation comments (docstrings) to this {language} code. Change nothing else.",
        ),
        Action(
            "types",
            "Add types",
            "refactor.rewrite.types",
            "edit",
            "Add type annotations to this {language} code. Change nothing else.",
        ),
        Action(
            "optimise",
            "Optimise this code",
            "refactor.rewrite.optimise",
            "edit",
            "Make this {language} code faster without changing what it does.",
        ),
        Action("edit", "Edit this code", "refactor.rewrite.edit", "edit", waits=True),
        Action(
            "tests",
            "Write tests for this code",
            "cl-lsp.tests",
            "file",
            "Write unit tests for this {language} code.",
        ),
        Action("here", "Complete here", "refactor.rewrite.fill", "fill"),
        Action("candidates", "Complete here: three candidates", "refactor.rewrite.fill", "fill"),
        Action("body", "Fill this body", "refactor.rewrite.fill", "fill"),
        Action("selection", "Fill the selection", "refactor.rewrite.fill", "fill"),
    )
}
QUICKFIX = "quickfix"
KINDS = (QUICKFIX, *dict.fromkeys(action.kind for action in ACTIONS.values()))
WHOLE = "Answer with all of the changed code in one fenced code block, and nothing else."
TESTS = "Answer with the whole test file in one fenced code block, and nothing else."


@dataclass(frozen=True)
class Asked:
    """What a command of a plugin or of the menu says."""

    action: Action
    uri: str
    at: types.Range
    instruction: str = ""
    diagnostics: tuple[str, ...] = ()

    @classmethod
    def of(cls, command: str, arguments: Any) -> "Asked":
        """Raises TypeError, ValueError or KeyError for what makes no sense."""
        given = only(arguments)
        action = ACTIONS.get(text_of(given["action"]))
        if action is None or (action.gives == "fill") != (command == FILL):
            raise ValueError(f"{command} has no action {given['action']}")
        told = given.get("diagnostics") or []
        instruction = given.get("instruction") or ""
        if not isinstance(instruction, str) or not all(isinstance(text, str) for text in told):
            raise ValueError("instruction and diagnostics are texts")
        at = range_of(given["range"])
        return cls(action, text_of(given["uri"]), at, instruction.strip(), tuple(told))

    @property
    def waits(self) -> bool:
        """Whether it is the user who writes the question."""
        return self.action.waits and not self.instruction


def range_of(given: Mapping[str, Any]) -> types.Range:
    """Raises as `Asked.of`."""
    numbers = [given[end][part] for end in ("start", "end") for part in ("line", "character")]
    if not all(isinstance(n, int) and 0 <= n < 2**31 for n in numbers):
        raise ValueError("a range has whole numbers")
    return types.Range(types.Position(*numbers[:2]), types.Position(*numbers[2:]))


def text_of(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError(f"a text is wanted, not {json.dumps(given, default=str)}")
    return given


def only(arguments: Any) -> dict[str, Any]:
    """A command's argument. Raises ValueError."""
    if not isinstance(arguments, list | tuple) or len(arguments) != 1:
        raise ValueError("one object is wanted as the only argument")
    if not isinstance(arguments[0], dict):
        raise ValueError("the argument must be an object")
    return arguments[0]


def code_actions(
    params: types.CodeActionParams, refused: Mapping[str, str], shows_disabled: bool
) -> Iterator[types.CodeAction]:
    """The menu for a range; `refused` says why there is no `chat` or `infilling`."""
    only, at = params.context.only, params.range
    diagnostics = params.context.diagnostics
    for action in ACTIONS.values():
        kind = QUICKFIX if action.name == "fix" and diagnostics else action.kind
        if not wanted(kind, only) or (action.name == "selection" and at.start == at.end):
            continue
        reason = refused.get("infilling" if action.gives == "fill" else "chat")
        if reason and not shows_disabled:
            continue
        fixes = list(diagnostics) if kind == QUICKFIX else None
        yield types.CodeAction(
            title=f"cl-lsp: {action.title}",
            kind=kind,
            diagnostics=fixes,
            disabled=types.CodeActionDisabled(reason) if reason else None,
            command=None if reason else _command(action, params, fixes or []),
        )


def _command(
    action: Action, params: types.CodeActionParams, diagnostics: Sequence[types.Diagnostic]
) -> types.Command:
    at = {
        end: {"line": position.line, "character": position.character}
        for end, position in (("start", params.range.start), ("end", params.range.end))
    }
    argument: dict[str, Any] = {
        "action": action.name,
        "uri": params.text_document.uri,
        "range": at,
    }
    if diagnostics:
        argument["diagnostics"] = [
            f"line {d.range.start.line + 1}: {d.message}" for d in diagnostics
        ]
    command = FILL if action.gives == "fill" else CHAT
    return types.Command(action.title, command, arguments=[argument])


def wanted(kind: str, only: Sequence[str] | None) -> bool:
    return only is None or any(not o or kind == o or kind.startswith(f"{o}.") for o in only)


def question(asked: Asked, selection: Selection) -> str:
    """What the model is asked, with the code in it."""
    language = selection.language or "the"
    words = [asked.action.question.format(language=language)]
    if asked.instruction:
        words.append(asked.instruction)
    if asked.diagnostics:
        words += ["These problems were found:", *(f"- {text}" for text in asked.diagnostics)]
    words += {"edit": [WHOLE], "file": [TESTS]}.get(asked.action.gives, [])
    return "\n".join([*(w for w in words if w), "", quoted(selection)])


def quoted(selection: Selection) -> str:
    """The code for a prompt: below the lines that open what encloses it."""
    code = fence(selection.code, selection.language)
    if not selection.heads:
        return code
    heads = fence(selection.heads, selection.language)
    return f"It stands in:\n\n{heads}\n\nThe code:\n\n{code}"
