"""What the editor and the user steer: settings that change, folders that come and go, the commands
pause, resume, restart, status and trace.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from platformdirs import user_cache_path
from pygls.exceptions import JsonRpcInvalidParams

from .errors import ClLspError, Unsettled
from .reasons import Reason
from .scopes import path_of
from .settings import FILE
from .trace import markdown

if TYPE_CHECKING:
    from .server import ClLsp

log = logging.getLogger(__name__)
SECTION = "cl-lsp"  # of the editor's settings
TRACE = "cl-lsp/trace"
WAIT_S = 10.0  # that a request waits for the settings of an editor that is busy starting
NEVER_S = 30.0  # without an answer, until an editor counts as one that tells none
INSTEAD = "the settings of its start, of cl-lsp.toml and of the environment count"


def register(ls: "ClLsp") -> None:
    ls.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(on_configuration)
    ls.feature(TRACE)(on_trace)
    for name, command in COMMANDS.items():
        ls.command(name)(command)  # for the capability; Protocol runs them


def watch(ls: "ClLsp") -> None:
    """Ask to be told when settings change, of a client that can do so only if it is asked."""
    workspace = ls.client_capabilities.workspace
    if workspace is None:
        return
    wanted: list[types.Registration] = []
    if (able := workspace.did_change_configuration) and able.dynamic_registration:
        method = types.WORKSPACE_DID_CHANGE_CONFIGURATION
        options = types.DidChangeConfigurationRegistrationOptions(section=SECTION)
        wanted.append(types.Registration("cl-lsp-settings", method, options))
    if (able := workspace.did_change_watched_files) and able.dynamic_registration:
        method = types.WORKSPACE_DID_CHANGE_WATCHED_FILES
        watchers = [types.FileSystemWatcher(glob_pattern=f"**/{FILE}")]
        options = types.DidChangeWatchedFilesRegistrationOptions(watchers=watchers)
        wanted.append(types.Registration("cl-lsp-toml", method, options))
    if wanted:
        # The answer is not waited for: a client that sends none would hold up the start.
        ls.client_register_capability(types.RegistrationParams(wanted))


def can_pull(ls: "ClLsp") -> bool:
    workspace = ls.client_capabilities.workspace
    return workspace is not None and bool(workspace.configuration)


async def settle(ls: "ClLsp") -> None:
    """Wait for what the editor was asked: it may say that code goes elsewhere, or nowhere. Raises
    Unsettled if that takes long."""
    try:
        await asyncio.wait_for(ls.settled.wait(), WAIT_S)
    except TimeoutError:
        raise Unsettled from None


async def pull(ls: "ClLsp") -> None:
    """Ask the editor for its settings, for each folder, if it can be asked; until it has answered
    nothing is sent to a model. A newer pull takes the place of this one."""
    if not can_pull(ls):
        return
    ls.settled.clear()
    if ls.pulling is not None:
        ls.pulling.cancel()
    ls.pulling = pulling = asyncio.create_task(_pull(ls))
    await asyncio.wait({pulling}, timeout=NEVER_S)
    if not pulling.done():  # what it tells later still counts
        _untold(ls, f"has not told its settings for {NEVER_S:.0f} s: until it does")
        ls.settled.set()


async def _pull(ls: "ClLsp") -> None:
    places = [None, *ls.scopes.folders]
    items = [types.ConfigurationItem(place and place.as_uri(), SECTION) for place in places]
    try:
        told = await ls.workspace_configuration_async(types.ConfigurationParams(items))
    except Exception as error:  # whatever the client answers: an error, or what is no list
        log.warning("workspace/configuration: %s", error)
        told = None
    if isinstance(told, list | tuple) and len(told) == len(places):
        ls.scopes.told = dict(zip(places, told, strict=True))
        ls.scopes.read()
    else:
        log.warning("workspace/configuration: %d answers wanted, got %s", len(places), told)
        _untold(ls, "does not tell its settings")
    ls.settled.set()


def _untold(ls: "ClLsp", what: str) -> None:
    ls.say_once(f"the editor {what} (workspace/configuration): {INSTEAD}")


async def on_configuration(ls: "ClLsp", params: types.DidChangeConfigurationParams) -> None:
    """With the settings in it, or as a signal to ask for them."""
    if can_pull(ls):
        await pull(ls)
    elif params.settings is not None:
        told: Any = params.settings
        ls.scopes.told = {None: told.get(SECTION, told) if isinstance(told, dict) else told}
        ls.scopes.read()


async def on_folders(ls: "ClLsp", params: types.DidChangeWorkspaceFoldersParams) -> None:
    gone = {path_of(folder.uri) for folder in params.event.removed}
    come = [path for folder in params.event.added if (path := path_of(folder.uri))]
    kept = [folder for folder in ls.scopes.folders if folder not in gone]
    ls.scopes.folders = list(dict.fromkeys([*kept, *come]))
    ls.scopes.read()
    await pull(ls)


def on_files(ls: "ClLsp", params: types.DidChangeWatchedFilesParams) -> None:
    if any(change.uri.endswith(f"/{FILE}") for change in params.changes):
        ls.scopes.look()


def on_trace(ls: "ClLsp", params: Any) -> dict[str, Any]:
    """`{"text": true}`: also what was sent and what came."""
    text = bool(getattr(params, "text", False) or _wants_text([params]))
    requests = ls.trace.shown(text)
    return {"requests": requests, "markdown": markdown(requests)}


def show_switch(ls: "ClLsp") -> None:
    """The state says whether suggestions are off."""
    off = "" if ls.scopes.of(ls.scopes.main).completion.enabled else Reason.OFF.sentence
    ls.board.off(Reason.PAUSED.sentence if ls.gate.paused else off)


async def pause(ls: "ClLsp", _arguments: Any) -> None:
    """No suggestions, until `resume`."""
    ls.gate.paused = True
    show_switch(ls)


async def resume(ls: "ClLsp", _arguments: Any) -> None:
    ls.gate.paused = False
    show_switch(ls)


async def restart(ls: "ClLsp", _arguments: Any) -> None:
    """Connect to the engine anew; raises nothing: what is wrong is shown."""
    await ls.engines.restart()
    try:
        await settle(ls)
        await ls.engines.ready("completion", ls.scopes.main)
    except ClLspError as error:
        ls.board.failed(str(error))
        ls.say(str(error), types.MessageType.Error)
    else:
        ls.board.failed("")
        ls.say("the engine answers", types.MessageType.Info)


async def status(ls: "ClLsp", _arguments: Any) -> dict[str, Any]:
    """The state; also shown, for editors that drop what a command returns."""
    state = ls.board.state
    parts = [state.message, f"model: {state.model or 'the default'}"]
    parts += [f"last suggestion: {state.last_ms:.0f} ms"] if state.last_ms is not None else []
    parts += [f"no suggestion: {state.reason}"] if state.reason else []
    ls.say("; ".join(parts), types.MessageType.Info)
    return asdict(state)


async def trace(ls: "ClLsp", arguments: Any) -> str:
    """Show the last requests as Markdown; the path of the file. `{"text": true}`: with texts."""
    path = user_cache_path("cl-lsp") / "trace.md"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it may hold code
        path.write_text(
            markdown(ls.trace.shown(_wants_text(arguments))),
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        raise JsonRpcInvalidParams(f"cannot write {path}: {error.strerror}") from error
    show(ls, path, "the last requests are in")
    return str(path)


def show(ls: "ClLsp", path: Path, words: str) -> None:
    """Open a file in the editor, or say where it is."""
    window = ls.client_capabilities.window
    if window is not None and window.show_document and window.show_document.support:
        # Its answer is not waited for: a client that sends none would hold up the command's.
        ls.window_show_document(types.ShowDocumentParams(path.as_uri(), take_focus=True))
    else:
        ls.say(f"{words} {path}", types.MessageType.Info)


def _wants_text(arguments: Any) -> bool:
    first = arguments[0] if isinstance(arguments, list | tuple) and arguments else None
    return isinstance(first, dict) and first.get("text") is True


Command = Callable[["ClLsp", Any], Awaitable[Any]]
COMMANDS: dict[str, Command] = {
    "cl-lsp.pause": pause,
    "cl-lsp.resume": resume,
    "cl-lsp.restart": restart,
    "cl-lsp.status": status,
    "cl-lsp.trace": trace,
}
