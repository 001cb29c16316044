"""The bench's short form: the real server and engine, and a scripted engine with every fault."""

import json
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import pytest
from eval_embedded import held_out_files

from tests.lsp.fake_engine import FakeEngine, Stream, serving
from tests.replay import __main__ as bench
from tests.replay.features import FEATURES, variants
from tests.replay.holes import Hole, across, read_packages, single
from tests.replay.measures import Tally
from tests.replay.session import Person, replay

TEXT = "def f(x):\n    \n    return total_of(x)\n"
HOLE = Hole("a.py", "line", 14, 19)
TRUE = TEXT[:14] + "y = 1" + TEXT[14:]
PERSON = Person(key_s=0.06, pause_s=0.0, read_s=0.05)


async def scripted(engine: FakeEngine, folder: Path, off: str = "") -> dict:
    async with serving(engine):
        if not off:
            return (await replay([(HOLE, TRUE)], folder, PERSON, {})).result()
        with FEATURES[off].off():
            settings = FEATURES[off].settings
            return (await replay([(HOLE, TRUE)], folder, PERSON, settings)).result()


class LineByLine(FakeEngine):
    """Says the rest of the line, as the rule has it."""

    def _receive(self, body: dict) -> Stream:
        stream = super()._receive(body)
        stream.text = stream.text.partition("\n")[0]
        return stream


@pytest.mark.parametrize("off", ["", "prefetch"])
async def test_what_follows_is_there_when_it_is_accepted(home: Path, off: str) -> None:
    text = "def f(x):\n    y = one(x)\n    z = two(y)\n    return z\n"
    hole = Hole("a.py", "body", 14, len(text) - 1)
    async with serving(LineByLine(whole=text)):
        settings = FEATURES[off].settings if off else {}
        line = (await replay([(hole, text)], home, Person.patient(), settings)).result()
    assert line["accepted_characters"] >= 25
    assert (line["without_engine"]["prefetched"] > 0) == (not off)


async def test_one_in_a_hurry_goes_on_with_what_runs(home: Path) -> None:
    engine = FakeEngine(whole=TRUE[:19], delay_s=0.3)
    async with serving(engine):
        line = (await replay([(HOLE, TRUE)], home, Person(0.1, pause_s=0.02), {})).result()
    assert line["late"] > 0
    assert line["without_engine"]["adopted"] > 0
    engine = FakeEngine(whole=TRUE[:19], delay_s=0.3)
    async with serving(engine):
        with FEATURES["adoption"].off():
            line = (await replay([(HOLE, TRUE)], home, Person(0.1, pause_s=0.02), {})).result()
    assert line["without_engine"]["adopted"] == 0


async def test_what_is_right_saves_keys(home: Path) -> None:
    line = await scripted(FakeEngine(whole=TRUE[:19]), home)
    assert (line["accepted"], line["accepted_characters"]) == (1, 4)
    assert line["saved_keys"] == pytest.approx(0.6)
    assert (line["repeated_suffix"], line["unbalanced"]) == (0, 0)


async def test_a_suffix_that_is_repeated_is_counted(home: Path) -> None:
    engine = FakeEngine(text="z\n    return total_of(x)")
    assert (await scripted(engine, home, off="overlap"))["repeated_suffix"] > 0.5


async def test_a_bracket_too_many_is_counted(home: Path) -> None:
    with (
        patch("cl_lsp.postprocess.without_unopened", lambda text, at: text),
        patch("cl_lsp.postprocess.closed", lambda text, at, cut_short: text),
    ):
        line = await scripted(FakeEngine(text="z)"), home)
    assert line["unbalanced"] > 0.5
    assert (line["saved_keys"], line["accepted"]) == (0, 0)


async def test_a_silence_has_its_reason(home: Path) -> None:
    line = await scripted(FakeEngine(text="", stop_reason="time"), home)
    assert line["shown"] == 0
    assert line["silent"]["time"] == line["requests"] == 5


def test_holes_are_where_something_is_to_be_written() -> None:
    files = held_out_files()
    alone, crossing = single(files, 12), across(files, 12)
    assert {hole.kind for hole in alone} == {"body", "arguments", "line"}
    assert len(crossing) == 12
    assert (single(files, 12), across(files, 12)) == (alone, crossing)
    for hole in (*alone, *crossing):
        sheet = hole.sheet(files[hole.path])
        assert sheet.todo.strip() and sheet.true_text == files[hole.path]
        assert len(sheet.todo) < 400


def test_whole_packages_are_read_from_their_folders(tmp_path: Path) -> None:
    for path, length in {"a-1/a/x.py": 600, "a-1/a/short.py": 10, "b-2/y.js": 700}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x" * length)
    assert read_packages(tmp_path).keys() == {"a-1/a/x.py", "b-2/y.js"}


def test_only_features_that_are_there_are_switched() -> None:
    assert variants("") == ["all", *(f"-{name}" for name in FEATURES)]
    assert variants("all,-prefetch") == ["all", "-prefetch"]
    with pytest.raises(ValueError, match="'-nothing' is none of"):
        variants("-nothing")


def test_what_a_feature_brings_is_all_of_them_less_the_others() -> None:
    def counted(spent: list[int], prefetched: int) -> Tally:
        by = Counter({"prefetched": prefetched})
        return Tally(plain_keys=20, keys=sum(spent), spent=spent, requests=10, by=by)

    tallies = {
        "single": {"all": counted([2, 4], 2), "-prefetch": counted([4, 4], 1)},
        "across": {"all": counted([3], 0)},
    }
    found = {"saved_keys": 0.1, "keys_per_hole": 1, "error": 1, "without_engine": 0.1}
    assert bench.brings(tallies) == {"prefetch": {"single": found}}


def test_those_who_type_at_once_share_no_package() -> None:
    holes = [Hole(f"{name}/{n}.py", "line", 0, 1) for name in "ab" for n in range(9)]
    few = bench.few_of(holes)
    assert [len(part) for part in few] == [8, 1, 8, 1]
    assert sum(few, []) == holes


def test_a_bar_is_for_what_was_measured() -> None:
    assert bench.measured({"a": {"b": 0}}, "a.b")
    assert not bench.measured({"a": {"b": 0}}, "a.c")


def test_the_embedded_model_saves_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "replay.jsonl"
    few = ["--files", "1", "--across", "0", "--hurried", "0", "--jobs", "2"]
    bench.main([*few, "--features", "all", "--out", str(out)])
    line = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == line
    assert line.keys() >= {"device", "commit", "command", "torch", "bars", "pass", "seconds"}
    found = line["single"]["all"]
    assert found["repeated_suffix"] == 0
    assert found["saved_keys"] > 0.1
    assert found["shown"] >= 5 <= found["requests"]
    assert found["without_engine"]["typed"] > 0
