"""What drafts gain and lose (`ngram.py` in the engine): a measurement of `bench.py`."""

import collections
from collections.abc import Callable, Collection
from statistics import median

from bench_peers import Lab, Ours, Reply, Result, Scale
from bench_texts import Place, line_typed, misleading, mixed, ordinary, repetitive
from cl_engine.loop import THREADS


def speculation(lab: Lab) -> Result:
    """Drafts against none; the last two kinds of text only where there is time."""
    scale = lab.scale
    kinds = {"repetitive": repetitive, "misleading": misleading, "ordinary": ordinary}
    places = [p for kind in kinds.values() for p in [*kind(0).values()][: scale.compared]]
    if scale.sessions > 1:
        kinds |= {"mixed": mixed, "line_typed": line_typed}
    results: Result = {}
    for name, kind in kinds.items():  # a small loss takes more rounds to see than a gain
        results[name] = drafts(scale, kind, scale.rounds * (4 if name == "misleading" else 1))
    same = {kind: same_answers(lab.model(kind), places) for kind in scale.kinds}
    return results | {"same_answers": same}


def drafts(scale: Scale, kind: Callable[[int], dict[str, Place]], rounds: int) -> Result:
    """Time without drafts over time with them, prompts cached, learning what pays included.

    Each round has other texts, each session another engine; a round's time is the median of the
    sessions', and a ratio is one of sums over rounds. `ratio` is that of the engine's work, which
    other programs do not blur, `clock_ratio` that of what a user waits, and `later_ratio` without
    the first half of the rounds, in which most is learnt.
    """
    replies: dict[tuple[str, bool, int], list[Reply]] = collections.defaultdict(list)
    for _ in range(scale.sessions):
        with Ours() as on, Ours(speculate=False) as off:
            for number in range(rounds):
                for name, place in kind(number).items():
                    prompt = place.prompt(on.model)
                    for ours in (on, off) if number % 2 else (off, on):
                        ours.ask(prompt, 1)
                        reply = ours.ask(prompt, scale.new_tokens, sampling=place.sampling)
                        replies[name, ours is on, number].append(reply)

    def ratio(seconds: Callable[[Reply], float], names: Collection[str], start: int = 0) -> float:
        spent = {True: 0.0, False: 0.0}
        for (name, drafted, number), answers in replies.items():
            if name in names and number >= start:
                spent[drafted] += median(map(seconds, answers))
        return round(spent[False] / spent[True], 3)

    def case(name: str) -> Result:
        usages = [r.usage for key, answers in replies.items() if key[0] == name for r in answers]
        drafted, accepted = sum(u.drafted for u in usages), sum(u.accepted for u in usages)
        return {"ratio": ratio(work_s, [name]), "drafted": drafted, "accepted": accepted}

    names = list(kind(0))
    return {
        "ratio": ratio(work_s, names),
        "clock_ratio": ratio(lambda r: r.whole_s, names),
        "later_ratio": ratio(work_s, names, start=rounds // 2),
        "tokens": rounds * len(names) * scale.new_tokens,
        "cases": {name: case(name) for name in names},
    }


def work_s(reply: Reply) -> float:
    return reply.cpu_s if THREADS == 1 else reply.whole_s  # of one thread it is known


def same_answers(model: str, places: list[Place], tokens: int = 32) -> float:
    """The share of places where drafts change nothing in the answer."""
    with Ours(model) as on, Ours(model, speculate=False) as off:
        answers = [
            [o.ask(p.prompt(o.model), tokens, sampling=p.sampling).ids for o in (on, off)]
            for p in places
        ]
    return round(sum(a == b for a, b in answers) / len(answers), 3)
