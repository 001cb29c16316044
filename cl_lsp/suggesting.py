"""From a cursor to what is shown there: the way of one request through cache, answers and engine.

Every end has a name, which the editor's log, the status and the trace are told.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from . import control
from .ahead import expected
from .answers import Answer, Answers
from .backend import Backend
from .cache import Cache
from .candidates import Choosing, alternatives
from .completion import LATE, Suggestion, suggest
from .documents import Document, Snapshot
from .errors import ClLspError, EngineResting, Unsettled
from .reasons import Reason, sentence
from .trace import Record

if TYPE_CHECKING:
    from .server import ClLsp

log = logging.getLogger(__name__)


class Suggesting:
    """Of one editor. What was made for a document is kept until the document is closed."""

    def __init__(self, ls: "ClLsp"):
        self._ls = ls
        self.answers = Answers(self._suggest)
        self._cache = Cache()
        self._choosing = Choosing()

    def forget(self, uri: str) -> None:
        """The document is closed."""
        self.answers.forget(uri)
        self._cache.forget(uri)
        self._choosing.stop(uri)

    async def close(self) -> None:
        await self.answers.close()

    async def one(
        self, method: str, snapshot: Snapshot, record: Record | None = None
    ) -> Suggestion | None:
        """The suggestion at a cursor, which must be of the document as it is now; None if a newer
        request of this method has overtaken it, or the document has moved on meanwhile."""
        record = record or self._ls.trace.begin(method, snapshot)
        document = self._ls.documents.get(snapshot.uri)
        self._ls.warming.been(snapshot)
        if not self._ls.settled.is_set():
            try:
                await control.settle(self._ls)
            except Unsettled as error:
                return self.silent(record, snapshot.place, error.reason)
            if reason := self._late(method, snapshot, document, Suggestion()):
                return record.ends(None, reason)
        if reason := self._ls.gate.closed(snapshot):
            return self.silent(record, snapshot.place, reason)
        try:
            found = await self._found(method, snapshot, record)
        except asyncio.CancelledError:
            record.ends(None, Reason.CANCELLED)
            raise
        except ClLspError as error:
            return self.silent(record, snapshot.place, error.reason, str(error))
        if reason := self._late(method, snapshot, document, found):
            return record.ends(None, reason)
        assert found is not None
        if not found.text:
            return self.silent(record, snapshot.place, found.stop_reason or Reason.EMPTY, "", found)
        record.ends(found)
        self._ls.board.suggested(found.total_ms)
        return found

    def _late(
        self, method: str, snapshot: Snapshot, document: Document | None, found: Suggestion | None
    ) -> Reason | None:
        """Why nobody wants an answer by now: it is None, or `document`, for which it was made, is
        another that it does not fit.

        Of a menu's items an editor shows those that begin with what was typed since; ghost text is
        asked for again with each key, and then comes from the cache.
        """
        now = self._ls.documents.get(snapshot.uri)
        if found is None:
            return Reason.OVERTAKEN if now else Reason.CLOSED
        if now is document:
            return None
        if now is None or document is None:
            return Reason.CLOSED
        at = snapshot.offset - len(self._ls.documents.around(snapshot.uri)[0])
        typed = max(0, len(now.text) - len(document.text)) if method == "completion" else 0
        fits = document.text[:at] + found.written[:typed] + document.text[at:] == now.text
        return None if fits else Reason.CHANGED

    def silent(
        self, record: Record, place: str, reason: str, error: str = "", found: Any = None
    ) -> Suggestion:
        """No suggestion, for a reason that the editor's log, the status and the trace tell."""
        found = found or Suggestion(stop_reason=reason)
        record.ends(found, reason, error)
        why = error or sentence(reason)
        message = f"no suggestion at {place}: {reason}" + (f" ({why})" if why != reason else "")
        self._ls.window_log_message(types.LogMessageParams(types.MessageType.Log, message))
        self._ls.board.silent(reason, error)
        return found

    async def _found(self, method: str, snapshot: Snapshot, record: Record) -> Suggestion | None:
        if (known := self._cache.get(snapshot)) is not None:
            self.answers.overtake(snapshot, method)
            record.told("typed")
            return known
        there, board = self.answers.made(snapshot), self._ls.board
        budget_s = self._ls.scopes.of(snapshot.uri).completion.time_budget_ms / 1e3
        try:
            with contextlib.nullcontext() if there else board.asking(self._model(snapshot.uri)):
                found = await self.answers.get(snapshot, method, record.told, budget_s)
        except EngineResting:
            raise
        except ClLspError as error:
            self._ls.say_once(str(error), types.MessageType.Error)
            raise
        if found is not None:
            await self._keep(snapshot, found)
        return found

    async def _keep(self, snapshot: Snapshot, found: Suggestion) -> None:
        """For the next key. What was shown in part goes on: an engine of ours is asked for the rest
        of it, of another's what there is must do until it is finished."""
        uri, late, structured = snapshot.uri, found.stop_reason == LATE, False
        if not late:
            self._cache.put(snapshot, found)
        with contextlib.suppress(ClLspError):
            structured = (await self._ls.engines.of("completion", uri).traits()).structured
        if late and not structured:
            self._cache.put(snapshot, found)
        wanted = found.text and not late and self._ls.scopes.of(uri).completion.prefetch
        if wanted and structured and self._ls.documents.is_open(uri):  # still
            self.answers.prefetch(expected(snapshot, found))

    async def several(
        self, method: str, snapshot: Snapshot, invoked: bool
    ) -> list[Suggestion] | None:
        """Those at a cursor, the best first; several if someone `invoked` them. None: as above."""
        self._choosing.stop(snapshot.uri)
        record = self._ls.trace.begin(method, snapshot)
        document = self._ls.documents.get(snapshot.uri)
        found = await self.one(method, snapshot, record)
        if found is None or not found.text:
            return None if found is None else []
        if not invoked:
            return [found]
        others = await self._choosing.wait(snapshot.uri, self._alternatives(snapshot, found))
        if reason := self._late(method, snapshot, document, None if others is None else found):
            return record.ends(None, reason)
        return [found, *(others or [])]

    async def _alternatives(self, snapshot: Snapshot, first: Suggestion) -> list[Suggestion]:
        uri = snapshot.uri
        backend, config = self._ls.engines.of("completion", uri), self._ls.scopes.of(uri).completion
        try:
            snippets = self._ls.workspace.snippets
            return await alternatives(backend, snapshot, config, first, snippets)
        except ClLspError as error:
            log.warning("no further suggestions at %s: %s", snapshot.place, error)
            return []

    async def _suggest(self, answer: Answer) -> Suggestion:
        uri = answer.snapshot.uri
        config = self._ls.scopes.of(uri)

        def ask(backend: Backend) -> Awaitable[Suggestion]:
            answer.sent = False
            snippets = partial(self._ls.workspace.snippets, ahead=answer.ahead)
            return suggest(backend, answer, config.completion, snippets)

        # Without one that waits it is only there to be followed.
        found = await self._ls.engines.ask("completion", ask, lambda: bool(answer.waiting), uri)
        if answer.late and answer.lingers:  # none has gone on with it
            self._cache.put(answer.snapshot, found)
        return found

    def _model(self, uri: str) -> str | None:
        """Its name, as far as it is known."""
        with contextlib.suppress(ClLspError):
            return self._ls.engines.of("completion", uri).name
        return None
