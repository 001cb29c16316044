"""The language server: a handler parses, calls, converts. Decisions are in other files."""

import contextlib
import logging
import os
from collections.abc import Awaitable
from pathlib import Path

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, default_converter, lsp_method
from pygls.uris import to_fs_path

from . import __version__, chat, stdio, watching
from .answers import Answer, Answers
from .backend import Backend
from .cache import Cache
from .completion import Suggestion, accepted, suggest
from .config import Config, read_config
from .documents import Documents, Snapshot, width
from .engines import Engines
from .errors import ClLspError, EngineGone, EngineResting, Unreadable
from .progress import progress
from .workspace import Workspace

log = logging.getLogger(__name__)


class Protocol(LanguageServerProtocol):
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

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.ExecuteCommandParams
    ) -> None:
        # pygls runs a command beside its request, where a cancel does not reach it.
        try:
            action, uri, at = chat.read_arguments(params.arguments)
        except (TypeError, ValueError, KeyError) as error:
            raise JsonRpcInvalidParams.of(error) from error
        await run_chat_action(self._server, action, uri, at)


class ClLsp(LanguageServer):
    """State of one editor's connection."""

    def __init__(self) -> None:
        super().__init__(
            "cl-lsp",
            __version__,
            text_document_sync_kind=types.TextDocumentSyncKind.Incremental,
            protocol_cls=Protocol,
            converter_factory=default_converter,
        )
        self.config = Config()
        self.documents = Documents()
        self.surroundings = Workspace(self.documents)
        self.answers = Answers(self._suggest)
        self.cache = Cache()
        self.engines = Engines(
            self.config, lambda message: self.say_once(message), lambda title: progress(self, title)
        )
        self._said: set[str] = set()
        self._register()

    def _register(self) -> None:
        self.feature(types.INITIALIZE)(on_initialize)
        self.feature(types.INITIALIZED)(on_initialized)
        self.feature(types.SHUTDOWN)(on_shutdown)
        actions = types.CodeActionOptions(chat.KINDS)
        self.feature(types.TEXT_DOCUMENT_CODE_ACTION, actions)(code_action)
        self.command(chat.COMMAND)(run_chat_action)  # for the capability; Protocol runs it
        inline = types.InlineCompletionOptions()
        self.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, inline)(inline_completion)
        watching.register(self)

    def say_once(self, message: str, kind: types.MessageType = types.MessageType.Warning) -> None:
        """A pop-up, unless it was shown before; the log has it every time."""
        log.warning("%s", message)
        if message not in self._said:
            self._said.add(message)
            self.window_show_message(types.ShowMessageParams(kind, f"cl-lsp: {message}"))

    def report_server_error(self, error: Exception, source: object) -> None:
        """A message that makes no sense is the log's business; pygls would pop up each one."""
        log.error("%s: %s", source, error)

    async def suggestion(self, method: str, snapshot: Snapshot) -> Suggestion | None:
        """The suggestion at a cursor; None if a newer request of this method has overtaken it."""
        if (known := self.cache.get(snapshot)) is not None:
            self.answers.overtake(snapshot.uri, method)
            return known
        try:
            found = await self.answers.get(snapshot, method)
        except EngineResting as error:
            found = Suggestion(stop_reason=str(error))
        except ClLspError as error:
            self.say_once(str(error), types.MessageType.Error)
            return Suggestion(stop_reason=str(error))
        if found is not None:
            self.cache.put(snapshot, found)
            if found.text and await self._prefetches():
                self.answers.prefetch(accepted(snapshot, found))
        if found is not None and not found.text:
            reason = f"no suggestion at {snapshot.place}: {found.stop_reason}"
            self.window_log_message(types.LogMessageParams(types.MessageType.Log, reason))
        return found

    async def _suggest(self, answer: Answer) -> Suggestion:
        def ask(backend: Backend) -> Awaitable[Suggestion]:
            answer.sent = False
            snippets = self.surroundings.snippets
            return suggest(backend, answer, self.config.completion, snippets)

        # Without one that waits it is only there to be followed.
        return await self.engines.ask("completion", ask, again=lambda: bool(answer.waiting))

    async def _prefetches(self) -> bool:
        with contextlib.suppress(ClLspError):
            traits = await self.engines.of("completion").traits()
            return self.config.completion.prefetch and traits.structured
        return False

    async def chat_refusal(self) -> str | None:
        """Why the model that is served cannot chat; None if it can."""
        try:
            return (await self.engines.of("chat").refusals(fresh=True)).get("chat")
        except EngineGone:
            return "the engine is not running yet; it starts with the next suggestion"
        except ClLspError as error:
            return str(error)

    async def close(self) -> None:
        await self.answers.close()
        await self.surroundings.close()
        await self.engines.close()


