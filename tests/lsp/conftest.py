"""A scripted engine at the user's socket, and the language server in front of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lsp.client import LspClient, language_server
from tests.lsp.editor import Editor
from tests.lsp.fake_engine import FakeEngine, serving


@pytest.fixture
async def engine(home: Path) -> AsyncIterator[FakeEngine]:
    fake = FakeEngine(text="turn x")
    async with serving(fake):
        yield fake


@pytest.fixture
async def client(engine: FakeEngine) -> AsyncIterator[LspClient]:
    async with language_server() as client:
        yield client


@pytest.fixture
async def editor(client: LspClient) -> Editor:
    return Editor(client)
