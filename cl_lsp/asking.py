"""One question to the model that chats, and what of its answer the user is told beside the text."""

import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import control
from .backend import Backend
from .chat_documents import newest
from .errors import EngineRefused
from .exchange import ChatRequest, Chunk
from .progress import progress

if TYPE_CHECKING:
    from .server import ClLsp

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Reply:
    """`notes` are for the user; it is not `whole` if the limit of tokens has ended it."""

    text: str
    notes: tuple[str, ...] = ()
    whole: bool = True


async def require_chat(ls: "ClLsp", uri: str) -> None:
    """Raises ClLspError if the model that is asked cannot chat, with what to do."""

    def look(backend: Backend) -> Awaitable[dict[str, str]]:
        return backend.refusals(fresh=True)

    if why := (await ls.engines.ask("chat", look, uri=uri)).get("chat"):
        what = "Fetch one (`cl-lsp pull 7b-instruct`) and name it in chat.model"
        raise EngineRefused(f"{why}. {what}")


async def ask(
    ls: "ClLsp",
    uri: str,
    title: str,
    messages: Messages,
    grown: Callable[[str], None] = lambda text: None,
    token: str | int | None = None,
) -> Reply:
    """The answer to the last message; `grown` is told what there is of it. Raises ClLspError.

    The work has a progress bar, at the client's own `token` if it gave one; its cancel is that of
    the task that asks.
    """
    kept, dropped = newest(messages)
    await control.settle(ls)  # it may say that a folder's code goes elsewhere
    most = ls.scopes.of(uri).chat.max_tokens
    whole, began = Chunk(), time.monotonic()

    async with progress(ls, f"cl-lsp: {title}", cancellable=True, given=token) as report:
        report(0)
        await require_chat(ls, uri)

        async def read(backend: Backend) -> Chunk:
            nonlocal whole
            async with aclosing(backend.chat(ChatRequest(kept, backend.model, most))) as chunks:
                async for chunk in chunks:
                    whole = whole.then(chunk)
                    report(time.monotonic() - began)
                    grown(whole.text)
            return whole

        await ls.engines.ask("chat", read, lambda: not whole.text, uri)
    details = (whole.usage or {}).get("prompt_tokens_details") or {}
    return Reply(
        whole.text,
        tuple(_notes(dropped, details.get("dropped_characters"), whole.finish_reason, most)),
        whole.finish_reason != "length",
    )


def left_out(dropped: int) -> str:
    """The note for turns that were not sent."""
    turns = "turn was" if dropped == 1 else f"{dropped} turns were"
    return f"the first {turns} left out: the conversation is too long"


def _notes(dropped: int, characters: int | None, finish_reason: str | None, most: int) -> list[str]:
    notes = [left_out(dropped)] if dropped else []
    if characters:
        notes.append(f"the model's context left out {characters:,} characters")
    if finish_reason == "length":
        notes.append(f"the answer ended at chat.maxTokens ({most})")
    return notes
