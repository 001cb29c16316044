"""What is wrong with a value of a setting, in words that follow its name."""

import types
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pathspec import GitIgnoreSpec

from .errors import ClLspError
from .wire import Address


def problem_of(name: str, hint: Any, limits: Mapping[str, Any], value: object) -> str | None:
    """None if it is good. `limits`: a field's metadata."""
    options = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
    if value is None and type(None) in options:
        return None
    kind = options[0]
    if get_origin(kind) is Literal:
        choices = ", ".join(get_args(kind))
        return None if value in get_args(kind) else f"must be one of {choices}"
    if kind == tuple[str, ...]:
        return _no_list(name, value)
    if kind is str:
        good = isinstance(value, str) and value
        return (_no_endpoint(value) if name == "endpoint" else None) if good else "must be a text"
    if kind is bool:
        return None if isinstance(value, bool) else "must be true or false"
    return _no_number(kind, limits["least"], limits["most"], value)


def _no_number(kind: type, least: float, most: float | None, value: object) -> str | None:
    wanted = "a whole number" if kind is int else "a number"
    within = f" from {least} to {most}" if most is not None else f" of at least {least}"
    good = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    if good and least <= value <= (float("inf") if most is None else most):  # type: ignore[operator]
        return None if value != float("inf") else f"must be {wanted}{within}"
    return f"must be {wanted}{within}"


def _no_list(name: str, value: object) -> str | None:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        return "must be a list of texts"
    try:
        if name.endswith("_globs"):
            GitIgnoreSpec.from_lines(value)
    except ValueError as error:
        return f"holds a pattern that no .gitignore could have: {error}"
    return None


def _no_endpoint(value: object) -> str | None:
    try:
        Address.of(str(value))
    except ClLspError:
        return "must be a URL such as http://host:8000/v1, or unix:/path/of.sock"
    return None
