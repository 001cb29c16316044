"""Chat documents: their text, answers that stream into them, and code that is taken from them."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_lsp import chat_documents
from cl_lsp.chat_documents import Conversation, Origin, answer_blocks, newest, shown, written
from cl_lsp.chat_writer import HEADING, ending, growth
from tests.lsp.client import URI, LspError
from tests.lsp.editor import Editor, path_of
from tests.lsp.fake_engine import FakeEngine

TEXT = "import os\n\ndef f(x):\n    return x\n\nf(1)\n"
F = "def f(x):\n    return x\n"
DOCUMENT = """\
# A talk

Origin: [a.py:3-4](file:///work/a.py#L3-L4) python 9f3a22c1

## You

What is this?

```md
## You
```

## cl-lsp

A fence:
```python
x = 1
```

> cl-lsp: the answer ended at chat.maxTokens (700)

## You

And
  this?
"""


def test_a_document_is_read_as_turns() -> None:
    said = Conversation.read(DOCUMENT)
    assert said.origin == Origin("file:///work/a.py", 2, 3, None, "python", "9f3a22c1")
    assert said.messages() == (
        [
            {"role": "user", "content": "What is this?\n\n```md\n## You\n```"},
            {"role": "assistant", "content": "A fence:\n```python\nx = 1\n```"},
            {"role": "user", "content": "And\n  this?"},
        ],
        0,
    )
    assert said.can_be_sent and Conversation.read(DOCUMENT.replace("\n", "\r\n")).can_be_sent
    [block] = answer_blocks(DOCUMENT)
    assert (block.language, block.text) == ("python", "x = 1\n")
    assert DOCUMENT.splitlines()[block.line] == "```python"
    assert said.last_heading is not None
    assert DOCUMENT.splitlines()[said.last_heading :] == ["## You", "", "And", "  this?"]


@pytest.mark.parametrize(
    "text", ["", "# Only a title\n", "## You\n\n", DOCUMENT + "## cl-lsp\n\nx"]
)
def test_without_a_question_there_is_nothing_to_send(text: str) -> None:
    assert not Conversation.read(text).can_be_sent


def test_a_question_whose_answer_failed_can_be_sent_again() -> None:
    assert Conversation.read(DOCUMENT + "\n## cl-lsp\n\n> cl-lsp: it is gone\n").can_be_sent


def test_the_oldest_turns_are_left_out() -> None:
    turns = [
        {"role": "user" if n % 2 == 0 else "assistant", "content": "x" * 5000} for n in range(9)
    ]
    kept, dropped = newest(turns)
    assert (len(kept), dropped) == (3, 6) and kept[0]["role"] == "user"
    long = [{"role": "system", "content": "s"}, {"role": "user", "content": "x" * 50_000}]
    assert newest(long) == (long, 0)


def test_an_origin_is_found_where_its_lines_have_moved_to() -> None:
    origin = Origin.of(URI, "python", TEXT, 2, 3)
    assert Origin.read(str(origin)) == origin
    start = TEXT.index("def")
    assert origin.located(TEXT) == (start, start + len(F))
    assert origin.located("# new\r\n" + TEXT.replace("\n", "\r\n")) is not None
    assert origin.located("# new\n" + TEXT) == (start + 6, start + 6 + len(F))
    assert origin.located(TEXT.replace("return x", "return 1")) is None
    assert origin.located("") is None
    assert origin.located("#\n" + F + F) is None  # which of both, nobody knows
    cursor = Origin.of(URI, "", TEXT, 3, 3, 4)
    assert Origin.read(str(cursor)) == cursor
    assert cursor.located(TEXT) == (TEXT.index("return"),) * 2


LINES = st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=8)


@given(LINES, LINES, st.data())
def test_an_origin_is_where_all_of_its_lines_are(
    old: list[str], new: list[str], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(old) - 1))
    last = data.draw(st.integers(first, len(old) - 1))
    wanted = old[first : last + 1]
    places = [n for n in range(len(new)) if new[n : n + len(wanted)] == wanted]
    place = first if first in places else places[0] if len(places) == 1 else None
    begins = [sum(len(line) + 1 for line in new[:n]) for n in range(len(new) + 1)]
    cursor = Origin.of(URI, "", "\n".join(old), first, first, 0)
    assert cursor.located("\n".join(old)) == (sum(len(line) + 1 for line in old[:first]),) * 2
    found = Origin.of(URI, "", "\n".join(old), first, last).located("\n".join(new))
    if place is None:
        assert found is None
    else:
        end = min(begins[place + len(wanted)], begins[-1] - 1)
        assert found == (begins[place], end)


@pytest.mark.alone
def test_an_origin_is_found_in_a_long_document_in_little_time() -> None:
    """Bar: 5 ms for 200 lines of 5,000 that have moved."""
    text = "".join(f"    value_{i} = some_function(argument_{i}, {i})\n" for i in range(5000))
    origin, took = Origin.of(URI, "python", text, 2000, 2199), []
    for _ in range(20):
        began = time.perf_counter()
        assert origin.located("# new\n" + text) is not None
        took.append((time.perf_counter() - began) * 1e3)
    assert min(took) <= 5


def test_an_answer_only_grows_and_has_no_heading_of_ours() -> None:
    answer = "One.\n\n## You\nTwo\n```\n## cl-lsp\nx"
    steps = [shown(answer[:n]) for n in range(len(answer))] + [shown(answer, ended=True)]
    assert all(b.startswith(a) for a, b in zip(steps, steps[1:], strict=False))
    whole = written("T", None, "Q", []) + "\n\n## cl-lsp\n\n" + steps[-1] + ending(answer, [])
    assert [t.role for t in Conversation.read(whole).turns] == ["user", "assistant", "user"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_answer_grows_in_a_document(end: str) -> None:
    text, put = DOCUMENT.replace("\n", end), 0
    for said in ("", "One\n", "One\nTwo\n\n## You\n\n"):
        addition = HEADING + said
        change = growth(text, addition, put)
        assert change is not None
        text = text[: change.start] + change.text + text[change.end :]
        assert growth(text, addition, put := len(addition)) is None
    assert text == (DOCUMENT.rstrip() + HEADING + said).replace("\n", end)


def test_what_the_user_writes_meanwhile_stays() -> None:
    text = DOCUMENT.rstrip() + "\n\n## cl-lsp\n\nOne, said the user"
    change = growth(text, "\n\n## cl-lsp\n\nOne. Two", len("\n\n## cl-lsp\n\nOne"))
    assert change == (len(text), len(text), ". Two")


async def test_an_explanation_streams_into_an_open_document(
    editor: Editor, engine: FakeEngine
) -> None:
    await editor.start()
    editor.open(TEXT)
    engine.text, engine.delay_s = "It returns what it is given.", 0.6
    outcome = await editor.act("explain", (2, 0), (3, 12))
    assert outcome["outcome"] == "shown" and len(editor.edits) > 2
    said = editor.text(outcome["document"])
    assert said.startswith(
        "# Explain this code\n\nOrigin: [a.py:3-4](file:///work/a.py#L3-L4) python "
    )
    assert said.endswith("\n\n## cl-lsp\n\nIt returns what it is given.\n\n## You\n\n")
    assert f"```python\n{F}```\n" in said
    path = path_of(outcome["document"])
    assert path.parent == Path(os.environ["XDG_STATE_HOME"]) / "cl-lsp" / "chats"
    assert path.stat().st_mode & 0o777 == 0o600

    # The next turn, by the lens.
    editor.type(said + "Why?\n", outcome["document"])
    engine.delay_s = 0
    [lens] = await editor.lenses(outcome["document"])
    assert lens["command"]["title"] == "Send"
    await editor.run(lens["command"])
    sent = engine.requests[-1]["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "user"]
    assert sent[-1]["content"] == "Why?"
    assert editor.text(outcome["document"]).startswith(said + "Why?\n\n## cl-lsp\n\nIt returns")
    menu = await editor.client.request(
        "textDocument/codeAction",
        {
            "textDocument": {"uri": outcome["document"]},
            "range": {"start": lens["range"]["start"], "end": lens["range"]["start"]},
            "context": {"diagnostics": []},
        },
    )
    assert [action["title"] for action in menu] == ["cl-lsp: Send"]
    again = await editor.run(lens["command"])  # there is no question
    assert again["outcome"] == "failed" and "write your question" in again["message"]


async def test_without_edits_the_file_is_written(editor: Editor, engine: FakeEngine) -> None:
    await editor.start(None, able={"workspace": {}, "window": {}})
    editor.open(TEXT)
    outcome = await editor.act("explain", (3, 6))
    path = path_of(outcome["document"])
    assert path.read_text().endswith("\n\n## cl-lsp\n\nturn x\n\n## You\n\n")
    assert editor.client.messages() == [f"cl-lsp: the answer is in {path}"]
    path.write_text(path.read_text() + "And now?\n")
    send = {"command": "cl-lsp.chat.send", "arguments": [{"uri": outcome["document"]}]}
    assert (await editor.run(send))["outcome"] == "shown"
    assert path.read_text().count("## cl-lsp\n\nturn x\n") == 2


async def test_an_edit_without_an_instruction_is_a_document_to_write_it(
    editor: Editor, engine: FakeEngine
) -> None:
    await editor.start()
    editor.open(TEXT)
    outcome = await editor.act("edit", (2, 0), (3, 12))
    assert engine.requests == []
    uri = outcome["document"]
    assert editor.text(uri).endswith(f"## You\n\n```python\n{F}```\n")
    editor.type(editor.text(uri) + "\nAdd a type, and show a use.\n", uri)
    typed = F.replace("(x)", "(x: int)")
    engine.text = f"```python\n{typed}```\nand\n```python\nf(2)\n```"
    await editor.run((await editor.lenses(uri))[0]["command"])
    lenses = [lens["command"] for lens in await editor.lenses(uri)]
    titles = ["Replace the origin", "Insert below the origin"]
    assert [c["title"] for c in lenses if c["title"] != "Send"] == [*titles, *titles]
    by_block = [c for c in lenses if c["title"] != "Send"]
    assert (await editor.run(by_block[0]))["outcome"] == "applied"
    assert editor.text() == TEXT.replace(F, typed)
    changed = await editor.run(by_block[3])
    assert changed["outcome"] == "failed" and "has changed there" in changed["message"]
    editor.type(TEXT)
    assert (await editor.run(by_block[3]))["outcome"] == "applied"
    assert editor.text() == TEXT.replace(F, F + "\nf(2)\n")
    editor.close(URI)
    gone = await editor.run(by_block[0])
    assert (
        gone["outcome"] == "failed"
        and gone["message"] == f"{URI} is not open: open it, then insert"
    )


async def test_closing_the_document_stops_the_answer(editor: Editor, engine: FakeEngine) -> None:
    await editor.start()
    editor.open(TEXT)
    engine.text, engine.delay_s = "word " * 100, 20
    asked = asyncio.create_task(editor.act("explain", (2, 0), (3, 12)))
    while not editor.edits or "word word" not in editor.text(list(editor.documents)[-1]):
        await asyncio.sleep(0.02)
    uri = list(editor.documents)[-1]
    assert [lens["command"]["title"] for lens in await editor.lenses(uri)] == ["Stop"]
    editor.close(uri)
    with pytest.raises(LspError) as error:
        await asyncio.wait_for(asked, 8)
    assert error.value.code == -32800
    said = path_of(uri).read_text()
    assert "## cl-lsp\n\nword word" in said and said.endswith("> cl-lsp: stopped\n\n## You\n\n")


async def test_an_engine_that_fails_is_said_in_the_document(
    editor: Editor, engine: FakeEngine
) -> None:
    await editor.start()
    editor.open(TEXT)
    engine.error = "out of cheese"
    outcome = await editor.act("ask", (2, 0), (3, 12), instruction="Is it good?")
    assert outcome["outcome"] == "failed" and outcome["message"] == "out of cheese"
    uri = list(editor.documents)[-1]
    assert editor.text(uri).endswith("## cl-lsp\n\n> cl-lsp: out of cheese\n")
    engine.error = None
    send = {"command": "cl-lsp.chat.send", "arguments": [{"uri": uri}]}
    assert (await editor.run(send))["outcome"] == "shown"
    assert "Is it good?" in engine.requests[-1]["messages"][0]["content"]
    assert "turn x" in editor.text(uri)


async def test_what_was_refused_can_be_sent_when_it_is_allowed(
    editor: Editor, engine: FakeEngine
) -> None:
    await editor.start()
    editor.open(TEXT)
    uri = (await editor.act("explain", (2, 0), (3, 12)))["document"]
    editor.type(editor.text(uri) + "And now?\n", uri)
    send = {"command": "cl-lsp.chat.send", "arguments": [{"uri": uri}]}
    hidden: dict = {"privacy": {"ignoredGlobs": ["*.py"]}}
    for settings, outcome in ((hidden, "failed"), ({"privacy": {}}, "shown")):
        editor.client.notify("workspace/didChangeConfiguration", {"settings": settings})
        told = await editor.run(send)
        assert told["outcome"] == outcome, told
    assert len(engine.requests) == 2


async def test_a_long_selection_is_cut_and_says_so(editor: Editor, engine: FakeEngine) -> None:
    await editor.start()
    editor.open("".join(f"value_{i} = {i}\n" for i in range(1000)))
    outcome = await editor.act("explain", (0, 0), (1000, 0))
    assert "> cl-lsp: lines 1 to 1000 are too long: the model was sent those to " in editor.text(
        outcome["document"]
    )
    assert len(engine.requests[-1]["messages"][0]["content"]) < 8200


def test_only_files_of_the_folder_are_chat_documents(home: Path) -> None:
    inside = chat_documents.create("A talk: über/alles", "x")
    assert chat_documents.path_of(inside.as_uri()) == inside and inside.read_text() == "x"
    assert chat_documents.create("A talk: über/alles", "y") != inside
    for uri in ("file:///work/a.md", "untitled:a.md", "", (inside.parent / "a.py").as_uri()):
        assert chat_documents.path_of(uri) is None
    assert chat_documents.path_of((inside.parent / "x" / ".." / "b.md").as_uri()) is not None
    assert chat_documents.path_of((inside.parent / ".." / "b.md").as_uri()) is None


@pytest.mark.parametrize("action", ["explain", "ask", "types"])
async def test_no_document_is_opened_for_a_model_that_cannot_chat(
    editor: Editor, engine: FakeEngine, action: str
) -> None:
    why = "fake cannot do chat. These models can: codellama/CodeLlama-7b-Instruct-hf"
    engine.refused = {"chat": why}
    await editor.start()
    editor.open(TEXT)
    outcome = await editor.act(action, (3, 0))
    assert (outcome["outcome"], outcome["document"]) == ("failed", None)
    assert outcome["message"].startswith(why)
    assert "`cl-lsp pull 7b-instruct`" in outcome["message"] and "chat.model" in outcome["message"]
    assert list(editor.documents) == [URI] and engine.requests == []
    chats = chat_documents.folder()
    assert not chats.exists() or not list(chats.iterdir())
