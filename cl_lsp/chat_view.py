"""The request `cl-lsp/chat`: a conversation for a view of the client's own, without a document."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from . import control
from .actions import quoted, range_of, text_of
from .asking import Messages, ask
from .fenced import blocks
from .selection import ranged, select

if TYPE_CHECKING:
    from .server import ClLsp

ROLES = ("system", "user", "assistant")
Token = str | int


@dataclass(frozen=True)
class AskedInView:
    """`partial` and `work` are the client's tokens for pieces and for progress."""

    messages: Messages
    uri: str | None
    at: types.Range | None
    partial: Token | None
    work: Token | None

    @classmethod
    def of(cls, given: Any) -> "AskedInView":
        """Raises TypeError, ValueError or KeyError for what makes no sense."""
        messages = [
            {name: text_of(m[name]) for name in ("role", "content")} for m in given["messages"]
        ]
        if not messages or messages[-1]["role"] != "user":
            raise ValueError("the last message must be the user's")
        if unknown := {m["role"] for m in messages} - set(ROLES):
            raise ValueError(f"unknown roles: {', '.join(sorted(unknown))}")
        uri, at = given.get("uri"), given.get("range")
        tokens = (given.get("partialResultToken"), given.get("workDoneToken"))
        if any(not isinstance(token, Token | None) for token in tokens):
            raise ValueError("a token is a text or a number")
        place = range_of(at) if at is not None else None
        return cls(messages, None if uri is None else text_of(uri), place, *tokens)


def plain(value: Any) -> Any:
    """What pygls makes of an unknown request, as JSON again."""
    if hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


async def answer(ls: "ClLsp", asked: AskedInView) -> dict[str, Any]:
    """The reply. Raises ClLspError."""
    await control.settle(ls)  # it may say that this document is for no model
    messages, notes = list(asked.messages), list[str]()
    if asked.uri is not None and asked.at is not None:
        selection = select(*ranged(ls, asked.uri, asked.at))
        notes += [selection.note] if selection.note else []
        last = messages[-1]["content"]
        messages[-1] = {"role": "user", "content": f"{quoted(selection)}\n\n{last}"}
    sent = 0

    def grown(text: str) -> None:
        nonlocal sent
        if asked.partial is not None and len(text) > sent:
            value = {"text": text[sent:]}
            ls.progress(types.ProgressParams(asked.partial, value))
            sent = len(text)

    reply = await ask(ls, asked.uri or "", "chat", messages, grown, asked.work)
    found = [{"language": block.language, "text": block.text} for block in blocks(reply.text)]
    return {"text": reply.text, "blocks": found, "notes": [*notes, *reply.notes]}
