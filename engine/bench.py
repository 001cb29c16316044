"""The embedded model on this CPU, one JSON line: steps, and typing with and without drafts.

Both kinds of typing run in turns within one run; on shared cores only their ratio means anything.
"""

import json
import platform
import statistics
import time
from pathlib import Path

import torch
from cl_engine.loader import LoadedModel, load_model
from cl_engine.prompt import infilling_prompt
from cl_engine.request import Event, FinishEvent, Limits, Request
from cl_engine.runner import Runner
from cl_engine.sampling import SamplingParams
from cl_engine.scheduler import Scheduler
from cl_engine.slots import Slots

FILE = Path(__file__).parent / "embedded_data.py"
TYPED = "total_tokens = sum(len(ids) for"
CACHED, ROWS, REPEATS = 2300, (1, 2, 4, 9), 25


def step_times(model: LoadedModel) -> dict[int, float]:
    """Milliseconds of a step of so many rows on CACHED tokens, medians."""
    kv, times = model.llama.new_cache(), {}
    for start in range(0, CACHED, 256):
        model.llama.forward(list(range(300, 556)), start, kv, 1)
    for rows in ROWS:
        took = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            model.llama.forward(list(range(400, 400 + rows)), CACHED, kv, rows)
            took.append(time.perf_counter() - began)
        times[rows] = round(statistics.median(took) * 1e3, 2)
    return times


def typing(model: LoadedModel) -> dict[str, float | int]:
    """A line typed key by key into a file, each key answered with drafts and without."""
    text, context = FILE.read_text()[:8000], model.llama.config.context
    cut = text.index("\n", 6000) + 1
    ways = {
        drafts: Scheduler(model.tokenizer, Slots([model.llama.new_cache()]), context, 4, drafts)
        for drafts in (True, False)
    }
    runner, seconds, counts = Runner(model.llama, model.tokenizer), {True: 0.0, False: 0.0}, [0, 0]
    for key in range(len(TYPED) + 1):
        prefix = text[:cut] + "    " + TYPED[:key]
        prompt = infilling_prompt(model.tokenizer, prefix, text[cut - 1 :], context - 48)
        for drafts in (True, False) if key % 2 else (False, True):
            events: list[Event] = []
            scheduler, began = ways[drafts], time.perf_counter()
            limits = Limits(48, stops=("\n",))
            scheduler.add(Request(prompt, limits, SamplingParams(), events.append))
            while (sequence := scheduler.next()) is not None:
                scheduler.advance(sequence, runner.step(sequence))
            seconds[drafts] += (time.perf_counter() - began) * (key > 0)  # the first reads the file
            if drafts and isinstance(end := events[-1], FinishEvent):
                counts = [counts[0] + end.usage.drafted, counts[1] + end.usage.accepted]
    return {"ratio": round(seconds[False] / seconds[True], 3), "drafted": counts[0]} | {
        "accepted": counts[1]
    }


def main() -> None:
    torch.set_num_threads(1)
    model = load_model("embedded", device="cpu")
    result = {
        "bench": "cpu",
        "step_ms_by_rows": step_times(model),
        "cached": CACHED,
        "typing_with_drafts": typing(model),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
