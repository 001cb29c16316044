"""Code actions on the wire, with a scripted engine behind the language server."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from cl_lsp.daemon import default_socket
from tests.lsp.client import URI, LspClient, LspError
from tests.lsp.editor import ABLE, CREATES, KINDS, Editor, path_of
from tests.lsp.fake_engine import FakeEngine

TEXT = "import os\n\nclass A:\n    def f(self, x):\n        return x\n\nf(1)\n"
METHOD = "    def f(self, x):\n        return x\n"
TYPED = "```python\ndef f(self, x: int) -> int:\n    return x\n```"
WANTED = TEXT.replace("(self, x)", "(self, x: int) -> int")


async def test_the_menu_has_what_the_models_can_do(client: LspClient, engine: FakeEngine) -> None:
    reason = "fake cannot do chat. These models can: codellama/CodeLlama-7b-Instruct-hf"
    engine.refused = {"chat": reason}
    capabilities = await client.initialize(more=ABLE)
    assert "quickfix" in capabilities["codeActionProvider"]["codeActionKinds"]
    assert "cl-lsp.chat" in capabilities["executeCommandProvider"]["commands"]
    client.open(TEXT)
    menu = {action["title"]: action for action in await client.code_actions((3, 0), (4, 12))}
    assert menu["cl-lsp: Explain this code"]["disabled"] == {"reason": reason}
    assert "command" not in menu["cl-lsp: Explain this code"]
    assert menu["cl-lsp: Fill this body"]["command"]["command"] == "cl-lsp.fill"
    only = await client.code_actions((3, 0), (4, 12), only=["refactor.rewrite.types"])
    assert [action["title"] for action in only] == ["cl-lsp: Add types"]
    # Another model by now, which is asked when it is there; new settings are a reason to ask.
    engine.refused, engine.status = {"infilling": "no"}, "loading"
    other = {"settings": {"completion": {"maxTokens": 7}}}
    client.notify("workspace/didChangeConfiguration", other)
    actions = await client.code_actions((3, 4), (3, 4))
    assert {a["title"] for a in actions if "disabled" in a} == {
        "cl-lsp: Complete here",
        "cl-lsp: Complete here: three candidates",
        "cl-lsp: Fill this body",
    }


async def test_the_engine_is_not_asked_at_each_step_of_the_cursor(
    client: LspClient, engine: FakeEngine
) -> None:
    await client.initialize(more=ABLE)
    client.open(TEXT)
    engine.models_s = 0.05
    menus = await asyncio.gather(*(client.code_actions((n % 5, 0), (n % 5, 0)) for n in range(10)))
    for n in range(10):
        menus.append(await client.code_actions((n % 5, 0), (n % 5, 0)))
    assert all(len(menu) == len(menus[0]) > 5 for menu in menus)
    assert engine.models_asked == 1


async def test_another_daemon_is_asked_at_once(client: LspClient, engine: FakeEngine) -> None:
    await client.initialize(more=ABLE)
    client.open(TEXT)
    only = ["cl-lsp.explain"]
    assert "disabled" not in (await client.code_actions((3, 0), (4, 12), only=only))[0]
    engine.refused = {"chat": "no"}
    assert "disabled" not in (await client.code_actions((3, 0), (4, 12), only=only))[0]
    os.utime(default_socket(), ns=(1, 1))  # the one that comes next makes its socket anew
    assert "disabled" in (await client.code_actions((3, 0), (4, 12), only=only))[0]


@pytest.mark.parametrize("able", [{}, {"codeAction": {}}])
async def test_a_client_without_literals_gets_no_menu(client: LspClient, able: dict) -> None:
    await client.initialize(more=able)
    client.open(TEXT)
    assert await client.code_actions((2, 0), (3, 12)) == []


async def test_a_client_that_cannot_show_disabled_entries_gets_the_others(
    client: LspClient, engine: FakeEngine
) -> None:
    engine.refused = {"chat": "no"}
    await client.initialize(more={"codeAction": {"codeActionLiteralSupport": KINDS}})
    client.open(TEXT)
    titles = [action["title"] for action in await client.code_actions((3, 0), (4, 12))]
    assert "cl-lsp: Explain this code" not in titles and "cl-lsp: Complete here" in titles


async def test_an_edit_is_the_lines_that_differ_and_is_confirmed(
    editor: Editor, engine: FakeEngine
) -> None:
    await editor.start()
    editor.open(TEXT)
    engine.text = f"Here you are:\n\n{TYPED}\nNow it has types."
    outcome = await editor.act("types", (4, 10))
    assert outcome == {"outcome": "applied", "document": None, "message": None}
    assert editor.text() == WANTED
    [edit] = editor.edits
    [part] = edit["documentChanges"]
    assert part["textDocument"] == {"uri": URI, "version": 1}
    assert [e["newText"] for e in part["edits"]] == ["    def f(self, x: int) -> int:\n"]
    [annotation] = edit["changeAnnotations"].values()
    assert annotation["needsConfirmation"] and annotation["label"] == "Add types"
    [message] = engine.requests[-1]["messages"]
    assert message["content"].endswith(f"```python\n{METHOD}```")
    assert "```python\nclass A:\n```" in message["content"]


async def test_a_client_without_versions_gets_plain_changes(
    editor: Editor, engine: FakeEngine
) -> None:
    await editor.start({})
    editor.open(TEXT)
    engine.text = TYPED
    await editor.act("types", (4, 10))
    assert editor.text() == WANTED
    assert list(editor.edits[0]) == ["changes"]


async def test_a_fix_is_told_the_diagnostics(editor: Editor, engine: FakeEngine) -> None:
    await editor.start()
    editor.open(TEXT)
    engine.text = TYPED
    at = {"start": {"line": 4, "character": 15}, "end": {"line": 4, "character": 16}}
    found = [{"range": at, "message": "x is odd"}]
    [fix] = await editor.client.code_actions((4, 0), (4, 16), diagnostics=found, only=["quickfix"])
    assert fix["title"] == "cl-lsp: Fix this code" and fix["diagnostics"] == found
    assert (await editor.run(fix["command"]))["outcome"] != "failed"
    assert "- line 5: x is odd\n" in engine.requests[-1]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("  \n", "the model answered nothing"),
        (f"```\n{METHOD}```", "the model would change nothing"),
        ("It is typed in all of its parts already.", "the answer has no code block"),
    ],
)
async def test_an_answer_that_changes_nothing_is_said(
    editor: Editor, engine: FakeEngine, answer: str, message: str
) -> None:
    await editor.start()
    editor.open(TEXT)
    engine.text = answer
    outcome = await editor.act("types", (4, 10))
    assert editor.edits == [] and editor.text() == TEXT
    assert message in outcome["message"] and message in editor.client.messages()[-1]
    if outcome["outcome"] == "shown":
        assert answer in path_of(outcome["document"]).read_text()
    else:
        assert outcome["outcome"] == "nothing" and outcome["document"] is None


@pytest.mark.parametrize("action", ["types", "tests", "body"])
async def test_of_a_change_that_the_user_does_not_want_nothing_is_said(
    editor: Editor, engine: FakeEngine, action: str
) -> None:
    await editor.start(CREATES)
    editor.open(TEXT)
    engine.text, editor.refuses = TYPED, "discarded"
    outcome = await editor.act(action, (4, 10))
    assert outcome == {"outcome": "nothing", "document": None, "message": None}
    assert len(editor.edits) == 1 and editor.text() == TEXT
    assert not editor.client.messages()


@pytest.mark.parametrize("why", ["changed", "refused", "unable"])
async def test_an_answer_that_cannot_be_applied_is_in_a_document(
    editor: Editor, engine: FakeEngine, why: str
) -> None:
    await editor.start(None if why == "unable" else CREATES)
    editor.open(TEXT)
    engine.text, editor.refuses = TYPED, "no" if why == "refused" else ""
    engine.headers_s = 0.3 if why == "changed" else 0
    asked = asyncio.create_task(editor.act("types", (4, 10)))
    if why == "changed":
        while not engine.requests:
            await asyncio.sleep(0.02)
        editor.type("# new\n" + TEXT)
    outcome = await asked
    reasons = {
        "changed": "the document has changed meanwhile",
        "refused": "the editor did not apply the edit: no",
        "unable": "the editor cannot apply edits",
    }
    assert outcome["outcome"] == "shown" and reasons[why] in outcome["message"]
    assert editor.text() == ("# new\n" if why == "changed" else "") + TEXT
    assert f"## cl-lsp\n\n{TYPED}\n" in path_of(outcome["document"]).read_text()
    if why == "changed":  # from there it can still be inserted: its lines have only moved
        lens = (await editor.lenses(outcome["document"]))[1]["command"]
        assert lens["title"] == "Replace the origin"
        assert (await editor.run(lens))["outcome"] == "applied"
        assert editor.text() == "# new\n" + WANTED


async def test_tests_go_into_a_file_beside(
    editor: Editor, engine: FakeEngine, tmp_path: Path
) -> None:
    await editor.start()
    uri = (tmp_path / "a.py").as_uri()
    editor.open(TEXT, uri)
    engine.text = "```python\nimport a\n```"
    assert (await editor.act("tests", (4, 10), uri=uri))["outcome"] == "applied"
    beside = (tmp_path / "test_a.py").as_uri()
    assert editor.text(beside) == "import a\n"
    outcome = await editor.act("tests", (4, 10), uri=uri)
    assert outcome["outcome"] == "shown" and "test_a.py is there already" in outcome["message"]
    assert editor.text(beside) == "import a\n"


FILL = "def f(x):\n    '''Doc.'''\n    return 0\n\n\nf(1)\n"


@pytest.mark.parametrize(
    ("action", "start", "end", "text", "wanted"),
    [
        ("here", (2, 11), None, "x + 1 + ", FILL.replace("return 0", "return x + 1 +0")),
        ("body", (2, 4), None, "\n    return 7\n", FILL.replace("return 0", "return 7")),
        ("body", (0, 0), None, "\n    return 7", FILL.replace("return 0", "return 7")),
        ("selection", (2, 11), (2, 12), "x * x", FILL.replace("return 0", "return x * x")),
    ],
)
async def test_a_hole_is_filled(
    editor: Editor,
    engine: FakeEngine,
    action: str,
    start: tuple[int, int],
    end: tuple[int, int] | None,
    text: str,
    wanted: str,
) -> None:
    await editor.start()
    editor.open(FILL.replace("'''", '"""'))
    engine.text = text
    outcome = await editor.act(action, start, end)
    assert outcome["outcome"] == "applied"
    assert editor.text() == wanted.replace("'''", '"""')
    [request] = engine.requests
    hole = "" if action == "here" else "return 0" if action == "body" else "0"
    assert hole not in (request["prompt"] + request["suffix"]) or not hole


