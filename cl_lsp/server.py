"""The language server: a handler parses, calls, converts. Decisions are in other files."""

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import AsyncIterator
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.protocol import default_converter, lsp_method

from . import __version__, chat, control, items, models, stdio, watching
from .backend import Report
from .chats import Chats
from .documents import Documents, Snapshot, name_of
from .engines import Engines
from .errors import ClLspError, Unreadable
from .gate import Gate
from .notebooks import SYNC, NotebookProtocol, Notebooks
from .progress import progress
from .reasons import Reason
from .robust import RobustProtocol, RobustServer
from .scopes import Scopes, path_of
from .state import METHOD, Board, wanted
from .suggesting import Suggesting
from .trace import Record, Trace
from .warming import Warming
from .workspace import Workspace

log = logging.getLogger(__name__)
SAID = 1000  # different messages that are remembered not to pop up again


class Protocol(NotebookProtocol, RobustProtocol):  # pyright: ignore[reportIncompatibleMethodOverride]
    """pygls with our document store in place of its own."""

    _server: "ClLsp"  # pyright: ignore[reportIncompatibleVariableOverride]

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidOpenTextDocumentParams
    ) -> None:
        document = self._server.documents.open(params.text_document)
        self._server.workspace.opened(document.uri)
        self._server.warming.visit(document.uri, types.Position(0, 0))
        if document.problem:
            self._server.say_once(f"no suggestions in {document.uri}: {document.problem}")

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidChangeTextDocumentParams
    ) -> None:
        if self._server.documents.change(params) is None:
            log.warning("a change of %s, which is not open, is ignored", params.text_document.uri)
        else:
            self._server.workspace.changed(params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidCloseTextDocumentParams
    ) -> None:
        self._server.documents.close(params.text_document.uri)
        self._server.suggesting.forget(params.text_document.uri)
        self._server.warming.forget(params.text_document.uri)
        self._server.workspace.closed(params.text_document.uri)
        self._server.chats.closed(params.text_document.uri)

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.ExecuteCommandParams
    ) -> Any:
        # pygls runs a command beside its request, where a cancel does not reach it.
        commands = control.COMMANDS | chat.COMMANDS
        if (command := commands.get(params.command)) is None:
            raise JsonRpcInvalidParams(f"there is no command {params.command}")
        return await command(self._server, params.arguments)


class ClLsp(RobustServer):
    """State of one editor's connection."""

    def __init__(self) -> None:
        super().__init__(
            "cl-lsp",
            __version__,
            text_document_sync_kind=types.TextDocumentSyncKind.Incremental,
            protocol_cls=Protocol,
            converter_factory=default_converter,
            notebook_document_sync=SYNC,
        )
        self.scopes = Scopes(os.environ, lambda message: self.say(message), self._on_settings)
        self.gate = Gate(self.scopes)
        self.documents = Documents(self.gate.secret)
        self.notebooks = Notebooks(self.documents)
        self.documents.around = self.notebooks.around
        self.scopes.owner = self.notebooks.owner
        self._workspace = Workspace(self.documents)
        self.workspace.hides = self.gate.hides
        self.settled = asyncio.Event()  # the editor has told its settings, or has none to tell
        self.settled.set()
        self.pulling: asyncio.Task[None] | None = None  # them, from the editor
        self.trace = Trace()
        self.board = Board(lambda state: self.protocol.notify(METHOD, state))
        self.suggesting = Suggesting(self)
        self.warming = Warming(self)
        self.chats = Chats(self)
        self.engines = Engines(
            self.scopes.of, lambda message: self.say_once(message), self._loading
        )
        self._said: set[str] = set()
        self._edition = 0  # of the settings
        self._register()

    @property
    def workspace(self) -> Workspace:  # pyright: ignore[reportIncompatibleMethodOverride]
        """In place of pygls's own, which only `protocol` has."""
        return self._workspace

    def _register(self) -> None:
        self.feature(types.INITIALIZE)(on_initialize)
        self.feature(types.INITIALIZED)(on_initialized)
        self.feature(types.SHUTDOWN)(on_shutdown)
        chat.register(self)
        control.register(self)
        inline = types.InlineCompletionOptions()
        self.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, inline)(inline_completion)
        watching.register(self)
        self.warming.register()
        models.register(self)

    def say(self, message: str, kind: types.MessageType = types.MessageType.Warning) -> None:
        log.warning("%s", message)
        self.window_show_message(types.ShowMessageParams(kind, f"cl-lsp: {message}"))

    def say_once(self, message: str, kind: types.MessageType = types.MessageType.Warning) -> None:
        """A pop-up, unless it was shown before; the log has it every time."""
        if message in self._said or len(self._said) >= SAID:
            log.warning("%s", message)
        else:
            self._said.add(message)
            self.say(message, kind)

    @contextlib.asynccontextmanager
    async def _loading(self, title: str) -> AsyncIterator[Report]:
        self.board.loads(title.removeprefix("cl-lsp: "))
        try:
            async with progress(self, title) as report:
                yield report
        finally:
            self.board.loaded()

    def _on_settings(self) -> None:
        """They are other than before."""
        if self._edition != self.scopes.edition:
            self._edition = self.scopes.edition
            for uri in self.documents.uris:  # what is kept was made with the old ones
                self.suggesting.forget(uri)
        self.gate.forget()
        self.engines.check(self.scopes.all())
        self.workspace.configure(lambda uri: self.scopes.of(uri).completion)
        control.show_switch(self)

    async def close(self) -> None:
        self.warming.stop()
        self.chats.close()
        await self.suggesting.close()
        await self.workspace.close()
        await self.engines.close()


