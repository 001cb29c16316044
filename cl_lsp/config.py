"""All settings in one frozen tree, parsed at the edge; a field's docstring is its manual."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Config:
    """What the editor sends as initializationOptions."""

    model: str = "embedded"
    """The model that the daemon loads: `embedded`, or the directory of a checkpoint."""

    plain_completion: bool | None = None
    """Offer `textDocument/completion` too. By default only to clients without inline completion."""

    max_tokens: int = 48
    """Longest suggestion, in tokens."""

    idle_exit_minutes: float = 30
    """A daemon that this editor started stops after so long without a request."""

    chat_template: str | None = None
    """A file that says what the model can do, for a daemon that this editor starts."""

    kernels: str = "auto"
    """`torch`: a daemon that this editor starts runs the model without our GPU kernels, slower."""

    context: int | None = None
    """Tokens that a daemon started by this editor can see at once: fewer take less memory."""

    kv_memory: float | None = None
    """GiB of its KV cache; None: four contexts, or what is free."""

    time_budget_ms: int = 0
    """Show what there is after so many milliseconds. 0: when it is finished, however long."""


def model_name(given: str) -> str:
    """A directory by its absolute path: the daemon may run elsewhere, and others may ask too."""
    path = Path(given).expanduser()
    return str(path.resolve()) if path.is_dir() else given


def parse_config(options: object) -> tuple[Config, list[str]]:
    """The configuration and one message for each option that is unknown or has the wrong type.

    Option names are the field names in camelCase; what is wrong keeps its default.
    """
    if options is None:
        return Config(), []
    if not isinstance(options, dict):
        return Config(), ["initializationOptions must be an object; using the defaults"]
    known = {_camel(field.name): field for field in fields(Config)}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in options.items():
        field = known.get(name)
        if field is None:
            problems.append(f"unknown option {name!r}; known: {', '.join(known)}")
        elif problem := _problem(field.name, value):
            problems.append(f"option {name!r} {problem}; using {field.default!r}")
        else:
            values[field.name] = value
    if "model" in values:
        values["model"] = model_name(values["model"])
    if values.get("chat_template"):
        values["chat_template"] = str(Path(values["chat_template"]).expanduser().absolute())
    return Config(**values), problems


def _problem(name: str, value: object) -> str | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match name:
        case "model":
            return None if isinstance(value, str) and value else "must be a name or a directory"
        case "chat_template":
            return None if value is None or (isinstance(value, str) and value) else "must be a file"
        case "kernels":
            return None if value in ("auto", "torch") else 'must be "auto" or "torch"'
        case "context":
            good = value is None or (isinstance(value, int) and number and value > 0)
            return None if good else "must be a whole number of tokens"
        case "kv_memory":
            good = value is None or (number and value > 0)  # type: ignore[operator]
            return None if good else "must be a number of GiB above 0"
        case "plain_completion":
            return (
                None if value is None or isinstance(value, bool) else "must be true, false or null"
            )
        case "max_tokens":
            good = isinstance(value, int) and number and 1 <= value <= 512
            return None if good else "must be a whole number from 1 to 512"
        case "time_budget_ms":
            good = isinstance(value, int) and number and value >= 0
            return None if good else "must be a whole number of milliseconds, 0 for no limit"
        case _:
            good = number and value >= 0  # type: ignore[operator]
            return None if good else "must be a number of minutes, 0 for never"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
