"""The chat documents of one editor: begun, shown, answered, and what is taken from them."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lsprotocol import types

from . import chat_documents, control
from .asking import Messages, Reply, ask, left_out
from .chat_documents import Conversation, Origin
from .chat_writer import HEADING, Writer, ending, open_document, read
from .client_edits import change
from .documents import Document
from .edits import Change, fitted, line_end, minimal
from .errors import ClLspError
from .selection import Selection

if TYPE_CHECKING:
    from .server import ClLsp

Where = Literal["replace", "below"]


@dataclass(frozen=True)
class Outcome:
    """What came of a command; `message` is what the user was told."""

    outcome: Literal["applied", "shown", "nothing", "failed"]
    document: str | None = None
    message: str | None = None

    def told(self) -> dict[str, Any]:
        return asdict(self)


class Chats:
    """`stop` and `closed` end the answer that is written into a document."""

    def __init__(self, ls: "ClLsp"):
        self._ls = ls
        self._answering: dict[Path, asyncio.Task[Any]] = {}

    def begin(
        self, title: str, origin: Origin | None, said: str, notes: Sequence[str] = ()
    ) -> Path:
        """A new document, shown to the user. Raises ClLspError."""
        try:
            text = chat_documents.written(title, origin, said, list(notes))
            path = chat_documents.create(title, text)
        except OSError as error:
            raise ClLspError(f"cannot write a chat document: {error}") from error
        control.show(self._ls, path, "the answer is in")
        return path

    def keep(self, title: str, origin: Origin | None, said: str, reply: Reply) -> Path:
        """A document with a finished answer. Raises ClLspError."""
        answer = chat_documents.shown(reply.text, ended=True).rstrip()
        text = chat_documents.written(title, origin, said, []).rstrip()
        try:
            whole = text + HEADING + answer + ending(answer, list(reply.notes))
            path = chat_documents.create(title, whole)
        except OSError as error:
            raise ClLspError(f"cannot write a chat document: {error}") from error
        control.show(self._ls, path, "the answer is in")
        return path

    async def send(self, path: Path) -> None:
        """Stream the answer to the last turn into the document. Raises ClLspError."""
        if self.is_answering(path):
            raise ClLspError("an answer is being written there")
        conversation = Conversation.read(self.text(path))
        if not conversation.can_be_sent:
            raise ClLspError(
                f'write your question below the last "{chat_documents.YOU}", then send'
            )
        messages, dropped = conversation.messages()
        task = asyncio.current_task()
        assert task is not None
        self._answering[path] = task
        uri = conversation.origin.uri if conversation.origin else path.as_uri()
        try:
            await control.settle(self._ls)
            if reason := self._ls.gate.secret(uri):
                raise ClLspError(f"{uri}: {reason.sentence}")
            await self._answer(path, uri, messages, [left_out(dropped)] if dropped else [])
        finally:
            del self._answering[path]

    async def _answer(self, path: Path, uri: str, messages: Messages, notes: list[str]) -> None:
        writer = Writer(self._ls, path)
        try:
            async with writer:

                def grown(text: str) -> None:
                    writer.text = text

                reply = await ask(self._ls, uri, "answering", messages, grown)
            notes += reply.notes
            if not reply.text.strip():
                notes.append("the model answered nothing")
        except asyncio.CancelledError:
            notes.append("stopped")
            raise
        except ClLspError as error:
            notes.append(str(error))
            raise
        finally:
            await self._finish(writer, path, notes)

    async def _finish(self, writer: Writer, path: Path, notes: list[str]) -> None:
        try:
            reason = await writer.finish(notes)
        except OSError as error:
            reason = str(error)
        if reason is not None:
            reply = Reply(writer.text, tuple(notes))
            with suppress(ClLspError):
                kept = self.keep("An answer", None, f"The answer to {path.name}:", reply)
                reason = f"{reason}; the answer is in {kept}"
            self._ls.say_once(f"{path.name}: {reason}", types.MessageType.Error)

    def is_answering(self, path: Path) -> bool:
        return path in self._answering

    def stop(self, path: Path) -> None:
        if (task := self._answering.get(path)) is not None and not task.cancelling():
            task.cancel()

    def close(self) -> None:
        """Stop all answers."""
        for path in list(self._answering):
            self.stop(path)

    def closed(self, uri: str) -> None:
        """Whatever document it was."""
        if self._answering and (path := chat_documents.path_of(uri)) is not None:
            self.stop(path)

    def text(self, path: Path) -> str:
        """As it is in the editor, or else on disk. Raises ClLspError."""
        document = open_document(self._ls, path)
        if document is not None:
            return document.text
        try:
            return read(path)
        except OSError as error:
            raise ClLspError(f"cannot read {path}: {error.strerror}") from error

    async def insert(self, path: Path, number: int, where: Where) -> bool:
        """Put a code block of the answers at the document's origin; False if it stands there.

        Raises ClLspError.
        """
        markdown = self.text(path)
        blocks = chat_documents.answer_blocks(markdown)
        if not 0 <= number < len(blocks):
            raise ClLspError(f"{path.name} has no code block {number + 1} in an answer")
        origin = Conversation.read(markdown).origin
        if origin is None:
            raise ClLspError(f"{path.name} does not say where its code is from")
        document = self._ls.documents.get(origin.uri)
        if document is None:
            raise ClLspError(f"{origin.uri} is not open: open it, then insert")
        place = origin.located(document.text)
        if place is None:
            raise ClLspError(f"{origin.uri} has changed there: nothing was inserted")
        changes = _inserted(document, place, blocks[number].text, origin.column is not None, where)
        if not changes:
            return False
        reason = await change(self._ls, document, changes, f"insert the code of {path.name}")
        if reason is not None:
            raise ClLspError(f"{reason}: nothing was inserted")
        return True


def origin_of(selection: Selection) -> Origin:
    shot = selection.snapshot
    last = selection.stop - 1
    return Origin.of(shot.uri, shot.language, shot.text, selection.first, last)


def _inserted(
    document: Document, place: tuple[int, int], code: str, cursor: bool, where: Where
) -> list[Change]:
    start, end = place
    text = document.text
    if cursor:
        code = code.removesuffix("\n").replace("\r\n", "\n").replace("\n", line_end(text))
        return [Change(start, end, code)]
    wanted = fitted(code, text[start:end], text)
    if where == "replace":
        return minimal(text, start, end, wanted)
    gap = line_end(text)
    before = "" if text[start:end].endswith(("\n", "\r")) else gap
    return [Change(end, end, f"{before}{gap}{wanted}")]
