"""Work-done progress: what the editor shows while something takes its time."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future

from lsprotocol import types
from pygls.lsp.server import LanguageServer


@contextlib.asynccontextmanager
async def progress(
    ls: LanguageServer, title: str, cancellable: bool = False, given: str | int | None = None
) -> AsyncIterator[Callable[[float], None]]:
    """Work-done progress that begins only if there is something to wait for.

    If `cancellable`, the user's cancel is that of the task which runs the block. `given` is the
    client's own token: it is not asked for another, and takes reports whatever it says it can do.
    """
    window = ls.client_capabilities.window
    able = given is not None or (window is not None and window.work_done_progress)
    token = str(uuid.uuid4()) if given is None else given
    begun, shown = False, -1
    tasks: set[asyncio.Task] = set()
    work = asyncio.current_task()

    def on_cancel(future: Future) -> None:
        if cancellable and future.cancelled() and work is not None:
            work.cancel()

    async def begin() -> None:
        if given is None:
            await ls.work_done_progress.create_async(token)
        start = types.WorkDoneProgressBegin(title=title, cancellable=cancellable)
        ls.work_done_progress.begin(token, start)
        ls.work_done_progress.tokens[token].add_done_callback(on_cancel)

    def report(seconds: float) -> None:
        nonlocal begun, shown
        if able and not begun:
            begun = True
            tasks.add(asyncio.create_task(begin()))
        elif begun and int(seconds) > shown and all(t.done() for t in tasks):
            shown = int(seconds)
            value = types.WorkDoneProgressReport(message=f"{shown} s")
            ls.work_done_progress.report(token, value)

    try:
        yield report
    finally:
        if begun:
            await asyncio.gather(*tasks, return_exceptions=True)
            ls.work_done_progress.end(token, types.WorkDoneProgressEnd())
