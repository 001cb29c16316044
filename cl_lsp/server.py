"""The language server: a handler parses, calls, converts. Decisions are in other files."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.protocol import default_converter, lsp_method

from . import __version__, chat, control, items, stdio, watching
from .answers import Answer, Answers
from .backend import Backend, Report
from .cache import Cache
from .candidates import Choosing, alternatives
from .chats import Chats
from .completion import Suggestion, accepted, suggest
from .documents import Documents, Snapshot
from .engines import Engines
from .errors import ClLspError, EngineResting, Unreadable
from .gate import Gate
from .notebooks import SYNC, NotebookProtocol, Notebooks
from .progress import progress
from .reasons import Reason, sentence
from .robust import RobustProtocol, RobustServer
from .scopes import Scopes, path_of
from .state import METHOD, Board, wanted
from .trace import Record, Trace
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
        self._server.surroundings.opened(document.uri)
        if document.problem:
            self._server.say_once(f"no suggestions in {document.uri}: {document.problem}")

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidChangeTextDocumentParams
    ) -> None:
        if self._server.documents.change(params) is None:
            log.warning("a change of %s, which is not open, is ignored", params.text_document.uri)
        else:
            self._server.surroundings.changed(params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidCloseTextDocumentParams
    ) -> None:
        self._server.documents.close(params.text_document.uri)
        self._server.answers.forget(params.text_document.uri)
        self._server.cache.forget(params.text_document.uri)
        self._server.surroundings.closed(params.text_document.uri)
        self._server.choosing.stop(params.text_document.uri)
        self._server.chats.closed(params.text_document.uri)

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.ExecuteCommandParams
    ) -> Any:
        # pygls runs a command beside its request, where a cancel does not reach it.
        commands = control.COMMANDS | chat.COMMANDS
        if (command := commands.get(params.command)) is None:
            raise JsonRpcInvalidParams(f"there is no command {params.command!r}")
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
        self.surroundings = Workspace(self.documents)
        self.surroundings.hides = self.gate.hides
        self.settled = asyncio.Event()  # the editor has told its settings, or has none to tell
        self.settled.set()
        self.trace = Trace()
        self.board = Board(lambda state: self.protocol.notify(METHOD, state))
        self.answers = Answers(self._suggest)
        self.cache = Cache()
        self.choosing = Choosing()
        self.chats = Chats(self)
        self.engines = Engines(
            self.scopes.of, lambda message: self.say_once(message), self._loading
        )
        self._said: set[str] = set()
        self._register()

    def _register(self) -> None:
        self.feature(types.INITIALIZE)(on_initialize)
        self.feature(types.INITIALIZED)(on_initialized)
        self.feature(types.SHUTDOWN)(on_shutdown)
        chat.register(self)
        control.register(self)
        inline = types.InlineCompletionOptions()
        self.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, inline)(inline_completion)
        watching.register(self)

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

    async def suggestion(self, method: str, snapshot: Snapshot) -> Suggestion | None:
        """The suggestion at a cursor; None if a newer request of this method has overtaken it."""
        record = self.trace.begin(method, snapshot)
        if not self.settled.is_set():
            await control.settle(self)
        if reason := self.gate.closed(snapshot):
            return self.silent(record, snapshot.place, reason)
        try:
            found = await self._found(method, snapshot, record)
        except asyncio.CancelledError:
            record.ends(None, Reason.CANCELLED)
            raise
        except ClLspError as error:
            return self.silent(record, snapshot.place, error.reason, str(error))
        if found is None:
            open_still = self.documents.is_open(snapshot.uri)
            record.ends(None, Reason.OVERTAKEN if open_still else Reason.CLOSED)
        elif not found.text:
            return self.silent(record, snapshot.place, found.stop_reason or Reason.EMPTY, "", found)
        else:
            record.ends(found)
            self.board.suggested(record.total_ms)
        return found

    def silent(
        self, record: Record, place: str, reason: str, error: str = "", found: Any = None
    ) -> Suggestion:
        """No suggestion, for a reason that the editor's log, the status and the trace tell."""
        found = found or Suggestion(stop_reason=reason)
        record.ends(found, reason, error)
        why = error or sentence(reason)
        message = f"no suggestion at {place}: {reason}" + (f" ({why})" if why != reason else "")
        self.window_log_message(types.LogMessageParams(types.MessageType.Log, message))
        self.board.silent(reason, error)
        return found

    async def _found(self, method: str, snapshot: Snapshot, record: Record) -> Suggestion | None:
        if (known := self.cache.get(snapshot)) is not None:
            self.answers.overtake(snapshot.uri, method)
            record.told("typed")
            return known
        try:
            found = await self.answers.get(snapshot, method, record.told)
        except EngineResting:
            raise
        except ClLspError as error:
            self.say_once(str(error), types.MessageType.Error)
            raise
        if found is not None:
            self.cache.put(snapshot, found)
            if found.text and await self._prefetches(snapshot.uri):
                self.answers.prefetch(accepted(snapshot, found))
        return found

    async def suggestions(
        self, method: str, snapshot: Snapshot, invoked: bool
    ) -> list[Suggestion] | None:
        """Those at a cursor, the best first; several if someone `invoked` them. None: as above."""
        self.choosing.stop(snapshot.uri)
        found = await self.suggestion(method, snapshot)
        if found is None or not found.text:
            return None if found is None else []
        if not invoked:
            return [found]
        others = await self.choosing.wait(snapshot.uri, self._alternatives(snapshot, found))
        return None if others is None else [found, *others]

    async def _alternatives(self, snapshot: Snapshot, first: Suggestion) -> list[Suggestion]:
        uri = snapshot.uri
        backend, config = self.engines.of("completion", uri), self.scopes.of(uri).completion
        try:
            snippets = self.surroundings.snippets
            return await alternatives(backend, snapshot, config, first, snippets)
        except ClLspError as error:
            log.warning("no further suggestions at %s: %s", snapshot.place, error)
            return []

    async def _suggest(self, answer: Answer) -> Suggestion:
        uri = answer.snapshot.uri
        config = self.scopes.of(uri)

        def ask(backend: Backend) -> Awaitable[Suggestion]:
            answer.sent = False
            return suggest(backend, answer, config.completion, self.surroundings.snippets)

        self.board.asks(config.engine.model)
        try:
            # Without one that waits it is only there to be followed.
            return await self.engines.ask("completion", ask, lambda: bool(answer.waiting), uri)
        finally:
            self.board.answered()

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
        self.gate.forget()
        self.engines.check(self.scopes.all())
        self.surroundings.configure(lambda uri: self.scopes.of(uri).completion)
        control.show_switch(self)

    async def _prefetches(self, uri: str) -> bool:
        with contextlib.suppress(ClLspError):
            traits = await self.engines.of("completion", uri).traits()
            return self.scopes.of(uri).completion.prefetch and traits.structured
        return False

    async def close(self) -> None:
        await self.answers.close()
        await self.surroundings.close()
        await self.engines.close()


