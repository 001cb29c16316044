"""The engine: a resident Code Llama behind HTTP, and `pipeline()` in one's own process."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "BrokenCheckpoint",
    "ChatTemplateConfig",
    "EngineError",
    "GenerationConfig",
    "InvalidRequest",
    "Overloaded",
    "Pipeline",
    "Response",
    "UnknownModel",
    "Unsupported",
    "pipeline",
]

if TYPE_CHECKING:
    from .api import ChatTemplateConfig, GenerationConfig, Pipeline, Response, pipeline
    from .errors import (
        BrokenCheckpoint,
        EngineError,
        InvalidRequest,
        Overloaded,
        UnknownModel,
        Unsupported,
    )


def __getattr__(name: str) -> Any:
    """`api`'s names, imported when asked for: most that import this package need no torch."""
    if name in __all__:
        from . import api, errors

        return getattr(api, name, None) or getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
