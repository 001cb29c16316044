"""Without Triton nothing here is collected; with it, its interpreter is made to suit NumPy 2.4."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__)
OTHERS = [path.name for path in HERE.parent.glob("*.py") if path != HERE]
collect_ignore = [] if find_spec("triton") else OTHERS

if not collect_ignore:
    from triton.runtime import interpreter

    _patch_tensor: Any = interpreter._patch_lang_tensor

    def _patched(tensor: Any, *rest: Any) -> None:
        """NumPy no longer makes an int of an array with one element, as loop bounds here are."""
        _patch_tensor(tensor, *rest)
        tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._patch_lang_tensor = _patched
