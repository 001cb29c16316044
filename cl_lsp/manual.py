"""What the settings are, for manuals and editors: from the docstrings below their fields."""

import ast
import inspect
import json
import types
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .config import SECTIONS
from .settings import camel


@dataclass(frozen=True)
class Entry:
    """A setting; `workspace`: whether a repository's own file may set it, or "stricter"."""

    key: str  # section.camelCase
    type: str
    default: Any
    text: str
    workspace: bool | str


def manual() -> list[Entry]:
    """Of all settings."""
    return [entry for section, part in SECTIONS.items() for entry in _of(section, part)]


def _of(section: str, part: type) -> list[Entry]:
    texts, hints = _docstrings(part), get_type_hints(part)
    return [
        Entry(
            f"{section}.{camel(f.name)}",
            _type(hints[f.name]),
            f.default,
            texts[f.name],
            f.metadata["workspace"],
        )
        for f in fields(part)
    ]


def _docstrings(part: type) -> dict[str, str]:
    [definition] = ast.parse(inspect.getsource(part)).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for before, after in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr):
            assert isinstance(before.target, ast.Name) and isinstance(after.value, ast.Constant)
            found[before.target.id] = " ".join(str(after.value.value).split())
    return found


def _type(hint: Any) -> str:
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    names[tuple[str, ...]] = "list of strings"
    options = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
    return " or ".join(
        ", ".join(map(json.dumps, get_args(one))) if get_origin(one) is Literal else names[one]
        for one in options
    )
