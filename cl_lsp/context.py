"""What of the document goes into the request: windows whose edges stay put while the user types.

The editor's side has no tokenizer, so windows are measured in characters; the engine reports what
it still had to drop.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Windows:
    """Characters before and after the cursor, at most. The start of the former moves in steps of
    `step`, so that the KV cache is lost rarely."""

    prefix: int = 6000
    suffix: int = 2000
    step: int = 1500

    def before(self, text: str) -> str:
        """The end of what stands before the cursor; begins with a line if it can."""
        if len(text) <= self.prefix:
            return text
        start = -(-(len(text) - self.prefix) // self.step) * self.step
        line = text.find("\n", start, start + self.step)
        return text[start if line < 0 else line + 1 :]

    def after(self, text: str) -> str:
        """The beginning of what stands after it; ends with a line if it can."""
        if len(text) <= self.suffix:
            return text
        line = text.rfind("\n", 0, self.suffix)
        return text[: self.suffix if line < self.suffix // 2 else line + 1]
