"""`cl-lsp/models`: what an editor's model picker shows, of the engine of each role.

The engine's own cards, unchanged. To choose one is to change the setting `model`.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, get_args

from . import control
from .backend import Backend
from .engines import Role
from .errors import ClLspError

if TYPE_CHECKING:
    from .server import ClLsp

METHOD = "cl-lsp/models"


def register(ls: "ClLsp") -> None:
    ls.feature(METHOD)(models)


async def models(ls: "ClLsp", _params: object) -> dict[str, Any]:
    """`{role: {"current", "models", "problem"}}`; starts the engine if need be."""
    return {role: await _of(ls, role) for role in get_args(Role)}


async def _of(ls: "ClLsp", role: Role) -> dict[str, Any]:
    def ask(backend: Backend) -> Awaitable[list[dict[str, Any]]]:
        return backend.models()

    try:
        await control.settle(ls)  # it may say that there is another engine
        cards = await ls.engines.ask(role, ask, uri=ls.scopes.main)
    except ClLspError as error:
        return {"current": None, "models": [], "problem": str(error)}
    current = ls.engines.of(role, ls.scopes.main).model or (cards[0]["id"] if cards else None)
    return {"current": current, "models": cards, "problem": None}
