"""Notebooks: the cells of one are one document, in which the cursor is in one cell.

Positions and edits stay the cell's. Of the other cells those of the same language count; Markdown
is left out.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.protocol import LanguageServerProtocol, lsp_method

from .documents import Documents

if TYPE_CHECKING:
    from .server import ClLsp

log = logging.getLogger(__name__)
SYNC = types.NotebookDocumentSyncOptions([types.NotebookDocumentFilterWithNotebook("*")])
BETWEEN = "\n\n"  # two cells, as a script has them


@dataclass
class Notebooks:
    """The URIs of the cells of each open notebook, in their order; `documents` has their texts."""

    documents: Documents
    _cells: dict[str, list[str]] = field(default_factory=dict)
    _of: dict[str, str] = field(default_factory=dict)  # by cell

    def open(self, uri: str, cells: Sequence[types.NotebookCell]) -> None:
        self._cells[uri] = []
        self.splice(uri, 0, 0, cells)

    def splice(
        self, uri: str, start: int, deleted: int, cells: Sequence[types.NotebookCell]
    ) -> list[str]:
        """Put these cells in the place of others; the URIs of those that are gone."""
        known = self._cells[uri]
        gone, new = known[start : start + deleted], [cell.document for cell in cells]
        known[start : start + deleted] = new
        self._of |= dict.fromkeys(new, uri)
        left = [cell for cell in gone if cell not in known]
        for cell in left:
            self._of.pop(cell, None)
        return left

    def close(self, uri: str) -> list[str]:
        """The URIs of its cells."""
        return self.splice(uri, 0, len(self._cells[uri]), []) if self._cells.get(uri) else []

    def __contains__(self, uri: str) -> bool:
        return uri in self._cells

    def owner(self, uri: str) -> str:
        """The notebook that a cell is in; of what is no cell, itself."""
        return self._of.get(uri, uri)

    def around(self, uri: str) -> tuple[str, str]:
        """What stands before and after a cell in its notebook; nothing of what is no cell."""
        cells = self._cells.get(self._of.get(uri, ""), [])
        document = self.documents.get(uri)
        if uri not in cells or document is None:
            return "", ""
        at = cells.index(uri)
        texts = [
            other.text
            if (other := self.documents.get(cell)) and other.language == document.language
            else ""
            for cell in cells
        ]
        before = [part for text in texts[:at] if text for part in (text, BETWEEN)]
        after = [part for text in texts[at + 1 :] if text for part in (BETWEEN, text)]
        return "".join(before), "".join(after)


class NotebookProtocol(LanguageServerProtocol):
    """Cells come and go as text documents do."""

    _server: "ClLsp"  # pyright: ignore[reportIncompatibleVariableOverride]

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    def lsp_notebook_document__did_open(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidOpenNotebookDocumentParams
    ) -> None:
        notebook = params.notebook_document
        self._server.notebooks.open(notebook.uri, notebook.cells)
        self._open(params.cell_text_documents)

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def lsp_notebook_document__did_change(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidChangeNotebookDocumentParams
    ) -> None:
        uri, cells = params.notebook_document.uri, params.change.cells
        notebooks = self._server.notebooks
        if uri not in notebooks:
            log.warning("a change of %s, which is not open, is ignored", uri)
        elif cells is not None:
            if (structure := cells.structure) is not None:
                array = structure.array
                new = array.cells or ()
                self._close(notebooks.splice(uri, array.start, array.delete_count, new))
                self._open(structure.did_open or ())
            for change in cells.text_content or ():
                self._change(change.document, change.changes)

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def lsp_notebook_document__did_close(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidCloseNotebookDocumentParams
    ) -> None:
        self._close(self._server.notebooks.close(params.notebook_document.uri))

    def _open(self, items: Sequence[types.TextDocumentItem]) -> None:
        for item in items:
            self.lsp_text_document__did_open(types.DidOpenTextDocumentParams(item))

    def _change(
        self,
        document: types.VersionedTextDocumentIdentifier,
        changes: Sequence[types.TextDocumentContentChangeEvent],
    ) -> None:
        params = types.DidChangeTextDocumentParams(document, changes)
        self.lsp_text_document__did_change(params)

    def _close(self, uris: list[str]) -> None:
        for uri in uris:
            cell = types.TextDocumentIdentifier(uri)
            self.lsp_text_document__did_close(types.DidCloseTextDocumentParams(cell))
