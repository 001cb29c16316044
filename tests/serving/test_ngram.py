"""Drafts from earlier text: found, worth their time, and without any effect on the result."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from cl_engine.core import Core
from cl_engine.loader import LoadedModel, load_model
from cl_engine.ngram import (
    ALLOWANCE,
    CREDIT,
    LEAD,
    LONGEST_MATCH,
    MAX_DRAFT,
    RECENT,
    ROW_COST,
    Acceptance,
    History,
    Speculator,
)
from cl_engine.prompt import Prompt, completion_prompt, infilling_prompt
from cl_engine.request import ErrorEvent, Event, FinishEvent, Limits, Request, TextEvent, Usage
from cl_engine.sampling import SamplingParams
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import make_checkpoint
from tests.vocabularies import UNTIMED


def brute_force(tokens: list[int], older: list[int]) -> tuple[int, list[int]]:
    """(length of the longest match, what followed it), its own latest place before older ones."""
    for n in range(min(LONGEST_MATCH, len(tokens) - 1), 1, -1):
        for source, ends in (
            (tokens, range(len(tokens) - 1, n - 1, -1)),
            (older, range(len(older), n - 1, -1)),
        ):
            for end in ends:
                if source[end - n : end] == tokens[-n:]:
                    return n, source[end:]
    return 0, []


class Always(Acceptance):
    """Every draft is worth it, so that all of a match is seen."""

    def length(self, match: int, most: int) -> int:
        return most


@UNTIMED
@given(
    st.lists(st.integers(0, 300), max_size=12),
    st.lists(st.integers(0, 3), max_size=30),
    st.lists(st.integers(0, 3), max_size=30),
    st.integers(1, 7),
)
def test_a_match_is_the_longest_and_the_latest(
    rare: list[int], tokens: list[int], older: list[int], step: int
) -> None:
    tokens = [*rare, *tokens]
    speculator, history = Speculator(), History()
    speculator.acceptance = Always()
    speculator.remember(older, len(older))
    kept = older[max(0, len(older) - LEAD) :]
    for end in range(0, len(tokens) + 1, step):  # grows as a sequence does
        part = tokens[:end]
        draft = speculator.propose(history, part, MAX_DRAFT)
        match, after = brute_force(part, kept)
        assert draft.match == (match if after else draft.match)
        assert draft.tokens == after[:MAX_DRAFT]
        assert len(history) == len(part)


def test_a_draft_is_what_followed() -> None:
    tokens = [1, 2, 3, 4, 5, 6, 7, 9, 2, 3, 4]
    draft = Speculator().propose(History(), tokens, MAX_DRAFT)
    assert draft.match == 3 and draft.tokens
    assert [5, 6, 7, 9, 2, 3, 4][: len(draft.tokens)] == draft.tokens
    assert len(Speculator().propose(History(), tokens, 1).tokens) == 1
    for most in (0, -1):
        assert Speculator().propose(History(), tokens, most).tokens == []
    assert Speculator().propose(History(), [1, 2, 3, 4], MAX_DRAFT).tokens == []


def test_a_search_does_not_match_across_the_bounds_of_tokens() -> None:
    history = History()
    history.extend([0x01020304, 0x05060708, 7])
    shifted = bytes([0x03, 0x02, 0x01, 0x08])
    assert history.find(shifted, 3) == 0 and history.find(history.tail(1), 3) == 3


def test_what_was_generated_is_remembered_and_what_is_old_forgotten() -> None:
    speculator = Speculator()
    speculator.remember([*range(100, 120)], 15)
    draft = speculator.propose(History(), [5, 6, 113, 114], MAX_DRAFT)
    assert draft.tokens and draft.tokens == [115, 116, 117, 118, 119][: len(draft.tokens)]
    assert speculator.propose(History(), [5, 105, 106], MAX_DRAFT).tokens == []  # before LEAD
    for i in range(RECENT // 10):
        speculator.remember([*range(200 + i, 215 + i)], 5)
    assert len(speculator._recent) == RECENT
    assert speculator.propose(History(), [5, 6, 113, 114], MAX_DRAFT).tokens == []


def test_only_drafts_that_pay_are_made() -> None:
    acceptance = Acceptance()
    for _ in range(300):
        acceptance.learn(3, 4, 4)
    assert acceptance.length(3, MAX_DRAFT) == MAX_DRAFT
    for _ in range(300):
        acceptance.learn(4, 4, 0)
        acceptance.learn(3, 4, 4)
    lengths = [acceptance.length(4, MAX_DRAFT) for _ in range(160)]
    assert set(lengths) == {0, 1} and sum(lengths) == 10
    for _ in range(100):
        acceptance.learn(4, 1, 1)
    assert acceptance.length(4, MAX_DRAFT) > 2


@given(st.lists(st.tuples(st.integers(2, LONGEST_MATCH), st.booleans()), max_size=400))
def test_drafts_never_cost_more_than_allowed(steps: list[tuple[int, bool]]) -> None:
    """Against anyone who decides after the draft whether it was right."""
    acceptance, lost = Acceptance(), 0.0
    for number, (match, right) in enumerate(steps):
        drafted = acceptance.length(match, MAX_DRAFT)
        accepted = drafted * right
        if drafted:
            acceptance.learn(match, drafted, accepted)
        lost += drafted * ROW_COST - accepted
        # The last draft was made while there was credit.
        assert lost <= CREDIT + ALLOWANCE * (number + 1) + MAX_DRAFT * ROW_COST


def test_drafts_come_back_when_text_repeats_itself_again() -> None:
    acceptance = Acceptance()
    for right in (0, 1):
        made = 0
        for _ in range(300):
            if drafted := acceptance.length(5, MAX_DRAFT):
                made += drafted
                acceptance.learn(5, drafted, drafted * right)
        assert made > 200 if right else made < 60


def generate(
    model: LoadedModel, prompt: Prompt, sampling: SamplingParams, speculate: bool, n: int = 60
) -> tuple[list[int], str, Usage]:
    events: list[Event] = []
    core = Core(model, speculate=speculate)
    limits = Limits(n, min_tokens=5, ignore_eos=True)
    core.scheduler.add(Request(prompt, limits, sampling, events.append))
    core.run()
    assert not any(isinstance(event, ErrorEvent) for event in events)
    end = events[-1]
    assert isinstance(end, FinishEvent) and end.usage.generated == n
    tokens = [i for event in events if isinstance(event, TextEvent) for i in event.tokens]
    return tokens, "".join(e.text for e in events if isinstance(e, TextEvent)), end.usage


SAMPLINGS: dict[str, Callable[[int], SamplingParams]] = {
    "greedy": lambda seed: SamplingParams(),
    "sampled": lambda seed: SamplingParams(temperature=0.8, top_k=3, seed=seed),
    "penalised": lambda seed: SamplingParams(repetition_penalty=0.9),
}


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_speculation_changes_no_token(tmp_path: Path, sampling: str) -> None:
    folder = make_checkpoint(tmp_path, scale=0.1, tied=True)  # loops, and so is drafted
    model, rng = load_model(str(folder), device="cpu"), random.Random(4)
    drafted = accepted = 0
    for seed in range(6):
        words = [rng.choice(["self.items", " = ", "[i]\n", "x", "    "]) for _ in range(60)]
        text = "".join(words)
        for prompt in (
            completion_prompt(model.tokenizer, text, 400),
            infilling_prompt(model.tokenizer, text, text[:50], 400),
        ):
            params = SAMPLINGS[sampling](seed)
            plain = generate(model, prompt, params, speculate=False)
            fast = generate(model, prompt, params, speculate=True)
            assert fast[:2] == plain[:2]
            assert plain[2].drafted == 0
            drafted, accepted = drafted + fast[2].drafted, accepted + fast[2].accepted
    print(f"{sampling}: accepted {accepted} of {drafted} drafted")
    assert drafted > 40 and 10 < accepted < drafted


def test_the_embedded_model_needs_fewer_steps_on_repetitive_code() -> None:
    model = load_model("embedded", device="cpu")
    text = "".join(f"    self.field_{c} = config.field_{c}\n" for c in "abcdefgh")
    prompt = completion_prompt(model.tokenizer, "def __init__(self, config):\n" + text, 2000)
    _, _, usage = generate(model, prompt, SamplingParams(), speculate=True, n=48)
    print(f"accepted {usage.accepted} of {usage.drafted} drafted, {usage.generated} generated")
    assert usage.accepted >= 15
