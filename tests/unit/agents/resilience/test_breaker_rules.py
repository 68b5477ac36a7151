from typing import Any

import pytest

from agents.resilience.breaker_rules import (
    CONTENT,
    COUNTING,
    SUSPICIOUS,
    call_of,
    is_good,
    open_seconds,
    reason_to_open,
    retries_too_much,
    says_something,
)
from agents.resilience.sliding_window import Window, digest
from schemas.errors import ErrorCode
from tests.unit.agents.resilience.calls import (
    BLOCK,
    CHANGED,
    GONE,
    NOW,
    RULES,
    SERVER,
    attempt,
    call,
    calls,
    rules,
)

TIMEOUT = ErrorCode.NETWORK_TIMEOUT


def test_every_code_counts_by_its_family() -> None:
    counting = {code for code in ErrorCode if code.startswith(("network.", "rate_limit."))}
    assert counting | {CHANGED} == COUNTING
    assert {BLOCK, CHANGED} == SUSPICIOUS
    silent = {code for code in ErrorCode if not says_something(code)}
    assert silent == {
        code for code in ErrorCode if code.startswith(("system.", "internal.", "request."))
    }
    assert {code for code in ErrorCode if code.startswith("content.")} == CONTENT
    assert says_something(None)


WELL = calls(None, *range(100, 110))

OPENINGS: list[tuple[str, Window, ErrorCode | None]] = [
    ("nothing", (), None),
    ("one too few calls", calls(SERVER, *range(19)), None),
    ("just enough calls", calls(SERVER, *range(20)), SERVER),
    ("one half of them", calls(SERVER, *range(10)) + WELL, SERVER),
    ("less than one half", calls(SERVER, *range(10)) + WELL + calls(None, 1), None),
    ("one video only", calls(SERVER, *[1] * 50), None),
    ("two videos only", calls(SERVER, *[1, 2] * 25), None),
    ("three videos", calls(SERVER, *[1, 2, 3] * 7), SERVER),
    ("three videos among many", calls(SERVER, *[1, 2, 3] * 10) + WELL, None),
    ("content only", calls(GONE, *range(100)), None),
    ("content is well", calls(SERVER, *range(9)) + calls(GONE, *range(11)), None),
    ("several codes", calls(SERVER, *range(6)) + calls(TIMEOUT, *range(6, 20)), TIMEOUT),
    ("two blocked", calls(BLOCK, 1, 2), None),
    ("three blocked", calls(BLOCK, 1, 2, 3), BLOCK),
    ("three unknown pages", calls(CHANGED, 1, 2, 3), CHANGED),
    ("three of both", calls(BLOCK, 1) + calls(CHANGED, 2, 3), CHANGED),
    ("one blocked often", calls(BLOCK, *[1] * 99), None),
    ("blocked, one half", calls(BLOCK, 1, 2, 3) + calls(None, 4, 5, 6), BLOCK),
    ("blocked, less", calls(BLOCK, 1, 2, 3) + calls(None, 4, 5, 6, 7), None),
    ("blocked among other failures", calls(SERVER, 4, 5, 6) + calls(BLOCK, 1, 2, 3), BLOCK),
    ("too few slow", calls(None, *range(19), slow=True), None),
    ("slow enough", calls(None, *range(18), slow=True) + calls(None, 1, 2), TIMEOUT),
    ("not slow enough", calls(None, *range(17), slow=True) + calls(None, 1, 2, 3), None),
    ("one slow video", calls(None, *[1] * 50, slow=True), None),
    ("slow and gone", calls(GONE, *range(20), slow=True), TIMEOUT),
]


@pytest.mark.parametrize(
    ("window", "reason"), [each[1:] for each in OPENINGS], ids=[each[0] for each in OPENINGS]
)
def test_a_breaker_opens_when_several_videos_say_so(window: Window, reason: Any) -> None:
    assert reason_to_open(window, RULES) is reason


def test_a_minimum_above_the_window_is_a_full_window() -> None:
    narrow = rules(window_calls=5, minimum_calls=20)
    assert reason_to_open(calls(SERVER, *range(5)), narrow) is SERVER
    assert reason_to_open(calls(SERVER, *range(4)), narrow) is None


@pytest.mark.parametrize(
    ("videos", "expected"), [(1, SERVER), (4, SERVER), (5, None)], ids=["one", "all", "more"]
)
def test_the_number_of_videos_is_a_setting(videos: int, expected: Any) -> None:
    window = calls(SERVER, *[1, 2, 3, 4] * 5)
    assert reason_to_open(window, rules(suspicious_videos=videos)) is expected


@pytest.mark.parametrize(
    ("again", "first", "expected"),
    [
        (10, 0, False),
        (11, 0, True),
        (11, 44, False),
        (11, 43, True),
        (20, 80, False),
        (21, 79, True),
    ],
)
def test_retries_are_too_many_above_floor_and_share(again: int, first: int, expected: bool) -> None:
    window = calls(SERVER, *range(again), retry=True) + calls(None, *range(first))
    assert retries_too_much(window, RULES) is expected


@pytest.mark.parametrize(
    ("openings", "seconds"),
    [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 600), (7, 600), (100_000, 600)],
)
def test_the_open_time_doubles_up_to_its_cap(openings: int, seconds: float) -> None:
    assert open_seconds(openings, RULES) == seconds


def test_the_cap_holds_from_the_first_time() -> None:
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
def test_pages_and_links_can_be_slow_files_cannot(
    operation: Any, seconds: float, slow: bool
) -> None:
    made = call_of(attempt("v", operation=operation, seconds=seconds), RULES, NOW)
    assert made.slow is slow


def test_a_call_is_the_attempt_in_short() -> None:
    made = call_of(attempt("v", SERVER, at=NOW, retry=True), RULES, NOW)
    assert made == call(digest("v"), SERVER, at=NOW, retry=True)


@pytest.mark.parametrize("skew", [-600, 600])
def test_an_attempt_counts_from_when_its_report_arrives(skew: float) -> None:
    assert call_of(attempt(at=NOW + skew), RULES, NOW).at == NOW


@pytest.mark.parametrize(
    ("code", "slow", "good"),
    [
        (None, False, True),
        (GONE, False, True),
        (None, True, False),
        (GONE, True, False),
        (SERVER, False, False),
        (BLOCK, True, False),
    ],
)
def test_good_is_what_answered_in_time(code: Any, slow: bool, good: bool) -> None:
    assert is_good(call("v", code, slow=slow)) is good
