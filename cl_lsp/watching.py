"""How the workspace's folders come and go, and how the editor tells what changed in them."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.uris import to_fs_path

from . import control

if TYPE_CHECKING:
    from .server import ClLsp


def register(ls: "ClLsp") -> None:
    ls.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)(did_change_watched_files)
    ls.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(did_change_workspace_folders)


def start(ls: "ClLsp") -> None:
    """Read the folders in the background."""
    tasks: set[asyncio.Task] = set()

    def unwatched(_root: str) -> None:
        if _can_register(ls) and not tasks:
            tasks.add(asyncio.create_task(_ask_editor(ls)))

    ls.workspace.unwatched = unwatched
    ls.workspace.start(folders_of(ls))


def folders_of(ls: "ClLsp") -> list[Path]:
    """Those that the editor has open, as far as they are on this disk."""
    uris = list(ls.protocol.workspace.folders) or [ls.protocol.workspace.root_uri or ""]
    return [Path(path) for uri in uris if uri and (path := to_fs_path(uri))]


async def did_change_watched_files(ls: "ClLsp", params: types.DidChangeWatchedFilesParams) -> None:
    control.on_files(ls, params)
    ls.workspace.files_changed([change.uri for change in params.changes])


async def did_change_workspace_folders(
    ls: "ClLsp", params: types.DidChangeWorkspaceFoldersParams
) -> None:
    ls.workspace.set_folders(folders_of(ls))
    await control.on_folders(ls, params)


def _can_register(ls: "ClLsp") -> bool:
    workspace = ls.client_capabilities.workspace
    able = workspace.did_change_watched_files if workspace else None
    return bool(able and able.dynamic_registration)


async def _ask_editor(ls: "ClLsp") -> None:
    """Where we cannot watch the files ourselves, the editor may."""
    options = types.DidChangeWatchedFilesRegistrationOptions([types.FileSystemWatcher("**/*")])
    method = types.WORKSPACE_DID_CHANGE_WATCHED_FILES
    registration = types.Registration("cl-lsp-files", method, options)
    await ls.client_register_capability_async(types.RegistrationParams([registration]))