async def on_initialize(ls: ClLsp, params: types.InitializeParams) -> None:
    ls.documents.encoding = str(ls.workspace.position_encoding)
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
        ls.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions())(completion)


async def on_initialized(ls: ClLsp, _params: types.InitializedParams) -> None:
    """Read the workspace, and load the model before the first key."""
    watching.start(ls)
    control.watch(ls)
    await control.pull(ls)
    try:
        await ls.engines.ready("completion", ls.scopes.main)
    except ClLspError as error:
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
    chosen, _, _ = items.with_selected(ls.documents, snapshot, info)
    invoked = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    found = await ls.suggestions("inline", chosen, invoked)
    if found is None:
        return None
    made = [items.inline_item(ls.documents, snapshot, line, one, info) for one in found]
    return types.InlineCompletionList(items=made)


async def completion(ls: ClLsp, params: types.CompletionParams) -> types.CompletionList | None:
    snapshot = _snapshot(ls, "completion", params)
    if snapshot is None:  # nor will there be an item when more has been typed
        return types.CompletionList(is_incomplete=False, items=[])
    found = await ls.suggestions("completion", snapshot, invoked=False)
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
        ls.silent(record, f"{uri.rpartition('/')[2]}:{at.line + 1}", error.reason)
        return None


def main() -> None:
    stdio.start(ClLsp())
