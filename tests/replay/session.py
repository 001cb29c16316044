"""Someone types into holes, looks at suggestions, and takes those that are right.

Time is real while the server or the engine works, and skipped where nobody does anything: a run
takes less than its typing would.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_lsp.completion import Suggestion
from cl_lsp.documents import width
from tests.lsp.client import LspClient, LspError
from tests.replay.holes import Hole
from tests.replay.measures import Tally, repeats, unbalances
from tests.replay.observed import Observed, connected
from tests.replay.sheet import Edit, Sheet, accept, accept_part, press, presses

PATIENCE_S = 20.0  # an engine that takes longer has failed


@dataclass(frozen=True)
class Person:
    """Seconds between two keys, and what their editor does by itself.

    As VS Code it asks `pause_s` after a key, and a key cancels what was asked before. Who is
    patient waits for each answer, and for what is made ahead: what is shown to them depends on no
    clock.
    """

    key_s: float = 0.2
    read_s: float = 0.25
    pause_s: float = 0.05
    closes: bool = True

    @classmethod
    def patient(cls, closes: bool = True) -> "Person":
        return cls(key_s=PATIENCE_S, read_s=PATIENCE_S, pause_s=0.0, closes=closes)


class Session:
    """One language server and one person; `tally` has what came of it."""

    def __init__(self, person: Person):
        self.person, self.tally = person, Tally()
        self.server = Observed(self._note)

    def _note(self, by: str, found: Suggestion | None) -> None:
        if by:
            self.tally.by[by] += 1
        if found is None:
            self.tally.silent["overtaken"] += by != "adopted"
        elif not found.text:
            self.tally.silent[found.stop_reason or "unnamed"] += 1
        details = found.usage.get("prompt_tokens_details") if found is not None else None
        if found is not None and details is not None:
            spared = details["cached_tokens"] + details.get("healed_tokens", 0)
            self.tally.computed.append(found.usage["prompt_tokens"] - spared)

    async def type_into(self, client: LspClient, hole: Hole, text: str, uri: str) -> None:
        """Fill one hole, in a document that is opened for it and closed behind it."""
        sheet, tally = hole.sheet(text), self.tally
        client.open(sheet.text, uri, hole.language)
        tally.holes += 1
        tally.characters += len(sheet.todo)
        tally.plain_keys += presses(sheet.todo)
        pressed, keys_before = True, tally.keys
        while sheet.todo:
            if pressed:
                older, (sheet, edit) = sheet, press(sheet, self.person.closes)
                _change(client, uri, older, edit)
                tally.keys += 1
            began = time.perf_counter()
            await self.server.background(self.person.pause_s)
            item = await self._ask(client, uri, sheet)
            taken = self._look(sheet, item, hole.language) if item else None
            pressed = taken is None
            if taken is None:
                await self.server.background(self.person.key_s - (time.perf_counter() - began))
                continue
            await self.server.background(self.person.read_s)
            after, edit, keys = taken
            _change(client, uri, sheet, edit)
            tally.accepted += 1
            tally.accepted_characters += len(sheet.todo) - len(after.todo)
            tally.keys += keys
            sheet = after
        tally.spent.append(tally.keys - keys_before)
        client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    async def _ask(self, client: LspClient, uri: str, sheet: Sheet) -> dict[str, Any] | None:
        """What is shown before the next key; as VS Code does, the request is cancelled then."""
        at, tally = position(sheet.text, len(sheet.before)), self.tally
        began = time.perf_counter()
        tally.requests += 1
        reply = client.inline(at["line"], at["character"], uri)
        patience = self.person.key_s - self.person.pause_s
        done, _ = await asyncio.wait({reply}, timeout=patience)
        tally.took_ms.append((time.perf_counter() - began) * 1e3)
        if done:
            result = reply.result()
            return result["items"][0] if result and result["items"] else None
        tally.late += 1
        reply.add_done_callback(_expect_cancel)
        client.notify("$/cancelRequest", {"id": reply.ident})  # type: ignore[attr-defined]
        return None

    def _look(
        self, sheet: Sheet, item: dict[str, Any], language: str
    ) -> tuple[Sheet, Edit, int] | None:
        text, tally = item["insertText"], self.tally
        span = item["range"]["end"]["character"] - item["range"]["start"]["character"]
        replaced = _characters(sheet.after, span)
        tally.shown += 1
        for fault in (repeats, unbalances):
            if fault(sheet, text, replaced, language):
                here = (sheet.before[-60:], text, sheet.after[replaced:][:60])
                tally.faults.append((fault.__name__, *here))
        return accept(sheet, text, replaced) or accept_part(sheet, text)


async def replay(
    holes: list[tuple[Hole, str]], folder: Path, person: Person, options: dict[str, Any]
) -> Tally:
    """All holes, each with its file's text, in a workspace that is `folder`."""
    session = Session(person)
    async with connected(session.server) as client:
        options = {"completion": {"prefetch": True} | options}
        await client.initialize(options=options, root=folder.as_uri(), folders=[folder.as_uri()])
        await session.server.engines.ready("completion")
        await session.server.indexed()
        session.tally = Tally()
        for hole, text in holes:
            await session.type_into(client, hole, text, (folder / hole.path).as_uri())
    assert not session.server.problems, session.server.problems
    return session.tally


def position(text: str, offset: int) -> dict[str, int]:
    """In UTF-16, as the client has not offered another encoding."""
    line = text.rfind("\n", 0, offset) + 1
    return {"line": text.count("\n", 0, offset), "character": width(text[line:offset], "utf-16")}


def _characters(text: str, units: int) -> int:
    count = 0
    while width(text[:count], "utf-16") < units:
        count += 1
    return count


def _change(client: LspClient, uri: str, sheet: Sheet, edit: Edit) -> None:
    client.version += 1
    span = {"start": position(sheet.text, edit.start), "end": position(sheet.text, edit.end)}
    client.notify(
        "textDocument/didChange",
        {
            "textDocument": {"uri": uri, "version": client.version},
            "contentChanges": [{"range": span, "text": edit.text}],
        },
    )


def _expect_cancel(reply: "asyncio.Future[Any]") -> None:
    if not reply.cancelled() and (error := reply.exception()) is not None:
        assert isinstance(error, LspError)
