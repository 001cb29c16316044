"""What a request costs, alone and in company: measurements of `bench.py`.

Each is a function of a `Lab` that returns what it measured. The sides of a comparison take turns,
and of repeated times the median counts: on shared cores only ratios within one run mean anything.
"""

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from bench_peers import Lab, Ours, Peer, Reply, Result, Scale
from bench_texts import DOCUMENTS, TYPING, Place, held_out
from cl_engine.prompt import Prompt

T = TypeVar("T")
R = TypeVar("R")


def typing(lab: Lab, keys: int = 24, tokens: int = 32) -> Result:
    """A line typed into a file, each key answered before the next; the first reads the file.

    transformers answers some of the keys; its trace is the median of those, times the keys.
    """
    place = held_out(TYPING, 6000, 2000, keys)
    replies: list[Reply] = []
    theirs: dict[Peer, list[Reply]] = {peer: [] for peer in lab.peers}
    with Ours() as ours:
        last = place.prompt(ours.model, keys)
        ours.ask(Prompt(last.ids[-40:], 0), 8)  # whatever a first request costs
        for key in range(1, keys + 1):
            began = time.perf_counter()
            prompt = place.prompt(ours.model, key)
            replies.append(ours.ask(prompt, tokens, began=began))
            if key % lab.scale.peer_every == 0:
                for peer, answers in theirs.items():
                    answers.append(peer.ask(prompt.ids, tokens))
    first, whole = median(r.first_s for r in replies), sum(r.whole_s for r in replies)
    their_first = {p.name: median(r.first_s for r in own) for p, own in theirs.items()}
    their_whole = {p.name: keys * median(r.whole_s for r in own) for p, own in theirs.items()}
    return {
        "prompt_tokens": len(last.ids),
        "keys": keys,
        "new_tokens": tokens,
        "first_token_ms": ms(first),
        "first_key_ms": ms(replies[0].first_s),
        "trace_s": round(whole, 2),
        "transformers_keys": keys // lab.scale.peer_every,
        "transformers_first_token_ms": {name: ms(t) for name, t in their_first.items()},
        "transformers_trace_s": {name: round(t, 1) for name, t in their_whole.items()},
        "first_token_ratio": round(min(their_first.values()) / first, 1),
        "trace_ratio": round(min(their_whole.values()) / whole, 2),
        "computed_median": median(r.computed for r in replies),
        "computed_most": max(r.computed for r in replies[1:]),
    }


def decode(lab: Lab, cached: int = 1024, tokens: int = 32) -> Result:
    """Tokens of a plain answer, no drafts: from the first to the last, no prefill in it."""
    ours_s: list[float] = []
    theirs_s: dict[str, list[float]] = {peer.name: [] for peer in lab.peers}
    with Ours(speculate=False) as ours:
        prompt = Prompt(held_out(TYPING, 6000, 0).prompt(ours.model).ids[-cached:], 0)
        ours.ask(prompt, 1)
        for _ in range(lab.scale.rounds):
            ours_s.append(ours.ask(prompt, tokens).token_s)
            for peer in lab.peers:
                theirs_s[peer.name].append(peer.ask(prompt.ids, tokens).token_s)
    mine, theirs = median(ours_s), {name: median(times) for name, times in theirs_s.items()}
    return {
        "cached": cached,
        "token_ms": ms(mine),
        "transformers_token_ms": {name: ms(t) for name, t in theirs.items()},
        "ratio": round(min(theirs.values()) / mine, 2),
    }


def clients(lab: Lab) -> Result:
    """Eight type at once, each in another document, each waiting for its answer."""
    return {kind: company(lab.model(kind), lab.scale) for kind in lab.scale.kinds}


