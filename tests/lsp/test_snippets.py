"""Which pieces of other files are chosen, and that they stay while one types."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_lsp.context import Windows
from cl_lsp.index import Index
from cl_lsp.records import make_record
from cl_lsp.snippets import Place, Region, Snippet, choose, of_definitions
from cl_lsp.steady import Steady
from tests.lsp.test_imports import index_with

SHAPES = '''\
"""Shapes."""

PI = 3.14


class Circle:
    """A round thing."""

    def __init__(self, radius):
        self.radius = radius
        self.cached_area = None
        self.cached_length = None

    def area(self):
        return PI * self.radius**2

    def _hidden(self):
        return None

    def scaled(self, factor):
        return Circle(self.radius * factor)


def circle_of(text):
    return Circle(float(text))
'''
FILES = {
    "shapes.py": SHAPES,
    "unrelated.py": "def circle_of():\n    return 'another'\n\n\ndef other():\n    pass\n",
    "use.py": "import shapes\n\nround_things = [shapes.circle_of(x) for x in '123']\n" * 2,
    "web.ts": "export function circle_of() {}\n",
}


def place(text: str, path: str = "me.py") -> Place:
    """The cursor is at the `|`."""
    before, _, after = text.partition("|")
    windows = Windows()
    return Place(path, before + after, len(before), windows.before(before), windows.after(after))


def chosen(index: Index, text: str, characters: int = 2000, path: str = "me.py") -> list[Snippet]:
    return list(choose(index, place(text, path), [], set(), characters))


def test_definitions_of_the_names_in_sight_the_nearest_last() -> None:
    index = index_with(FILES)
    text = "from shapes import Circle, circle_of\n\nx = Circle(2)\ny = circle_of(|)\n"
    definitions = [s for s in chosen(index, text) if s in set(of_definitions(index, place(text)))]
    assert definitions[-1].text == "def circle_of(text):\n    return Circle(float(text))"
    outline = definitions[-2].text.split("\n")
    assert outline[0] == "class Circle:"
    assert "    def area(self):" in outline and "    def scaled(self, factor):" in outline
    assert "_hidden" not in definitions[-2].text and "return PI" not in definitions[-2].text
    assert {s.path for s in definitions} == {"shapes.py"}


def test_what_is_not_imported_is_guessed_if_it_is_clear() -> None:
    index = index_with(FILES | {f"many{n}.py": "def popular_name(): pass\n" for n in range(9)})

    def paths(text: str) -> list[str]:
        return [s.path for s in of_definitions(index, place(text))]

    assert paths("x = Circle(|)\n") == ["shapes.py"]
    assert paths("popular_name(|)\n") == []
    assert paths("x = something.area(|)\n") == []  # of who knows what
    # It comes from a file outside of the workspace: the one here is another.
    assert paths("from elsewhere import Circle\n\nx = Circle(|)\n") == []
    assert paths("const { circle_of } = require('x')\n\ncircle_of(|)\n") == []


def test_what_a_package_gives_on_is_found() -> None:
    gives_on = "from .inner import helper_function\n"
    files = {"pkg/__init__.py": gives_on, "pkg/inner.py": "def helper_function(a): pass\n"}
    found = chosen(index_with(files), "from pkg import helper_function\n\nhelper_function(|)\n")
    assert Snippet("pkg/inner.py", "def helper_function(a): pass") in found


def test_what_imports_mean_is_found_anew_when_files_come_and_go() -> None:
    index = index_with({"lib/a.ts": "export function helper_a() {}\n"})
    here = "import { helper_a } from 'short/a'\n\nhelper_a(|)\n"

    def found() -> list[str]:
        return [s.path for s in of_definitions(index, place(here, "me.ts"))]

    assert found() == []
    for target in ("lib", "new"):
        config = f'{{"compilerOptions": {{"paths": {{"short/*": ["{target}/*"]}}}}}}'
        for path, text in {"new/a.ts": SHAPES, "tsconfig.json": config}.items():
            record = make_record(path, text)
            assert record is not None
            index.put(record)
        assert found() == (["lib/a.ts"] if target == "lib" else [])
    index.put(index_with({"new/a.ts": "export function helper_a() {}\n"})["new/a.ts"])
    assert found() == ["new/a.ts"]
    index.remove("new/a.ts")
    assert found() == []


def test_nothing_that_the_window_shows_and_nothing_twice() -> None:
    index = index_with({"shapes.py": SHAPES, "copy.py": SHAPES, "me.py": SHAPES})
    text = "from shapes import Circle\n\nx = Circle(2)|\n\n" + SHAPES
    assert chosen(index, text) == []
    found = chosen(index, "import shapes, copy\n\nx = Circle(circle_of(|))\n")
    lines = [line for s in found for line in s.text.split("\n") if len(line.strip()) > 20]
    assert lines and len(set(lines)) == len(lines)


def test_ones_own_file_far_above_counts() -> None:
    filler = "".join(f"value_{n} = {n}\n" for n in range(900))
    text = SHAPES + filler + "x = Circle(|)\n"
    index = index_with({"me.py": text.replace("|", "")})
    assert [s.path for s in chosen(index, text)] == ["me.py"]


def test_chunks_that_use_the_same_names() -> None:
    other = "".join(f"line_{n} = {n}\n" for n in range(48))
    other += "total_price = tax_rate * net_amount\n"
    index = index_with({"other.py": other, "far.py": "nothing = 1\n"})
    [found] = chosen(index, "def f(tax_rate, net_amount):\n    total_price = |\n")
    assert found == Snippet("other.py", "total_price = tax_rate * net_amount")


def test_where_one_has_been_the_newest_last_and_masked() -> None:
    index = index_with({"a.py": "x = 1\n", "b.py": "x = 1\n"})
    regions = [Region("b.py", "newer_line = 1\n", 0), Region("a.py", 'password = "hunter2"\n', 99)]
    regions.append(Region("not_indexed.py", "never_sent = 1\n", 0))
    found = choose(index, place("zzz|"), regions, set(), 1000)
    assert found == (Snippet("a.py", 'password = "<masked>"'), Snippet("b.py", "newer_line = 1"))


@settings(max_examples=40)
@given(st.integers(0, 600), st.integers(0, 40))
def test_never_more_than_the_budget(characters: int, at: int) -> None:
    index = index_with(FILES)
    text = "from shapes import Circle\nCircle(circle_of(round_things))\n"
    regions = [Region("use.py", "edited_lately = round_things\n", 0)]
    here = place(text[:at] + "|" + text[at:])
    found = choose(index, here, regions, {"use.py"}, characters)
    assert sum(len(s.path) + len(s.text) + 5 for s in found) <= characters
    assert found == choose(index, here, regions, {"use.py"}, characters)


def test_the_list_stays_while_one_types_and_changes_with_the_code() -> None:
    index, steady, choices = index_with(FILES), Steady(), []
    index.ready = True

    def get(text: str) -> tuple[Snippet, ...]:
        def anew(here: Place) -> tuple[Snippet, ...]:
            choices.append(here)
            return choose(index, here, [], set(), 2000)

        return steady.get("u", index, place(text), anew)

    head, tail = "from shapes import Circle, circle_of\n\n\ndef f():\n    ", "\n\n\ndef g():\n    "
    first = get(f"{head}x = Circle(2)|{tail}")
    assert first and len(choices) == 1
    typed = f"{head}x = Circle(2)\n" + "    y = 1\n" * 50 + "    circle_of(|" + tail
    assert get(typed) == first
    assert len(choices) == 1
    other = get(f"{head}x = Circle(2){tail}y = circle_of(|)")
    assert len(choices) == 2
    assert set(first) <= set(other)
    index.remove("shapes.py")  # at once, also where nothing else has changed
    assert all(s.path != "shapes.py" for s in get(f"{head}x = Circle(2){tail}y = circle_of(|)"))
    assert choices[2] == choices[1]  # for the same place


def test_what_another_file_is_now_and_not_ones_own() -> None:
    index, steady, choices = index_with(FILES), Steady(), []
    index.ready = True

    def get(text: str) -> str:
        def anew(here: Place) -> tuple[Snippet, ...]:
            choices.append(here)
            return choose(index, here, [], set(), 2000)

        return "".join(snippet.text for snippet in steady.get("u", index, place(text), anew))

    assert "return Circle(" in get("from shapes import circle_of\n\ncircle_of(|)\n")
    index.put(index_with({"me.py": "x = 1\n"})["me.py"])
    index.put(index_with(FILES)["shapes.py"])  # as it was
    get("from shapes import circle_of\n\ncircle_of(a|)\n")
    assert len(choices) == 1
    index.put(index_with({"shapes.py": "def circle_of(a, b):\n    return 2\n"})["shapes.py"])
    found = get("from shapes import circle_of\n\ncircle_of(a, |)\n")
    assert "circle_of(a, b)" in found and "return Circle(" not in found
    assert choices[1] == choices[0]


@pytest.mark.parametrize("stage", ["near", "ready"])
def test_an_index_that_has_more_is_asked_once_more(stage: str) -> None:
    index, steady = index_with({}), Steady()
    here = place("from shapes import Circle\nx = Circle(|)\n")

    def anew(here: Place) -> tuple[Snippet, ...]:
        return choose(index, here, [], set(), 2000)

    assert steady.get("u", index, here, anew) == ()
    index.put(index_with(FILES)["shapes.py"])
    assert steady.get("u", index, here, anew) == ()
    setattr(index, stage, True)
    assert steady.get("u", index, here, anew) != ()


def test_what_top_level_code_is_far_above_is_not_looked_for() -> None:
    index, steady, chosen = index_with({}), Steady(), []
    index.ready = True

    def lines_between(head: str, lines: int) -> None:
        text = f"{head}\n" + f"    x = '{head}'\n" * lines + "|\n" + "    y = 2\n" * 500
        steady.get("u", index, place(text), lambda here: (chosen.append(head), ())[1])

    for head in ("def f():", "def g():"):  # near, it says that the code is another
        lines_between(head, 500)
    assert chosen == ["def f():", "def g():"]
    lines_between("def h():", 4000)
    assert len(chosen) == 3  # as the line is far away
    lines_between("def i():", 4010)
    assert len(chosen) == 3


@pytest.mark.alone
def test_a_very_long_document_takes_little_time() -> None:
    """Bar: 4 ms in 2 MB, where the list is looked at anew."""
    index, steady, took = index_with({}), Steady(), []
    index.ready = True
    half = "    value = some_function(argument, 1)\n" * 25_000
    for n in range(20):
        here = place(f"{half}    {n}|\n    {n}\n{half}")
        began = time.perf_counter()
        steady.get("u", index, here, lambda here: ())
        took.append((time.perf_counter() - began) * 1e3)
    assert min(took[1:]) <= 4


def test_what_is_looked_at_ahead_binds_nothing() -> None:
    index, steady = index_with(FILES), Steady()
    index.ready = True

    def get(text: str, keep: bool) -> tuple[Snippet, ...]:
        def anew(here: Place) -> tuple[Snippet, ...]:
            return choose(index, here, [], set(), 2000)

        return steady.get("u", index, place(text), anew, keep)

    first, second = "x = Circle(|)\n\n\n\nround_things\n", "x = Circle()\n\n\n\nround_things|\n"
    alone = get(second, True)
    steady.forget("u")
    assert get(first, False) != alone
    assert get(second, True) == alone
