"""A scripted engine at a user's socket, for editors whose answers must be known; no model."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from unittest import mock

from tests.e2e.neovim import Home
from tests.lsp.fake_engine import FakeEngine, serving


@contextlib.contextmanager
def scripted_engine(home: Home, engine: FakeEngine) -> Iterator[FakeEngine]:
    """It runs in a thread of its own; what it is to say may be changed at any time."""
    loop = asyncio.new_event_loop()
    started, done = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with serving(engine):
            started.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    with mock.patch.dict("os.environ", XDG_RUNTIME_DIR=home.env["XDG_RUNTIME_DIR"]):
        thread.start()
        assert started.wait(10), "the scripted engine did not start"
    try:
        yield engine
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
