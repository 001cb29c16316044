"""An answer as it grows, put into a chat document: through the editor if it is open there and can
be edited, otherwise into its file. What the user writes meanwhile stays."""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import chat_documents
from .chat_documents import NOTE, US, YOU
from .client_edits import Able, change
from .documents import Document
from .edits import Change, line_end
from .fenced import unclosed

if TYPE_CHECKING:
    from .server import ClLsp

STEP_S = 0.15
ECHO_S = 2.0  # from an applied edit to the editor's notice of it; Neovim sends it 150 ms late
LAST_S = 4.0  # for the last step
HEADING = f"\n\n{US}\n\n"


def growth(text: str, addition: str, put: int) -> Change | None:
    """What makes a document end with `addition`, of which `put` characters were put there before.

    None if it does already. An addition begins with our heading, and only ever grows.
    """
    end = line_end(text)
    whole = addition.replace("\n", end)
    heading = f"{end}{end}{US}"
    if (at := text.rfind(heading)) >= 0:
        common = len(os.path.commonprefix([text[at:], whole]))
        if common >= len(heading) and not text[at + common :].strip():
            rest = whole[common:]
            return Change(at + common, len(text), rest) if rest else None
    if put:  # the user has written into it: go on at the end
        rest = addition[put:].replace("\n", end)
        return Change(len(text), len(text), rest) if rest else None
    return Change(len(text.rstrip()), len(text), whole)


def ending(answer: str, notes: list[str]) -> str:
    """What stands behind an answer; a next turn only if there was an answer."""
    fence = unclosed(answer)
    closed = f"\n{fence}" if fence else ""
    told = "".join(f"\n\n{NOTE}{note}" for note in notes)
    return f"{closed}{told}\n\n{YOU}\n\n" if answer.strip() else f"{told.lstrip()}\n"


class Writer:
    """Use it as a context, in which `text` is set to what there is of the answer."""

    def __init__(self, ls: "ClLsp", path: Path):
        self._ls, self._path = ls, path
        self.text = ""
        self._put = {True: 0, False: 0}  # characters, of the open document and of the file
        self._over = asyncio.Event()
        self._applied: tuple[str, float] = "", 0.0

    async def __aenter__(self) -> "Writer":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()  # no cancel: what the editor has applied must be known
        await asyncio.wait({self._task}, timeout=LAST_S)
        self._task.cancel()

    async def finish(self, notes: list[str]) -> str | None:
        """Put the rest there; None, or why that could not be done. Raises OSError."""
        await self.__aexit__()
        answer = chat_documents.shown(self.text, ended=True).rstrip()
        whole = HEADING + answer + ending(answer, notes)
        until = time.monotonic() + LAST_S
        while (reason := await self._step(whole)) is not None and time.monotonic() < until:
            await asyncio.sleep(STEP_S / 3)
        return reason

    async def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):  # the last step tells of it
                await self._step(HEADING + chat_documents.shown(self.text))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), STEP_S)

    async def _step(self, addition: str) -> str | None:
        """None if the document has `addition`, or the reason why not yet."""
        document = open_document(self._ls, self._path)
        if document is None or not Able.of(self._ls.client_capabilities).applies:
            return self._write(addition)
        text, since = self._applied
        if document.text == text and time.monotonic() - since < ECHO_S:
            return "the editor has not told of the last edit yet"
        wanted = growth(document.text, addition, self._put[True])
        if wanted is None:
            return None
        try:
            reason = await asyncio.wait_for(change(self._ls, document, [wanted]), LAST_S)
        except TimeoutError:
            return "the editor does not say whether it has applied an edit"
        if reason is None:
            self._put[True], self._applied = len(addition), (document.text, time.monotonic())
        return reason

    def _write(self, addition: str) -> None:
        text = read(self._path)
        if (wanted := growth(text, addition, self._put[False])) is not None:
            text = text[: wanted.start] + wanted.text + text[wanted.end :]
            chat_documents.replace(self._path, text)
        self._put[False] = len(addition)


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def open_document(ls: "ClLsp", path: Path) -> Document | None:
    """A chat document that is open in the editor, by whatever URI."""
    for uri in ls.documents.uris:
        if chat_documents.path_of(uri) == path:
            return ls.documents.get(uri)
    return None