async def test_candidates_are_blocks_of_a_document(editor: Editor, engine: FakeEngine) -> None:
    await editor.start()
    editor.open(FILL)
    engine.text = "x + 1"
    outcome = await editor.act("candidates", (2, 12))
    assert [r["temperature"] for r in engine.requests].count(0.0) == 1 and len(engine.requests) == 3
    titles = [lens["command"]["title"] for lens in await editor.lenses(outcome["document"])]
    assert titles == ["Send", "Insert at the origin"]  # all three are the same
    lens = (await editor.lenses(outcome["document"]))[1]["command"]
    assert (await editor.run(lens))["outcome"] == "applied"
    assert editor.text() == FILL.replace("return 0", "return 0x + 1")


async def test_a_model_that_cannot_infill_says_so(editor: Editor, engine: FakeEngine) -> None:
    engine.refused = {"infilling": "fake cannot infill"}
    await editor.start()
    editor.open(FILL)
    outcome = await editor.act("here", (2, 12))
    assert outcome["outcome"] == "failed" and outcome["message"] == "fake cannot infill"
    assert engine.requests == []


async def test_what_goes_wrong_is_said(editor: Editor, engine: FakeEngine) -> None:
    await editor.start()
    editor.open(TEXT)
    engine.error = "out of cheese"
    assert (await editor.act("types", (4, 10)))["message"] == "out of cheese"
    assert editor.client.messages()[-1] == "cl-lsp: out of cheese"
    editor.close(URI)
    await editor.act("types", (4, 10))
    assert editor.client.messages()[-1] == f"cl-lsp: {URI} is not open"


