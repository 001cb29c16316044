"""What of the document goes into the request: windows whose edges stay put while the user types.

The editor's side has no tokenizer, so windows are measured in characters; the engine reports what
it still had to drop.
"""

PREFIX_CHARACTERS = 6000
SUFFIX_CHARACTERS = 2000
STEP = 1500  # characters by which the prefix's start moves, so that the KV cache is lost rarely


def prefix_window(before: str) -> str:
    """The end of `before`, at most PREFIX_CHARACTERS long; begins with a line if it can."""
    if len(before) <= PREFIX_CHARACTERS:
        return before
    start = -(-(len(before) - PREFIX_CHARACTERS) // STEP) * STEP
    line = before.find("\n", start, start + STEP)
    return before[start if line < 0 else line + 1 :]


def suffix_window(after: str) -> str:
    """The beginning of `after`, at most SUFFIX_CHARACTERS long; ends with a line if it can."""
    if len(after) <= SUFFIX_CHARACTERS:
        return after
    line = after.rfind("\n", 0, SUFFIX_CHARACTERS)
    return after[: SUFFIX_CHARACTERS if line < SUFFIX_CHARACTERS // 2 else line + 1]
