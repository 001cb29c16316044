"""What the benchmark types into: places in files, code that repeats itself, text that misleads.

Files are held-out ones (`eval_embedded.py`), so that no commit of ours changes what is measured.
"""

import functools
import random
from dataclasses import dataclass, replace

from cl_engine.loader import LoadedModel
from cl_engine.prompt import Prompt, infilling_prompt
from cl_engine.sampling import SamplingParams
from eval_embedded import held_out_files

files = functools.cache(held_out_files)
ROOM = 64  # tokens that are left for an answer


@dataclass(frozen=True)
class Place:
    """A cursor: what stands around it, what is typed there, and how the answer is chosen."""

    prefix: str
    suffix: str
    typed: str = ""
    sampling: SamplingParams = SamplingParams()

    def prompt(self, model: LoadedModel, keys: int = 0) -> Prompt:
        """The question after `keys` characters of `typed`."""
        limit = model.llama.config.context - ROOM
        prefix = self.prefix + self.typed[:keys]
        return infilling_prompt(model.tokenizer, prefix, self.suffix, limit)


def held_out(path: str, at: int, after: int, keys: int = 0, window: int = 0) -> Place:
    """In the first line that begins `at` characters into a file or later, behind its indent.

    `window` characters stand before it (0: `at`) and `after` behind. What is typed are the file's
    own next `keys` characters; the rest of that line is not there yet.
    """
    text = files()[path]
    start = text.index("\n", at) + 1
    cut = start + len(text[start:]) - len(text[start:].lstrip(" "))
    end = text.index("\n", cut + keys)
    return Place(text[cut - (window or at) : cut], text[end : end + after], text[cut : cut + keys])


TYPING = "flask-3.1.3/flask/testing.py"
DOCUMENTS = (  # of eight clients
    "requests-2.34.2/requests/cookies.py",
    "flask-3.1.3/flask/ctx.py",
    "jinja2-3.1.6/jinja2/ext.py",
    "typer-0.29.2/typer/_adapters.py",
    "more-itertools-11.2.1/more_itertools/recipes.py",
    "arrow-1.4.0/arrow/arrow.py",
    "marshmallow-4.4.0/marshmallow/fields.py",
    "commander-14.0.3/lib/help.js",
)


# Each of these gives other texts for another `number`: an engine may remember what it answered.


def ordinary(number: int) -> dict[str, Place]:
    """Code as it comes."""
    paths = ("jinja2-3.1.6/jinja2/runtime.py", "commander-14.0.3/lib/help.js")
    at = 1200 + 900 * number
    return {path.rpartition("/")[2]: held_out(path, at, 400, window=1200) for path in paths}


def repetitive(number: int) -> dict[str, Place]:
    """Edits in the midst of code whose lines resemble each other."""
    rng = random.Random(number)
    names = rng.sample(NOUNS, 20)
    first = rng.randrange(10, 900)
    option = [f"        self.{name} = options.get({name!r}, None)\n" for name in names]
    field = [f'    {name}: str = field(default="", metadata={{"help": ""}})\n' for name in names]
    case = [f"    case '{name}':\n      return on_{name}(event, state);\n" for name in names]
    check = [f"    assert convert({n}, base=10) == {str(n)!r}\n" for n in range(first, first + 20)]
    return {
        "assignments": _amid("class Settings:\n    def __init__(self, options):\n", option, 13),
        "fields": _amid("@dataclass\nclass Settings:\n", field, 4),
        "switch": _amid("function dispatch(event, state) {\n  switch (event.type) {\n", case, 9),
        "asserts": _amid("def test_convert():\n", check, 11),
    }


NOUNS = [
    f"{owner}_{what}"
    for owner in ("host", "log", "cache", "user", "page", "last")
    for what in ("name", "size", "path", "level", "port")
]


def _amid(head: str, lines: list[str], column: int) -> Place:
    """Two thirds down, in a line of which only the first `column` characters are there."""
    at = len(lines) * 2 // 3
    return Place(head + "".join(lines[:at]) + lines[at][:column], "\n" + "".join(lines[at + 2 :]))


def misleading(number: int) -> dict[str, Place]:
    """Random digits: almost any two of them have stood in a row before, and others followed.

    The answer is drawn from the model's distribution, or it would soon repeat itself.
    """
    digits = "".join(random.Random(number).choices("0123456789", k=400))
    drawn = SamplingParams(temperature=1.0, top_k=10, seed=number)
    return {"digits": Place(f'DIGITS = "{digits}', '"\n', sampling=drawn)}


def mixed(number: int) -> dict[str, Place]:
    """What misleads, after what praises drafts."""
    return {"asserts": repetitive(number)["asserts"]} | misleading(number)


def line_typed(number: int) -> dict[str, Place]:
    """The key of that number in a line: what was answered to the last is often right again."""
    place = held_out(TYPING, 6000, 2000, 24)
    return {"key": replace(place, prefix=place.prefix + place.typed[: number + 1])}
