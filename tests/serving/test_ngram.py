"""Drafts from earlier text: found, worth their time, and without any effect on the result."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from cl_engine.loader import LoadedModel, load_model
from cl_engine.ngram import LONGEST_MATCH, MAX_DRAFT, ROW_COST, Acceptance, NGrams, propose
from cl_engine.prompt import Prompt, completion_prompt, infilling_prompt
from cl_engine.request import ErrorEvent, Event, FinishEvent, Limits, Request, TextEvent, Usage
from cl_engine.runner import Runner
from cl_engine.sampling import SamplingParams
from cl_engine.scheduler import Scheduler
from cl_engine.slots import Slots
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import make_checkpoint
from tests.vocabularies import UNTIMED


def longest_match(tokens: list[int]) -> int:
    """By trying every place, without an index."""
    best = 0
    for end in range(1, len(tokens)):
        n = 0
        while n < min(end, LONGEST_MATCH) and tokens[end - 1 - n] == tokens[-1 - n]:
            n += 1
        best = max(best, n)
    return best if best >= 2 else 0


@UNTIMED
@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 7))
def test_a_match_is_the_longest_earlier_one(tokens: list[int], step: int) -> None:
    grams = NGrams()
    for end in range(0, len(tokens) + 1, step):  # grows as a sequence does
        part = tokens[:end]
        length, place = grams.match(part)
        if length:
            assert place < len(part)
            assert part[place - length : place] == part[-length:]
        # Only the latest places are looked at, so that a longer match far back may be missed.
        assert length <= longest_match(part) and (length >= 2) == (longest_match(part) >= 2)


def test_a_draft_is_what_followed() -> None:
    tokens = [1, 2, 3, 4, 5, 6, 7, 9, 2, 3, 4]
    draft = propose(NGrams(), Acceptance(), tokens, MAX_DRAFT)
    assert (
        draft.match == 3
        and draft.tokens
        and [5, 6, 7, 9, 2, 3, 4][: len(draft.tokens)] == (draft.tokens)
    )
    assert len(propose(NGrams(), Acceptance(), tokens, 1).tokens) == 1
    assert propose(NGrams(), Acceptance(), tokens, 0).tokens == []
    assert propose(NGrams(), Acceptance(), [1, 2, 3, 4], MAX_DRAFT).tokens == []


def test_only_drafts_that_pay_are_made() -> None:
    acceptance = Acceptance()
    for _ in range(300):
        acceptance.learn(3, 4, 4)
        acceptance.learn(4, 4, 0)
    assert acceptance.length(3, MAX_DRAFT) == MAX_DRAFT
    lengths = [acceptance.length(4, MAX_DRAFT) for _ in range(160)]
    assert set(lengths) == {0, 1}
    # At worst a match at every token and none right: what it costs is within 3% of a step.
    assert sum(lengths) * ROW_COST / len(lengths) < 0.03
    for _ in range(100):
        acceptance.learn(4, 1, 1)
    assert acceptance.length(4, MAX_DRAFT) > 2


def generate(
    model: LoadedModel, prompt: Prompt, sampling: SamplingParams, speculate: bool, n: int = 60
) -> tuple[list[int], str, Usage]:
    events: list[Event] = []
    slots = Slots([model.llama.new_cache()])
    scheduler = Scheduler(model.tokenizer, slots, model.llama.config.context, speculate=speculate)
    runner = Runner(model.llama, model.tokenizer)
    limits = Limits(n, min_tokens=5, ignore_eos=True)
    scheduler.add(Request(prompt, limits, sampling, events.append))
    while (sequence := scheduler.next()) is not None:
        scheduler.advance(sequence, runner.step(sequence))
        assert sequence.cached <= sequence.computed <= len(sequence.tokens)
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
