"""Reuse against a plain model of it: whatever was asked before, the answer is a cold engine's."""

import random
from pathlib import Path

import pytest
from cl_engine.loader import LoadedModel, load_model
from eval_embedded import Case, Engine, Variant

SOURCE = (Path(__file__).parents[2] / "examples" / "inventory.py").read_text()
SPM = Variant("spm", 4)


def edited(rng: random.Random, text: str, at: int) -> tuple[str, int]:
    """One thing that a user does: type, delete, jump."""
    kind = rng.random()
    if kind < 0.7:
        typed = rng.choice(["x", "se", "lf", ".", "(", "\n", "    ", "return ", "é", "😀", "="])
        return text[:at] + typed + text[at:], at + len(typed)
    if kind < 0.85 and at:
        return text[: at - 1] + text[at:], at - 1
    return text, rng.randrange(len(text) + 1)


def check_histories(model: LoadedModel, histories: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(histories):
        warm = Engine(model)
        text, at = SOURCE, rng.randrange(len(SOURCE))
        for _ in range(12):
            text, at = edited(rng, text, at)
            case = Case("", text[:at], "", text[at : at + 300])
            assert warm.complete(case, SPM, 12) == Engine(model).complete(case, SPM, 12), case


@pytest.mark.parametrize("name", ["tiny", "embedded"])
def test_answers_after_any_history_are_a_cold_engines(tiny: Path, name: str) -> None:
    check_histories(load_model(str(tiny) if name == "tiny" else name), 4, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_many_histories(tiny: Path, seed: int) -> None:
    check_histories(load_model(str(tiny)), 25, seed)
    check_histories(load_model("embedded"), 5, seed)
