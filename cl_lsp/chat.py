"""Handlers of the code actions, the chat documents and the request `cl-lsp/chat`.

They parse, call and convert; what a user must know is told by a message and in the reply.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from . import actions, chat_documents, chat_view, rewrites
from .actions import Asked, code_actions, wanted
from .chats import Outcome
from .client_edits import Discarded
from .errors import ClLspError, EngineGone, in_words

if TYPE_CHECKING:
    from .server import ClLsp

SEND, STOP, INSERT = "cl-lsp.chat.send", "cl-lsp.chat.stop", "cl-lsp.chat.insert"
REQUEST = "cl-lsp/chat"
KIND = "cl-lsp.chat"  # of the code actions in a chat document


class RequestFailed(JsonRpcException):
    CODE = -32803


def register(ls: "ClLsp") -> None:
    kinds = types.CodeActionOptions([*actions.KINDS, KIND])
    ls.feature(types.TEXT_DOCUMENT_CODE_ACTION, kinds)(code_action)
    ls.feature(types.TEXT_DOCUMENT_CODE_LENS, types.CodeLensOptions())(code_lens)
    ls.feature(REQUEST)(chat)
    for name, command in COMMANDS.items():
        ls.command(name)(command)  # for the capability; Protocol runs them


async def code_action(ls: "ClLsp", params: types.CodeActionParams) -> list[types.CodeAction]:
    able = ls.client_capabilities.text_document
    able = able.code_action if able else None
    if able is None or able.code_action_literal_support is None:
        return []
    uri = params.text_document.uri
    if params.context.only is None:  # what is asked for on saving begins at the top
        ls.warming.visit(uri, params.range.start)
    if (path := chat_documents.path_of(uri)) is not None:
        lines = range(params.range.start.line, params.range.end.line + 1)
        offered = _offers(ls, path, uri, lines) if wanted(KIND, params.context.only) else []
        return [types.CodeAction(f"cl-lsp: {c.title}", KIND, command=c) for _, c in offered]
    only = params.context.only
    if only is not None and not any(wanted(kind, only) for kind in actions.KINDS):
        return []
    return list(code_actions(params, await refusals(ls, uri), bool(able.disabled_support)))


async def code_lens(ls: "ClLsp", params: types.CodeLensParams) -> list[types.CodeLens]:
    uri = params.text_document.uri
    if (path := chat_documents.path_of(uri)) is None:
        return []
    return [
        types.CodeLens(types.Range(types.Position(n, 0), types.Position(n, 0)), command)
        for n, command in _offers(ls, path, uri, None)
    ]


async def refusals(ls: "ClLsp", uri: str) -> dict[str, str]:
    """Why there is no `chat` or `infilling` for a document, as far as that is known."""
    if reason := ls.gate.secret(uri):
        return {"chat": reason.sentence, "infilling": reason.sentence}
    refused = {}
    try:
        told = await ls.engines.of("chat", uri).refusals(fresh=True)
        refused |= {name: why for name, why in told.items() if name == "chat"}
    except EngineGone:
        refused["chat"] = "the engine is not running yet; it starts with the next suggestion"
    except ClLspError as error:
        refused["chat"] = str(error)
    try:
        told = await ls.engines.of("completion", uri).refusals()
        refused |= {name: why for name, why in told.items() if name == "infilling"}
    except EngineGone:
        pass  # it is started when it is needed
    except ClLspError as error:
        refused["infilling"] = str(error)
    return refused


def _offers(
    ls: "ClLsp", path: Path, uri: str, lines: range | None
) -> list[tuple[int, types.Command]]:
    """What can be done in a chat document, and at which line; of blocks, those in `lines`."""
    try:
        markdown = ls.chats.text(path)
    except ClLspError:
        return []
    said = chat_documents.Conversation.read(markdown)
    argument = {"uri": uri}
    offers: list[tuple[int, types.Command]] = []
    at = said.last_heading or 0
    if ls.chats.is_answering(path):
        offers.append((at, types.Command("Stop", STOP, arguments=[argument])))
    else:
        offers.append((at, types.Command("Send", SEND, arguments=[argument])))
    if said.origin is None:
        return offers
    cursor = said.origin.column is not None
    places = (
        [("Insert at the origin", "replace")]
        if cursor
        else [("Replace the origin", "replace"), ("Insert below the origin", "below")]
    )
    for number, block in enumerate(chat_documents.answer_blocks(markdown)):
        stop = block.line + len(block.text.splitlines()) + 2
        if lines is None or (lines.start < stop and block.line < lines.stop):
            for title, where in places:
                given = argument | {"block": number, "where": where}
                offers.append((block.line, types.Command(title, INSERT, arguments=[given])))
    return offers


async def _act(ls: "ClLsp", command: str, arguments: Any) -> Outcome:
    return await rewrites.act(ls, _checked(Asked.of, command, arguments))


async def _send(ls: "ClLsp", path: Path, _given: dict[str, Any]) -> Outcome:
    await ls.chats.send(path)
    return Outcome("shown", path.as_uri())


async def _stop(ls: "ClLsp", path: Path, _given: dict[str, Any]) -> Outcome:
    if not ls.chats.is_answering(path):
        return Outcome("nothing", path.as_uri())
    ls.chats.stop(path)
    return Outcome("applied", path.as_uri())


async def _insert(ls: "ClLsp", path: Path, given: dict[str, Any]) -> Outcome:
    number, where = given.get("block"), given.get("where", "replace")
    if not isinstance(number, int) or where not in ("replace", "below"):
        raise JsonRpcInvalidParams("block is a number, where is replace or below")
    if not await ls.chats.insert(path, number, where):
        return Outcome("nothing", path.as_uri(), "the code stands there already")
    return Outcome("applied", path.as_uri())


def _of_document(
    what: Callable[["ClLsp", Path, dict[str, Any]], Awaitable[Outcome]],
) -> Callable[["ClLsp", str, Any], Awaitable[Outcome]]:
    """A command whose argument names a chat document."""

    def given(arguments: Any) -> tuple[Path, dict[str, Any]]:
        given = actions.only(arguments)
        path = chat_documents.path_of(actions.text_of(given["uri"]))
        if path is None:
            raise ValueError(f"{given['uri']} is no chat document")
        return path, given

    async def command(ls: "ClLsp", _name: str, arguments: Any) -> Outcome:
        return await what(ls, *_checked(given, arguments))

    return command


def _checked(read: Callable[..., Any], *given: Any) -> Any:
    try:
        return read(*given)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise JsonRpcInvalidParams.of(in_words(error)) from error


def _command(
    name: str, what: Callable[["ClLsp", str, Any], Awaitable[Outcome]]
) -> Callable[["ClLsp", Any], Awaitable[dict[str, Any]]]:
    """What goes wrong is shown, and told in the reply."""

    async def command(ls: "ClLsp", arguments: Any) -> dict[str, Any]:
        try:
            outcome = await what(ls, name, arguments)
        except Discarded:
            outcome = Outcome("nothing")
        except ClLspError as error:
            outcome = Outcome("failed", message=str(error))
        if outcome.message:
            failed = outcome.outcome == "failed"
            kind = types.MessageType.Error if failed else types.MessageType.Warning
            message = f"cl-lsp: {outcome.message}"
            ls.window_show_message(types.ShowMessageParams(kind, message))
        return outcome.told()

    return command


async def chat(ls: "ClLsp", params: Any) -> dict[str, Any]:
    """A conversation without a document, for a view of the client's own."""
    asked = _checked(chat_view.AskedInView.of, chat_view.plain(params))
    try:
        return await chat_view.answer(ls, asked)
    except ClLspError as error:
        raise RequestFailed(str(error)) from error


COMMANDS: dict[str, Callable[["ClLsp", Any], Awaitable[dict[str, Any]]]] = {
    actions.CHAT: _command(actions.CHAT, _act),
    actions.FILL: _command(actions.FILL, _act),
    SEND: _command(SEND, _of_document(_send)),
    STOP: _command(STOP, _of_document(_stop)),
    INSERT: _command(INSERT, _of_document(_insert)),
}