def company(model: str, scale: Scale, tokens: int = 16) -> Result:
    """How long each client waits, and whether anyone gets another answer than a fresh engine's.

    With drafts one document's answers take fewer steps than another's, also where nobody else asks:
    `alone` are the same keys one client after the other. The work is the same for all in
    `equal_work`, the same text in documents that begin differently, and in `without_drafts`.
    """
    keys = range(1, scale.client_keys + 1)
    places = [held_out(path, 1200, 400, scale.client_keys) for path in DOCUMENTS]
    shipped = type_into(model, places, keys, tokens)
    begins = (f"# window {number}\n" for number in range(len(places)))
    alike = [replace(places[0], prefix=begin + places[0].prefix) for begin in begins]
    fair = type_into(model, alike, keys, tokens)
    plain = type_into(model, places, keys, tokens, speculate=False)
    alone = type_into(model, places, keys, tokens, together=False)
    asked = [(i, key) for i in range(len(places)) for key in keys[-scale.client_checks :]]
    equal = 0
    for i, key in asked:
        with Ours(model) as fresh:
            ids = fresh.ask(places[i].prompt(fresh.model, key), tokens).ids
        equal += sum(ids == replies[i][key - 1].ids for replies in (shipped, plain))
    slower = [c / a for c, a in zip(medians(shipped), medians(alone), strict=True)]
    return {
        "clients": len(places),
        "keys": len(keys),
        "compared": 2 * len(asked),
        "equal_share": round(equal / (2 * len(asked)), 3),
        **waits(shipped),
        "equal_work": waits(fair),
        "without_drafts": waits(plain),
        "alone": waits(alone),
        "times_slower_than_alone": [round(ratio, 1) for ratio in slower],
        "computed_median": median(r.computed for own in shipped for r in own),
    }


def type_into(
    model: str,
    places: list[Place],
    keys: Sequence[int],
    tokens: int,
    *,
    speculate: bool = True,
    together: bool = True,
) -> list[list[Reply]]:
    """The replies of each place's client, when all have opened their files."""
    with Ours(model, speculate=speculate) as ours:
        for place in places:
            ours.ask(place.prompt(ours.model), 1, client=place.prefix)

        def type_all(place: Place) -> list[Reply]:
            prompts = (place.prompt(ours.model, key) for key in keys)
            return [ours.ask(prompt, tokens, client=place.prefix) for prompt in prompts]

        return at_once(type_all, places) if together else [type_all(place) for place in places]


def waits(replies: list[list[Reply]]) -> Result:
    """Of each client the median of its answers."""
    times = medians(replies)
    return {
        "slowest_to_fastest": round(max(times) / min(times), 2),
        "wait_ms": [ms(time) for time in times],
    }


def medians(replies: list[list[Reply]]) -> list[float]:
    return [median(reply.whole_s for reply in own) for own in replies]


def steps(lab: Lab, cached: int = 2048) -> Result:
    """What more tokens cost: behind one prompt, and of several prompts at once.

    Of the new tokens only the last has logits, unlike those of a draft.
    """

    def measured(counts: tuple[int, ...], extend: Extension) -> dict[int, float]:
        return {n: median(extend(n) for _ in range(lab.scale.rounds)) for n in counts}

    with Ours(speculate=False) as ours:
        rows = measured((1, 2, 4, 9, 16), extend := Extension(ours, cached))
        chunks = {
            c: measured((64, 128, 256), e) for c, e in ((0, Extension(ours, 0)), (cached, extend))
        }
        clients = {count: tokens_per_second(ours, count) for count in (1, 2, 4, 8)}
    return {
        f"ms_by_tokens_at_{cached}": {n: ms(s) for n, s in rows.items()},
        "prefill_tokens_per_s": {
            f"at_{c}": {n: round(n / s) for n, s in times.items()} for c, times in chunks.items()
        },
        "decode_tokens_per_s_by_clients": clients,
    }


def tokens_per_second(ours: Ours, count: int, tokens: int = 32) -> float:
    """Of `count` clients together, whose prompts are cached."""
    prompts = [held_out(path, 1200, 400).prompt(ours.model) for path in DOCUMENTS[:count]]
    for prompt in prompts:
        ours.ask(prompt, 1)
    began = time.perf_counter()
    at_once(lambda prompt: ours.ask(prompt, tokens, client=str(prompts.index(prompt))), prompts)
    return round(count * tokens / (time.perf_counter() - began), 1)


class Extension:
    """Seconds until the first token, when new tokens stand behind `cached` known ones."""

    def __init__(self, ours: Ours, cached: int):
        self._ours, self._rng = ours, random.Random(cached)
        self._first = itertools.count(300)  # ids that stand nowhere else, so that none matches
        self._known = self._random(cached)
        if cached:
            ours.ask(Prompt(self._known, 0), 1)

    def __call__(self, new: int) -> float:
        ids = [*self._known, next(self._first), *self._random(new - 1)]
        reply = self._ours.ask(Prompt(ids, 0), 1)
        assert reply.computed == new, reply.usage
        return reply.first_s

    def _random(self, length: int) -> list[int]:
        return [self._rng.randrange(1000, 8000) for _ in range(length)]


def at_once(do: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """One thread for each item."""
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(do, items))


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)