async def on_initialize(ls: ClLsp, params: types.InitializeParams) -> None:
    ls.documents.encoding = str(ls.protocol.workspace.position_encoding)
    uris = [folder.uri for folder in params.workspace_folders or []] or [params.root_uri or ""]
    ls.scopes.folders = [path for uri in uris if (path := path_of(uri))]
    ls.scopes.options = params.initialization_options
    ls.board.wanted = wanted(params.capabilities.experimental)
    ls.scopes.read()
    if control.can_pull(ls):
        ls.settled.clear()
    text_document = params.capabilities.text_document
    inline = text_document is not None and text_document.inline_completion is not None
    told = (config.completion.popup for config in ls.scopes.all())
    popup = next((wish for wish in told if wish is not None), None)
    if popup or (popup is None and not inline):
        # Not empty: ALE takes an empty object for none.
        options = types.CompletionOptions(resolve_provider=False)
        ls.feature(types.TEXT_DOCUMENT_COMPLETION, options)(completion)


async def on_initialized(ls: ClLsp, _params: types.InitializedParams) -> None:
    """Read the workspace, and load the model before the first key."""
    watching.start(ls)
    control.watch(ls)
    await control.pull(ls)
    await ls.settled.wait()  # a newer pull may have taken the place of that one
    try:
        await ls.engines.ready("completion", ls.scopes.main)
    except ClLspError as error:
        ls.board.failed(str(error))
        ls.say_once(str(error), types.MessageType.Error)


async def on_shutdown(ls: ClLsp, _params: None) -> None:
    await ls.close()


async def inline_completion(
    ls: ClLsp, params: types.InlineCompletionParams
) -> types.InlineCompletionList | None:
    snapshot = _snapshot(ls, "inline", params)
    if snapshot is None:
        return types.InlineCompletionList(items=[])
    info, line = params.context.selected_completion_info, params.position.line
    selected = items.with_selected(ls.documents, snapshot, info)
    invoked = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    found = await ls.suggesting.several("inline", selected.snapshot, invoked)
    if found is None:
        return None
    made = [items.inline_item(ls.documents, snapshot, line, one, selected) for one in found]
    return types.InlineCompletionList(items=made)


async def completion(ls: ClLsp, params: types.CompletionParams) -> types.CompletionList | None:
    snapshot = _snapshot(ls, "completion", params)
    if snapshot is None:  # nor will there be an item when more has been typed
        return types.CompletionList(is_incomplete=False, items=[])
    found = await ls.suggesting.several("completion", snapshot, invoked=False)
    if found is None:
        return None
    able = ls.client_capabilities.text_document
    able = able.completion.completion_item if able and able.completion else None
    line = params.position.line
    made = [items.menu_item(ls.documents, snapshot, line, one, able) for one in found]
    # What was typed since makes another request worth while.
    return types.CompletionList(is_incomplete=True, items=[item for item in made if item])


def _snapshot(
    ls: ClLsp, method: str, params: types.InlineCompletionParams | types.CompletionParams
) -> Snapshot | None:
    uri, at = params.text_document.uri, params.position
    try:
        return ls.documents.snapshot(uri, at, exact=True)
    except Unreadable as error:
        if error.reason in (Reason.BINARY, Reason.TOO_LARGE):
            ls.say_once(str(error))
        record = ls.trace.add(Record(method, uri, at.line, ""))
        ls.suggesting.silent(record, f"{name_of(uri)}:{at.line + 1}", error.reason)
        return None


def main() -> None:
    server = ClLsp()
    # What stays for good is 70,000 objects: a collection of garbage that visits them takes 30 ms,
    # in the midst of a key.
    gc.freeze()
    stdio.start(server)
