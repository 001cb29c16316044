"""What can be switched off, so that each shows what it brings; what is not built is not listed."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, fields
from typing import Any
from unittest.mock import patch

from cl_lsp import completion, postprocess
from cl_lsp.answers import Answer
from cl_lsp.cache import Cache
from cl_lsp.config import CompletionConfig
from cl_lsp.exchange import CompletionRequest

SETTINGS = {f.name for f in fields(CompletionConfig)}


@dataclass(frozen=True)
class Feature:
    """Off by settings of `completion`, or by other code in place of ours."""

    settings: dict[str, Any]
    patches: tuple[tuple[Any, str, Any], ...] = ()

    def off(self) -> AbstractContextManager[Any]:
        return _patched(self.patches)

    @property
    def exists(self) -> bool:
        known = all(hasattr(owner, name) for owner, name, _ in self.patches)
        return known and self.settings.keys() <= SETTINGS


@contextlib.contextmanager
def _patched(patches: tuple[tuple[Any, str, Any], ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, new in patches:
            stack.enter_context(patch.object(owner, name, new))
        yield


ALL = "all"
MERGES = completion if hasattr(completion, "merge_closers") else postprocess
_body = CompletionRequest.body


def _without_suffix_rule(request: CompletionRequest) -> dict[str, Any]:
    """The engine does not end a text where it repeats what follows, either."""
    return _body(request) | {"stop_at": [rule for rule in request.stop_at if rule != "suffix"]}


KNOWN = {
    "prefetch": Feature({"prefetch": False}),
    "snippets": Feature({"snippets": False}),
    "typed": Feature({}, ((Cache, "get", lambda self, snapshot: None),)),
    "adoption": Feature({}, ((Answer, "leads_to", lambda self, snapshot: False),)),
    "overlap": Feature(
        {},
        (
            (postprocess, "trim_overlap", lambda text, after, *rest: text),
            (CompletionRequest, "body", _without_suffix_rule),
        ),
    ),
    "closers": Feature({}, ((MERGES, "merge_closers", lambda text, *rest: text),)),
}
FEATURES = {name: feature for name, feature in KNOWN.items() if feature.exists}


def variants(asked: str) -> list[str]:
    """`all,-prefetch,…` as a list; of features that are not there none. ValueError if unknown."""
    names = asked.split(",") if asked else [ALL, *(f"-{name}" for name in FEATURES)]
    for name in names:
        if name != ALL and (name[:1] != "-" or name[1:] not in KNOWN):
            raise ValueError(f"{name!r} is none of {ALL}, {', '.join(f'-{n}' for n in KNOWN)}")
    return [name for name in names if name == ALL or name[1:] in FEATURES]
