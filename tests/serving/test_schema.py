"""Whatever fits the OpenAPI page, and much that does not: no 5xx, and an answer in time."""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import schemathesis

from tests.serving.test_engine import unread
from tests.serving.test_openai import free_port

LIMIT_S = 20  # of one answer; the model is tiny, its context 256 tokens


@pytest.fixture(scope="module")
def base(tiny: Path) -> Iterator[str]:
    port = free_port()
    with unread(str(tiny), "--port", str(port), "--no-auth", "--context", "256"):
        yield f"http://127.0.0.1:{port}"


def sent(base: str, examples: int, positive: bool) -> Counter[tuple[str, int]]:
    """The status of so many generated requests to each operation, by its path."""
    mode = schemathesis.GenerationMode
    schema = schemathesis.openapi.from_dict(httpx2.get(f"{base}/openapi.json").json())
    schema.config.update(base_url=base)
    seen: Counter[tuple[str, int]] = Counter()
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # pyright: ignore[reportAttributeAccessIssue]
        if not positive and operation.method != "post":
            continue  # what has no body cannot be wrong
        modes = mode.POSITIVE if positive else mode.NEGATIVE

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        )
        @given(case=operation.as_strategy(generation_mode=modes))
        def one(case: Any) -> None:
            response = case.call(timeout=LIMIT_S)
            assert response.status_code < 500, (case.as_curl_command(), response.text)
            seen[case.path, response.status_code] += 1

        one()
    return seen


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_no_request_makes_the_server_fail(base: str, positive: bool) -> None:
    seen = sent(base, 25, positive)
    print(seen)
    for path in ("/v1/completions", "/v1/chat/completions", "/infill", "/tokenize"):
        assert seen[path, 400] or positive
    assert not positive or seen["/v1/completions", 200] and seen["/detokenize", 200]
    assert httpx2.get(f"{base}/health").json()["active"] == 0


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
def test_no_request_of_thousands_does(base: str) -> None:
    for positive in (True, False):
        print(sent(base, 1500, positive))
