"""Reads what stands around a cursor before the first key there: on opening, saving, and a jump.

Editors tell of a jump by asking for code actions. The answer is thrown away: it is the KV cache
that counts, in which the first key then finds all but itself.
"""

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lsprotocol import types

from .backend import Backend
from .completion import request_for
from .documents import Snapshot, width
from .errors import ClLspError
from .surroundings import Surroundings

if TYPE_CHECKING:
    from .server import ClLsp

FAR = 32  # lines; nearer, most of it is cached already
QUIET_S = 0.3  # at one place, before it is read


class Warming:
    """One place at a time; a suggestion that is asked for ends it."""

    def __init__(self, ls: "ClLsp"):
        self._ls = ls
        self._read: dict[str, types.Position] = {}  # by document: where it was read last
        self._task: asyncio.Task[None] | None = None
        self._uri = ""  # of the document that it reads

    def register(self) -> None:
        self._ls.feature(types.TEXT_DOCUMENT_DID_SAVE)(did_save)

    def visit(self, uri: str, cursor: types.Position) -> None:
        """The cursor is there now."""
        last = self._read.get(uri)
        if last is None or abs(cursor.line - last.line) > FAR:
            self._start(uri, cursor)

    def saved(self, uri: str) -> None:
        """What formats a text does it then; the cursor is where it was."""
        if (cursor := self._read.get(uri)) is not None:
            self._start(uri, cursor)

    def been(self, snapshot: Snapshot) -> None:
        """A suggestion was asked for there."""
        if snapshot.line is not None:
            column = width(snapshot.line_before, self._ls.documents.encoding)
            self._read[snapshot.uri] = types.Position(snapshot.line, column)
        self.stop()

    def forget(self, uri: str) -> None:
        """The document is closed."""
        self._read.pop(uri, None)
        if uri == self._uri:
            self.stop()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _start(self, uri: str, cursor: types.Position) -> None:
        self.stop()
        self._uri = uri
        self._task = asyncio.create_task(self._warm(uri, cursor))

    async def _warm(self, uri: str, cursor: types.Position) -> None:
        await asyncio.sleep(QUIET_S)
        await self._ls.settled.wait()
        with contextlib.suppress(ClLspError):  # said to those who wait for something
            snapshot = self._ls.documents.snapshot(uri, cursor)
            backend = self._ls.engines.of("completion", uri)
            wanted = self._ls.scopes.of(uri).completion.warming
            if wanted and not self._ls.gate.closed(snapshot):
                await self._ask(backend, snapshot)
                self._read[uri] = cursor

    async def _ask(self, backend: Backend, snapshot: Snapshot) -> None:
        if not (await backend.traits()).structured:
            return  # nobody knows what another's cache does
        config = self._ls.scopes.of(snapshot.uri).completion
        at, snippets = Surroundings.of(snapshot), partial(self._ls.workspace.snippets, ahead=True)
        request = await request_for(backend, at, snapshot, config, snippets)
        request = replace(request, max_tokens=1, lane="completion")
        async with contextlib.aclosing(backend.complete(request, lambda: None)) as chunks:
            async for _ in chunks:
                pass


async def did_save(ls: "ClLsp", params: types.DidSaveTextDocumentParams) -> None:
    ls.warming.saved(params.text_document.uri)
