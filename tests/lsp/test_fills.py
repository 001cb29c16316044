"""Holes of a document, and what is put into them; with a backend that says what it is told to."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from cl_lsp import fills
from cl_lsp.backend import Traits
from cl_lsp.documents import Snapshot
from cl_lsp.errors import ClLspError, EngineRefused
from cl_lsp.exchange import Chunk, CompletionRequest


def gap(text: str, what: str, end: int | None = None, language: str = "python") -> fills.Hole:
    """`|` is the cursor."""
    offset = text.index("|")
    snapshot = Snapshot("file:///a", 1, language, text.replace("|", "", 1), offset)
    return fills.hole(snapshot, offset if end is None else end, what)


@pytest.mark.parametrize(
    ("text", "hole"),
    [
        ("def f():\n    x = 1\n|\n    return x\n\n\ny = 2\n", "\n    x = 1\n\n    return x"),
        ('def f():\n    """One.\n\n    Two.\n    """\n    |pass\n', "\n    pass"),
        ("def f():\r\n    r'''One.'''\r\n    |pass\r\n", "\r\n    pass"),
        ("def |f():\n\n\ny = 2\n", ""),
        ("def f():\n|", ""),
        ("int f()\n{\n    return |1;\n}\nint g;\n", "\n    return 1;"),
        ("int f() {\n    if (x) {\n        |g();\n    }\n}\n", "\n        g();"),
        (
            "int f() {\n    if (x) {\n        g();\n    }\n|}\n",
            "\n    if (x) {\n        g();\n    }",
        ),
    ],
)
def test_a_body_is_what_the_head_and_the_closer_leave(text: str, hole: str) -> None:
    found = gap(text, "body")
    assert found.text == hole
    assert found.before + hole + found.after == text.replace("|", "", 1)


def test_where_there_is_no_hole_it_is_said() -> None:
    with pytest.raises(ClLspError, match="no function or block"):
        gap("x = |1\n", "body")
    with pytest.raises(ClLspError, match="nothing is selected"):
        gap("x = |1\n", "selection")


class Said:
    """A backend that can only infill."""

    title, model, local = "", None, True

    def __init__(self, *texts: str, refused: dict[str, str] | None = None, **more: Any):
        self._texts, self._refused, self._more = list(texts), refused or {}, more
        self.requests: list[CompletionRequest] = []
        self.structured = True

    async def traits(self) -> Traits:
        return Traits(self.structured)

    async def refusals(self, *, fresh: bool = False) -> dict[str, str]:
        return self._refused

    async def complete(
        self, request: CompletionRequest, received: Callable[[], None]
    ) -> AsyncGenerator[Chunk]:
        self.requests.append(request)
        for part in self._texts.pop(0):
            yield Chunk(part)
        yield Chunk(finish_reason=self._more.get("finish_reason", "stop"))


async def test_a_fill_has_the_document_s_line_ends_and_repeats_nothing() -> None:
    hole = gap("def f():\r\n    |pass\r\n\r\n\r\ng(1)\r\n", "body")
    backend = Said("\n    x = 1\n    return x\n\n\ng(1)\n")
    text = await fills.fill(backend, hole)  # pyright: ignore[reportArgumentType]
    assert text == "\r\n    x = 1\r\n    return x"
    [request] = backend.requests
    assert (request.prompt, request.suffix) == ("def f():", "\n\n\ng(1)\n")
    assert request.stop_at == ("block", "suffix") and request.lane == "completion"


async def test_a_fill_that_does_not_end_loses_its_unfinished_line() -> None:
    hole = gap("|a\nb\n", "selection", 4)
    backend = Said("one\ntwo\nthr", finish_reason="length")
    assert await fills.fill(backend, hole) == "one\ntwo"  # pyright: ignore[reportArgumentType]
    assert backend.requests[0].max_tokens == 33 and backend.requests[0].stop_at == ("suffix",)


BELOW = "keep = compute(1)\nprint(keep)\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("text", "selected", "said"),
    [
        (f"|a = 1\nb = 2\n{BELOW}", "a = 1\nb = 2\n", f"c = 3\n{BELOW}"),
        (f"|a = 1\nb = 2\n{BELOW}", "a = 1\nb = 2", "c = 3\nkeep = compute(1)"),
        (f"|a = 1\n{BELOW}", "a = 1\n", f"c = 3\n\n\n{BELOW}"),
        (f"def f():\n|    a = 1\n{BELOW}", "    a = 1\n", f"c = 3\n\n{BELOW}x = 2\n"),
        (f"def f():|\n    pass\n\n\n{BELOW}", "", f"c = 3\n\n\n{BELOW}"),
        (f"x = [|]\n{BELOW}", "", "c = 3]"),
    ],
)
@pytest.mark.parametrize("structured", [True, False])
async def test_what_stands_below_is_not_written_again(
    text: str, selected: str, said: str, end: str, structured: bool
) -> None:
    what = "selection" if selected else "body" if "def" in text else "here"
    at, selected = text.replace("\n", end), selected.replace("\n", end)
    backend = Said(said)
    backend.structured = structured
    hole = gap(at, what, at.index("|") + len(selected))
    assert await fills.fill(backend, hole) == "c = 3"  # pyright: ignore[reportArgumentType]
    [request] = backend.requests
    assert request.suffix is not None and request.suffix[0] in "\n]"


async def test_a_line_alone_may_become_several_and_a_part_of_one_may_not() -> None:
    for text, end, stop_at in (
        ("|a = 1\nb\n", 6, ("suffix",)),
        ("|a = 1\nb\n", 5, ("suffix",)),
        ("x|a = 1\nb\n", 6, ("line", "suffix")),
        ("|a = 1\nb\n", 4, ("line", "suffix")),
    ):
        assert gap(text, "selection", end).stop_at == stop_at


async def test_an_engine_without_structure_is_left_where_the_block_ends() -> None:
    backend = Said("\n    return 1\n\nx = 2\ny = 3\n")
    backend.structured = False
    hole = gap("def |f():\n\nz = 1\n", "body")
    assert await fills.fill(backend, hole) == "\n    return 1"  # pyright: ignore[reportArgumentType]


async def test_candidates_differ_and_one_refusal_is_one_for_all() -> None:
    backend = Said("a", "b", "a")
    hole = gap("x = |\n", "candidates")
    assert await fills.candidates(backend, hole) == ["a", "b"]  # pyright: ignore[reportArgumentType]
    assert [r.temperature for r in backend.requests] == [0.0, 0.8, 0.8]
    refused = Said(refused={"infilling": "it cannot"})
    with pytest.raises(EngineRefused, match="it cannot"):
        await fills.candidates(refused, hole)  # pyright: ignore[reportArgumentType]