@pytest.mark.parametrize("by", ["request", "progress"])
async def test_a_cancelled_question_stops_the_work(
    client: LspClient, engine: FakeEngine, by: str
) -> None:
    engine.delay_s = 5
    await client.initialize(more=ABLE)
    client.open(TEXT)
    actions = await client.code_actions((2, 0), (3, 12), only=["refactor.rewrite.types"])
    request = client.request("workspace/executeCommand", actions[0]["command"])
    while not engine.requests or not (begun := begins(client)):
        await asyncio.sleep(0.02)
    if by == "request":
        client.notify("$/cancelRequest", {"id": request.ident})  # type: ignore[attr-defined]
    else:
        client.notify("window/workDoneProgress/cancel", {"token": begun[-1]["token"]})
    with pytest.raises(LspError) as error:
        await asyncio.wait_for(request, 3)
    assert error.value.code == -32800
    for _ in range(100):
        if engine.cancelled:
            break
        await asyncio.sleep(0.02)
    assert engine.cancelled == 1


def begins(client: LspClient) -> list[dict]:
    """What began with a button to cancel it."""
    sent = [n["params"] for n in client.notifications if n["method"] == "$/progress"]
    return [params for params in sent if params["value"].get("cancellable")]


async def test_a_command_that_makes_no_sense_is_refused(client: LspClient) -> None:
    await client.initialize(more=ABLE)
    zero = {"line": 0, "character": 0}
    at: dict[str, Any] = {"start": zero, "end": zero}
    short = {"start": zero, "end": {"line": -1}}
    wrong: list[tuple[str, Any, str]] = [
        ("cl-lsp.chat", None, "one object is wanted"),
        ("cl-lsp.chat", [], "one object is wanted"),
        ("cl-lsp.chat", ["explain"], "must be an object"),
        ("cl-lsp.chat", [{}], ": action is missing"),
        ("cl-lsp.chat", [{"action": "dance", "uri": URI, "range": at}], "has no action dance"),
        ("cl-lsp.chat", [{"action": "body", "uri": URI, "range": at}], "has no action body"),
        ("cl-lsp.chat", [{"action": "fix", "uri": 1, "range": at}], "a text is wanted, not 1"),
        ("cl-lsp.chat", [{"action": "fix", "uri": URI, "range": [0, 0]}], "has another form"),
        ("cl-lsp.chat", [{"action": "fix", "uri": URI, "range": short}], ": character is missing"),
        ("cl-lsp.chat", [{"action": "fix", "uri": URI, "range": at, "diagnostics": [1]}], "texts"),
        ("cl-lsp.chat.send", [{"uri": URI}], "is no chat document"),
        ("cl-lsp.no", [], "there is no command cl-lsp.no"),
    ]
    for command, arguments, said in wrong:
        params = {"command": command, "arguments": arguments}
        with pytest.raises(LspError, match=said) as error:
            await client.request("workspace/executeCommand", params)
        assert error.value.code == -32602
