from typing import Any

import pytest

from agents.resilience.breaker_rules import (
    CONTENT,
    FAILURES,
    SUSPICIOUS,
    call_of,
    exceeds_retry_budget,
    is_conclusive,
    is_healthy,
    open_seconds,
    reason_to_open,
)
from agents.resilience.sliding_window import Window, digest
from schemas.errors import ErrorCode
from tests.unit.agents.resilience.calls import (
    BLOCK,
    CHANGED,
    NOT_FOUND,
    NOW,
    RULES,
    SERVER,
    attempt,
    call,
    calls,
    rules,
)

TIMEOUT = ErrorCode.NETWORK_TIMEOUT


def test_error_codes_are_classified_by_family() -> None:
    counting = {code for code in ErrorCode if code.startswith(("network.", "rate_limit."))}
    assert counting | {CHANGED} == FAILURES
    assert {BLOCK, CHANGED} == SUSPICIOUS
    inconclusive = {code for code in ErrorCode if not is_conclusive(code)}
    assert inconclusive == {
        code for code in ErrorCode if code.startswith(("system.", "internal.", "request."))
    }
    assert {code for code in ErrorCode if code.startswith("content.")} == CONTENT
    assert is_conclusive(None)


HEALTHY = calls(None, *range(100, 110))

OPENINGS: list[tuple[str, Window, ErrorCode | None]] = [
    ("nothing", (), None),
    ("one too few calls", calls(SERVER, *range(19)), None),
    ("just enough calls", calls(SERVER, *range(20)), SERVER),
    ("half of them", calls(SERVER, *range(10)) + HEALTHY, SERVER),
    ("less than half", calls(SERVER, *range(10)) + HEALTHY + calls(None, 1), None),
    ("one video only", calls(SERVER, *[1] * 50), None),
    ("two videos only", calls(SERVER, *[1, 2] * 25), None),
    ("three videos", calls(SERVER, *[1, 2, 3] * 7), SERVER),
    ("three videos among many", calls(SERVER, *[1, 2, 3] * 10) + HEALTHY, None),
    ("content only", calls(NOT_FOUND, *range(100)), None),
    ("content errors are healthy", calls(SERVER, *range(9)) + calls(NOT_FOUND, *range(11)), None),
    ("several codes", calls(SERVER, *range(6)) + calls(TIMEOUT, *range(6, 20)), TIMEOUT),
    ("two blocked", calls(BLOCK, 1, 2), None),
    ("three blocked", calls(BLOCK, 1, 2, 3), BLOCK),
    ("three unknown pages", calls(CHANGED, 1, 2, 3), CHANGED),
    ("three of both", calls(BLOCK, 1) + calls(CHANGED, 2, 3), CHANGED),
    ("one blocked often", calls(BLOCK, *[1] * 99), None),
    ("half blocked", calls(BLOCK, 1, 2, 3) + calls(None, 4, 5, 6), BLOCK),
    ("less than half blocked", calls(BLOCK, 1, 2, 3) + calls(None, 4, 5, 6, 7), None),
    ("blocked among other failures", calls(SERVER, 4, 5, 6) + calls(BLOCK, 1, 2, 3), BLOCK),
    ("too few slow", calls(None, *range(19), slow=True), None),
    ("slow enough", calls(None, *range(18), slow=True) + calls(None, 1, 2), TIMEOUT),
    ("not slow enough", calls(None, *range(17), slow=True) + calls(None, 1, 2, 3), None),
    ("one slow video", calls(None, *[1] * 50, slow=True), None),
    ("slow and not found", calls(NOT_FOUND, *range(20), slow=True), TIMEOUT),
]


@pytest.mark.parametrize(
    ("window", "reason"), [each[1:] for each in OPENINGS], ids=[each[0] for each in OPENINGS]
)
def test_reason_to_open_by_window(window: Window, reason: Any) -> None:
    assert reason_to_open(window, RULES) is reason


def test_minimum_calls_above_the_window_size_means_a_full_window() -> None:
    narrow = rules(window_calls=5, minimum_calls=20)
    assert reason_to_open(calls(SERVER, *range(5)), narrow) is SERVER
    assert reason_to_open(calls(SERVER, *range(4)), narrow) is None


@pytest.mark.parametrize(
    ("videos", "expected"), [(1, SERVER), (4, SERVER), (5, None)], ids=["one", "all", "more"]
)
def test_number_of_suspicious_videos_is_configurable(videos: int, expected: Any) -> None:
    window = calls(SERVER, *[1, 2, 3, 4] * 5)
    assert reason_to_open(window, rules(suspicious_videos=videos)) is expected


@pytest.mark.parametrize(
    ("retries", "first_attempts", "expected"),
    [
        (10, 0, False),
        (11, 0, True),
        (11, 44, False),
        (11, 43, True),
        (20, 80, False),
        (21, 79, True),
    ],
)
def test_retry_budget_is_exceeded_above_floor_and_share(
    retries: int, first_attempts: int, expected: bool
) -> None:
    window = calls(SERVER, *range(retries), retry=True) + calls(None, *range(first_attempts))
    assert exceeds_retry_budget(window, RULES) is expected


@pytest.mark.parametrize(
    ("openings", "seconds"),
    [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 600), (7, 600), (100_000, 600)],
)
def test_open_time_doubles_up_to_the_cap(openings: int, seconds: float) -> None:
    assert open_seconds(openings, RULES) == seconds


def test_cap_applies_to_the_first_opening() -> None:
    assert open_seconds(1, rules(open_seconds_max=20)) == 20


@pytest.mark.parametrize(
    ("operation", "seconds", "slow"),
    [
        ("extract", 20.0, False),
        ("extract", 20.1, True),
        ("resolve", 20.1, True),
        ("download", 3000.0, False),
    ],
)
def test_only_pages_and_links_count_as_slow(operation: Any, seconds: float, slow: bool) -> None:
    made = call_of(attempt("v", operation=operation, seconds=seconds), RULES, NOW)
    assert made.slow is slow


def test_call_of_keeps_the_fields_of_the_attempt() -> None:
    made = call_of(attempt("v", SERVER, at=NOW, retry=True), RULES, NOW)
    assert made == call(digest("v"), SERVER, at=NOW, retry=True)


@pytest.mark.parametrize("skew", [-600, 600])
def test_call_time_is_the_arrival_of_the_report(skew: float) -> None:
    assert call_of(attempt(at=NOW + skew), RULES, NOW).at == NOW


@pytest.mark.parametrize(
    ("code", "slow", "healthy"),
    [
        (None, False, True),
        (NOT_FOUND, False, True),
        (None, True, False),
        (NOT_FOUND, True, False),
        (SERVER, False, False),
        (BLOCK, True, False),
    ],
)
def test_healthy_calls_answer_in_time(code: Any, slow: bool, healthy: bool) -> None:
    assert is_healthy(call("v", code, slow=slow)) is healthy
