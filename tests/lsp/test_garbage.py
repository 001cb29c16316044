"""A client that sends garbage: the server stays up, answers, and says what it ignored."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lsp.garbage import Client, encoded, engine, framed, mess

BATCH = 20  # messages; then a valid request must be answered correctly
MOST_MIB = 400
quiet = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    report_multiple_bugs=False,
)


@pytest.fixture
def client(home: Path) -> Iterator[Client]:
    with engine():
        client = Client(home / "log")
        yield client
        if client.process.poll() is None:
            client.process.kill()
        client.process.wait()
        client._reader.join()
        for pipe in (client.process.stdin, client.process.stdout):
            assert pipe is not None
            pipe.close()


def survives(client: Client, batches: int) -> None:
    @settings(quiet, max_examples=batches)
    @given(st.lists(mess, min_size=BATCH, max_size=BATCH))
    def send(batch: list[bytes]) -> None:
        for message in batch:
            client.write(message)
        [item] = client.probe()
        assert item["insertText"] == "turn x"
        assert client.memory() < MOST_MIB

    client.probe()
    send()
    assert client.sent > batches * BATCH
    assert client.close() == 0
    said = client.log.read_text()
    assert "ignored: " in said
    assert "Traceback" not in said, said[said.index("Traceback") - 300 :][:3000]


def test_some_hundred_messages(client: Client) -> None:
    survives(client, 14)


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_ten_thousand_messages(client: Client) -> None:
    survives(client, 500)


def test_what_is_ignored_is_answered_and_said(client: Client) -> None:
    for method, params, code in (
        ("textDocument/inlineCompletion", {"position": 1}, -32602),
        ("textDocument/didOpen", None, -32602),
        ("no/such", {}, -32601),
        ("workspace/executeCommand", {"command": "cl-lsp.nothing"}, -32602),
        ("initialize", {"processId": None, "rootUri": None, "capabilities": {}}, -32600),
    ):
        assert client.ask(method, params)["error"]["code"] == code, method
    client.write(framed(encoded({"jsonrpc": "2.0", "id": [1], "method": "shutdown"})))
    client.write(framed(encoded([{"jsonrpc": "2.0"}])))
    client.write(framed(b"{'a': 1}"))
    assert client.probe()
    said = client.log.read_text()
    for words in ("wrong parameters", "id is none", "no JSON-RPC 2.0", "is no JSON:", "before"):
        assert f"ignored: {words}" in said or words in said, words


def opened(client: Client, text: str, name: str = "odd", version: int = 5) -> str:
    uri = f"file:///work/{name}.py"
    item = {"uri": uri, "version": version, "languageId": "python", "text": text}
    client.notify("textDocument/didOpen", {"textDocument": item})
    return uri


def inserted(client: Client, uri: str, text: str, line: int, version: int | None) -> None:
    at = {"line": line, "character": 0}
    change = {"range": {"start": at, "end": at}, "text": text}
    document = {"uri": uri, "version": version}
    client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})


def suggested(client: Client, uri: str, line: int, character: int) -> list[str]:
    at = {"line": line, "character": character}
    params = {"textDocument": {"uri": uri}, "position": at, "context": {"triggerKind": 1}}
    answer = client.ask("textDocument/inlineCompletion", params)
    return [item["insertText"] for item in answer["result"]["items"]]


def test_odd_texts_are_completed(client: Client) -> None:
    """Mixed line ends, a lone surrogate, a version that goes back, or none: of an empty client."""
    assert suggested(client, opened(client, "a = 1\r\nb\rc\n\rre", "ends"), 4, 2) == ["turn x"]
    uri = opened(client, "s = '\ud800'\nre\n", "surrogate")
    assert suggested(client, uri, 1, 2) == ["turn x"]
    inserted(client, uri, "\udc00\n", 0, 3)
    assert suggested(client, uri, 2, 2) == ["turn x"]
    inserted(client, uri, "\n", 0, None)
    assert suggested(client, uri, 4, 0) == ["turn x"]
    assert suggested(client, uri, 0, 1) == ["turn x"]
    assert suggested(client, uri, 9, 0) == []
    said = client.log.read_text()
    assert "surrogate.py went back from version 5 to 3" in said
    assert "Traceback" not in said, said


@pytest.mark.parametrize("size", [20, pytest.param(100, marks=pytest.mark.soak)])
def test_a_file_of_many_megabytes_costs_no_memory(client: Client, size: int) -> None:
    client.probe()
    before = client.memory()
    uri = opened(client, "x = 1\n" * (size * 2**20 // 6), "big")
    assert suggested(client, uri, 3, 2) == []
    for version in range(6, 60):
        inserted(client, uri, "y", 2, version)
    assert suggested(client, uri, 3, 2) == []
    assert client.probe()
    assert client.memory() < before + 60