async def on_initialize(ls: ClLsp, params: types.InitializeParams) -> None:
    ls.documents.encoding = str(ls.workspace.position_encoding)
    uris = [folder.uri for folder in params.workspace_folders or []] or [params.root_uri or ""]
    folders = [Path(path) for uri in uris if uri and (path := to_fs_path(uri))]
    ls.config, problems = read_config(params.initialization_options, os.environ, folders)
    ls.engines.configure(ls.config)
    ls.surroundings.configure(ls.config.completion)
    for problem in problems:
        ls.say_once(problem)
    text_document = params.capabilities.text_document
    inline = text_document is not None and text_document.inline_completion is not None
    wanted = ls.config.completion.popup
    if wanted or (wanted is None and not inline):
        ls.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions())(completion)


async def on_initialized(ls: ClLsp, _params: types.InitializedParams) -> None:
    """Read the workspace, and load the model before the first key."""
    watching.start(ls)
    try:
        await ls.engines.ready("completion")
    except ClLspError as error:
        ls.say_once(str(error), types.MessageType.Error)


async def on_shutdown(ls: ClLsp, _params: None) -> None:
    await ls.close()


async def inline_completion(
    ls: ClLsp, params: types.InlineCompletionParams
) -> types.InlineCompletionList | None:
    snapshot = _snapshot(ls, params)
    found = await ls.suggestion("inline", snapshot) if snapshot else Suggestion()
    if found is None:
        return None
    if snapshot is None or not found.text:
        return types.InlineCompletionList(items=[])
    replaced = _replaced(ls, snapshot, params.position, 0, found)
    item = types.InlineCompletionItem(insert_text=found.text, range=replaced)
    return types.InlineCompletionList(items=[item])


async def completion(ls: ClLsp, params: types.CompletionParams) -> types.CompletionList | None:
    snapshot = _snapshot(ls, params)
    found = await ls.suggestion("completion", snapshot) if snapshot else Suggestion()
    if found is None:
        return None
    if snapshot is None or not found.text:
        return types.CompletionList(is_incomplete=True, items=[])
    word = _word_before(snapshot)
    text = word + found.text
    edit = types.TextEdit(_replaced(ls, snapshot, params.position, len(word), found), text)
    label = text.strip().split("\n")[0]
    item = types.CompletionItem(
        label=label,
        kind=types.CompletionItemKind.Text,
        detail="cl-lsp",
        filter_text=text,
        text_edit=edit,
        insert_text_format=types.InsertTextFormat.PlainText,
        documentation=text if "\n" in text else None,
    )
    # What was typed since makes another request worth while.
    return types.CompletionList(is_incomplete=True, items=[item])


async def code_action(ls: ClLsp, params: types.CodeActionParams) -> list[types.CodeAction]:
    able = ls.client_capabilities.text_document
    able = able.code_action if able else None
    if able is None or able.code_action_literal_support is None:
        return []
    refusal = await ls.chat_refusal()
    if refusal is not None and not able.disabled_support:
        return []
    only = params.context.only
    return chat.code_actions(params.text_document.uri, params.range, only, refusal)


async def run_chat_action(ls: ClLsp, action: chat.Action, uri: str, at: types.Range) -> None:
    """Ask about a range; show the answer as Markdown."""
    try:
        snapshot = ls.documents.snapshot(uri, at.start)
        end = ls.documents.snapshot(uri, at.end).offset
        async with progress(ls, f"cl-lsp: {action.title}", cancellable=True) as report:
            report(0)
            code, language = chat.selected(snapshot, end), snapshot.language

            def ask(backend: Backend) -> Awaitable[str]:
                return chat.ask(backend, action, language, code, ls.config.chat.max_tokens)

            answer = await ls.engines.ask("chat", ask)
        path = chat.keep(answer, action)
    except ClLspError as error:
        ls.window_show_message(types.ShowMessageParams(types.MessageType.Error, f"cl-lsp: {error}"))
        return
    window = ls.client_capabilities.window
    if window is not None and window.show_document and window.show_document.support:
        # Its answer is not waited for: a client that sends none would hold up the command's.
        ls.window_show_document(types.ShowDocumentParams(path.as_uri(), take_focus=True))
    else:
        message = f"cl-lsp: the answer is in {path}"
        ls.window_show_message(types.ShowMessageParams(types.MessageType.Info, message))


def _snapshot(
    ls: ClLsp, params: types.InlineCompletionParams | types.CompletionParams
) -> Snapshot | None:
    try:
        return ls.documents.snapshot(params.text_document.uri, params.position)
    except Unreadable as error:
        ls.say_once(str(error))
        return None


def _word_before(snapshot: Snapshot) -> str:
    line = snapshot.line_before
    start = len(line)
    while start and (line[start - 1].isalnum() or line[start - 1] == "_"):
        start -= 1
    return line[start:]


def _replaced(
    ls: ClLsp, snapshot: Snapshot, cursor: types.Position, back: int, found: Suggestion
) -> types.Range:
    """The range on the cursor's line that the suggestion replaces, in the client's units."""
    encoding, line = ls.documents.encoding, snapshot.line_before
    start = width(line[: len(line) - back], encoding)
    end = width(line + snapshot.line_after[: found.replaced], encoding)
    # The cursor may have been past the line's end; what is left of it is where the line ends.
    return types.Range(types.Position(cursor.line, start), types.Position(cursor.line, end))


def main() -> None:
    stdio.start(ClLsp())
