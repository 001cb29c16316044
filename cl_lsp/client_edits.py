"""Edits as a client can take them, and whether it took them. Nothing is applied to a document that
has changed since the edit was made."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsprotocol import types

from .documents import Document
from .edits import Change, text_edits

if TYPE_CHECKING:
    from .server import ClLsp

log = logging.getLogger(__name__)
ANNOTATION = "cl-lsp"
DISCARDED = "discarded"  # a client's word for the user's no


class Discarded(Exception):
    """The user has seen a change and does not want it; nothing went wrong."""


@dataclass(frozen=True)
class Able:
    """What of editing a client can do."""

    applies: bool = False
    versions: bool = False
    annotates: bool = False
    creates: bool = False

    @classmethod
    def of(cls, capabilities: types.ClientCapabilities) -> "Able":
        workspace = capabilities.workspace
        if workspace is None:
            return cls()
        edit = workspace.workspace_edit or types.WorkspaceEditClientCapabilities()
        versions = bool(edit.document_changes)
        return cls(
            bool(workspace.apply_edit),
            versions,
            versions and edit.change_annotation_support is not None,
            versions and types.ResourceOperationKind.Create in (edit.resource_operations or []),
        )


def workspace_edit(
    able: Able, uri: str, version: int | None, edits: Sequence[types.TextEdit], label: str = ""
) -> types.WorkspaceEdit:
    """With a `label`, the user is asked before it is applied, where the client can ask."""
    if not able.versions:
        return types.WorkspaceEdit(changes={uri: list(edits)})
    asks = bool(label) and able.annotates
    listed: list[types.TextEdit | types.AnnotatedTextEdit | types.SnippetTextEdit] = [
        types.AnnotatedTextEdit(ANNOTATION, e.range, e.new_text) if asks else e for e in edits
    ]
    identity = types.OptionalVersionedTextDocumentIdentifier(uri=uri, version=version)
    return types.WorkspaceEdit(
        document_changes=[types.TextDocumentEdit(identity, listed)],
        change_annotations=_annotations(label) if asks else None,
    )


def new_file(able: Able, uri: str, text: str, label: str) -> types.WorkspaceEdit:
    """For a client that can create files; one that is there stays as it is."""
    identity = types.OptionalVersionedTextDocumentIdentifier(uri=uri, version=None)
    start = types.Position(0, 0)
    asks = ANNOTATION if able.annotates else None
    options = types.CreateFileOptions(overwrite=False, ignore_if_exists=False)
    return types.WorkspaceEdit(
        document_changes=[
            types.CreateFile(uri, options=options, annotation_id=asks),
            types.TextDocumentEdit(identity, [types.TextEdit(types.Range(start, start), text)]),
        ],
        change_annotations=_annotations(label) if asks else None,
    )


def _annotations(label: str) -> dict[str, types.ChangeAnnotation]:
    return {ANNOTATION: types.ChangeAnnotation(label, needs_confirmation=True)}


async def change(
    ls: "ClLsp", document: Document, changes: Sequence[Change], label: str = ""
) -> str | None:
    """Change a document; None if that is done, or the reason why nothing was changed.
    Raises Discarded.

    `document` is what it was when `changes` were made.
    """
    able = Able.of(ls.client_capabilities)
    if not able.applies:
        return "the editor cannot apply edits"
    now = ls.documents.get(document.uri)
    if now is None:
        return "the document is not open any more"
    if (now.version, now.text) != (document.version, document.text):
        return "the document has changed meanwhile"
    edits = text_edits(document.text, changes, ls.documents.encoding)
    return await apply(
        ls, workspace_edit(able, document.uri, document.version, edits, label), label
    )


async def apply(ls: "ClLsp", edit: types.WorkspaceEdit, label: str) -> str | None:
    """As `change`. Raises Discarded."""
    params = types.ApplyWorkspaceEditParams(edit, label=f"cl-lsp: {label}" if label else None)
    try:
        result = await ls.workspace_apply_edit_async(params)
    except Exception as error:  # whatever the client answers: an error, or what makes no sense
        log.warning("workspace/applyEdit: %s", error)
        return "the editor did not apply the edit"
    if result is not None and result.applied:
        return None
    reason = result.failure_reason if result is not None else None
    if reason == DISCARDED:
        raise Discarded
    return "the editor did not apply the edit" + (f": {reason}" if reason else "")
