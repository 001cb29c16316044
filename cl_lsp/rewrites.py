"""One code action from the question to what becomes of the answer: an edit, a file, a document.

Whatever cannot be applied is in a chat document, and the user is told why.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pygls.uris import to_fs_path

from . import actions, control, fills, tests_of
from .actions import Asked
from .asking import Reply, ask, require_chat
from .backend import Backend
from .chat_documents import Origin
from .chats import Outcome, origin_of
from .client_edits import Able, apply, change, new_file
from .documents import Document
from .edits import fitted, minimal
from .errors import ClLspError
from .fenced import NoCode, code_of, fence
from .progress import progress
from .selection import Selection, ranged, select
from .structure import lines_of

if TYPE_CHECKING:
    from .server import ClLsp


async def act(ls: "ClLsp", asked: Asked) -> Outcome:
    """Raises ClLspError for what could not even be asked."""
    await control.settle(ls)  # it may say that this document is for no model
    snapshot, end = ranged(ls, asked.uri, asked.at)
    document = ls.documents.get(asked.uri)
    assert document is not None
    if asked.action.gives == "fill":
        return await _fill(ls, document, fills.hole(snapshot, end, asked.action.name))
    selection = select(snapshot, end)
    if asked.action.gives == "answer" or asked.waits:
        return await _converse(ls, asked, selection)
    text = actions.question(asked, selection)
    title = asked.action.title
    reply = await ask(ls, asked.uri, title, [{"role": "user", "content": text}])
    try:
        if not reply.text.strip():
            return Outcome("nothing", message=f"{title}: the model answered nothing")
        if not reply.whole:
            raise NoCode(reply.notes[-1])
        code = code_of(reply.text, selection.code, selection.language)
        if asked.action.gives == "file":
            await _create(ls, selection, code)
            return Outcome("applied", message=selection.note or None)
        return await _edit(ls, document, selection, code, title)
    except ClLspError as error:
        notes = (*reply.notes, *([selection.note] if selection.note else []))
        kept = ls.chats.keep(title, origin_of(selection), text, Reply(reply.text, notes))
        message = f"{title}: {error}; the answer is in a chat document"
        return Outcome("shown", kept.as_uri(), message)


async def _converse(ls: "ClLsp", asked: Asked, selection: Selection) -> Outcome:
    said = actions.quoted(selection) if asked.waits else actions.question(asked, selection)
    notes = [selection.note] if selection.note else []
    await require_chat(ls, asked.uri)  # for a document without an answer nobody has asked
    path = ls.chats.begin(asked.action.title, origin_of(selection), said, notes)
    if not asked.waits:
        await ls.chats.send(path)
    return Outcome("shown", path.as_uri())


async def _edit(
    ls: "ClLsp", document: Document, selection: Selection, code: str, title: str
) -> Outcome:
    wanted = fitted(code, selection.code, document.text)
    changes = minimal(document.text, selection.start, selection.end, wanted)
    if not changes:
        return Outcome("nothing", message=f"{title}: the model would change nothing")
    if (reason := await change(ls, document, changes, title)) is not None:
        raise ClLspError(reason)
    return Outcome("applied", message=selection.note or None)


async def _create(ls: "ClLsp", selection: Selection, code: str) -> None:
    """Raises ClLspError."""
    able, uri = Able.of(ls.client_capabilities), selection.snapshot.uri
    name = to_fs_path(uri) if uri.startswith("file:") else None
    path = tests_of.place_for(Path(name), selection.language) if name else None
    if path is None:
        raise ClLspError("where its tests go is not known")
    if path.exists() or path.as_uri() in ls.documents.uris:
        raise ClLspError(f"{path.name} is there already")
    if not (able.applies and able.creates):
        raise ClLspError("the editor cannot create files")
    text = code if code.endswith("\n") else code + "\n"
    label = f"create {path.name}"
    if (reason := await apply(ls, new_file(able, path.as_uri(), text, label), label)) is not None:
        raise ClLspError(reason)


async def _fill(ls: "ClLsp", document: Document, gap: fills.Hole) -> Outcome:
    title = actions.ACTIONS[gap.what].title
    many, around = gap.what == "candidates", ls.documents.around(document.uri)

    async def ask_engine(backend: Backend) -> list[str]:
        if many:
            return await fills.candidates(backend, gap, around)
        return [text] if (text := await fills.fill(backend, gap, around)) else []

    async with progress(ls, f"cl-lsp: {title}", cancellable=True) as report:
        report(0)
        found = await ls.engines.ask("completion", ask_engine, uri=document.uri)
    found = [text for text in found if text.strip() and text != gap.text]
    if not found:
        return Outcome("nothing", message=f"{title}: the model has nothing to put there")
    if many:
        return Outcome("shown", _keep(ls, title, gap, found).as_uri())
    changes = minimal(document.text, gap.start, gap.end, found[0])
    if (reason := await change(ls, document, changes, title)) is None:
        return Outcome("applied")
    message = f"{title}: {reason}; the text is in a chat document"
    return Outcome("shown", _keep(ls, title, gap, found).as_uri(), message)


def _keep(ls: "ClLsp", title: str, gap: fills.Hole, found: list[str]) -> Path:
    """What was found as code blocks, from where it can be inserted."""
    shot, text = gap.snapshot, gap.snapshot.text
    first = len(lines_of(gap.before + "|")) - 1
    column: int | None = None
    if gap.start == gap.end:
        last, column = first, len(lines_of(gap.before + "|")[-1]) - 1
    else:  # an origin is of whole lines
        last = len(lines_of(text[: gap.end] + "|")) - 1
        begins = sum(map(len, lines_of(text)[:first]))
        ends = sum(map(len, lines_of(text)[: last + 1]))
        found = [text[begins : gap.start] + each + text[gap.end : ends] for each in found]
    origin = Origin.of(shot.uri, shot.language, text, first, last, column)
    blocks = "\n\n".join(fence(each, shot.language) for each in found)
    place = f"{shot.uri.rpartition('/')[2]}:{first + 1}"
    return ls.chats.keep(title, origin, f"{title} ({place})", Reply(blocks))
