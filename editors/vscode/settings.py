"""Remakes the server's settings in package.json: `python editors/vscode/settings.py`.

What a repository's own file may not set is of scope `machine`: VS Code, too, then takes it only
from the user's settings of the machine that has the code, never from `.vscode/settings.json`. What
that file may make stricter is added up in `src/settings.ts`.
"""

import json
import re
import types
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cl_lsp.config import SECTIONS
from cl_lsp.manual import manual

PACKAGE = Path(__file__).with_name("package.json")
RELATIVE_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")  # leads nowhere from there
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
OWN = {
    "title": "Language server",
    "properties": {
        "cl-lsp.server.path": {
            "type": "string",
            "default": "",
            "scope": "machine-overridable",
            "markdownDescription": "The program `cl-lsp`. Not set: the first of the workspace's"
            " `.venv` or `venv`, the chosen Python's environment, `PATH`, `~/.local/bin`."
            " *cl-lsp: Install* sets it.",
        }
    },
}


def configuration() -> list[dict[str, Any]]:
    """`contributes.configuration`: one group for each section."""
    entries = {entry.key: entry for entry in manual()}
    groups = [OWN]
    for section, part in SECTIONS.items():
        hints = get_type_hints(part)
        named = zip(
            (key for key in entries if key.startswith(f"{section}.")), fields(part), strict=True
        )
        properties = {
            f"cl-lsp.{key}": {
                **_schema(hints[field.name]),
                **_limits(field),
                "default": entries[key].default,
                "scope": "resource" if entries[key].workspace else "machine",
                "markdownDescription": RELATIVE_LINK.sub(r"\1", entries[key].text),
            }
            for key, field in named
        }
        groups.append({"title": section.capitalize(), "properties": properties})
    return groups


def _schema(hint: Any) -> dict[str, Any]:
    """JSON Schema of a field's type."""
    options = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
    choices = [one for option in options for one in _choices(option)]
    if choices:
        return {"enum": choices + [None] * (type(None) in options)}
    if get_origin(options[0]) in (tuple, list):
        return {"type": "array", "items": _schema(get_args(options[0])[0])}
    kinds = [TYPES[option] for option in options]
    return {"type": kinds if len(kinds) > 1 else kinds[0]}


def _choices(option: Any) -> list[str]:
    return list(get_args(option)) if get_origin(option) is Literal else []


def _limits(field: "Field[Any]") -> dict[str, Any]:
    given = {"minimum": field.metadata["least"], "maximum": field.metadata["most"]}
    return {name: limit for name, limit in given.items() if limit is not None}


def main() -> None:
    package = json.loads(PACKAGE.read_text())
    package["contributes"]["configuration"] = configuration()
    PACKAGE.write_text(json.dumps(package, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
