import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.resilience.sliding_window import (
    Call,
    SubjectRatio,
    Window,
    add,
    count_retries,
    digest,
    dominant_code,
    error_ratios,
    recent,
    subject_ratio,
)
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from tests.unit.agents.resilience.calls import BLOCK, NOT_FOUND, NOW, SERVER, call, calls

call_strategy = st.builds(
    Call,
    at=st.floats(0, 200),
    subject=st.sampled_from("abcdef"),
    code=st.none() | st.sampled_from([SERVER, BLOCK, NOT_FOUND]),
    slow=st.booleans(),
    retry=st.booleans(),
)
windows = st.lists(call_strategy, max_size=30).map(tuple)


def is_server(each: Call) -> bool:
    return each.code is SERVER


@pytest.mark.parametrize(("age", "kept"), [(0.0, True), (59.9, True), (60.0, True), (60.1, False)])
def test_calls_are_kept_until_older_than_the_window(age: float, kept: bool) -> None:
    window = (call(at=NOW - age),)
    assert recent(window, NOW, 60) == (window if kept else ())


def test_calls_from_a_future_clock_count_as_of_now() -> None:
    assert recent((call(at=NOW + 1),), NOW, 60) == (call(at=NOW),)


def test_old_calls_are_dropped_at_any_position() -> None:
    window = (call("a"), call("b", at=NOW - 61), call("c"))
    assert recent(window, NOW, 60) == (call("a"), call("c"))


def test_window_keeps_the_latest_calls() -> None:
    window: Window = ()
    for number in range(5):
        window = add(window, call(str(number)), NOW, calls=3, seconds=60)
    assert [each.subject for each in window] == ["2", "3", "4"]


def test_add_drops_expired_calls_including_the_new_one() -> None:
    old = (call("a", at=NOW - 50),)
    assert add(old, call("b", at=NOW + 11), NOW + 11, calls=3, seconds=60) == (
        call("b", at=NOW + 11),
    )
    assert add((), call("late", at=NOW - 61), NOW, calls=3, seconds=60) == ()


RATIOS: list[tuple[str, Window, SubjectRatio]] = [
    ("nothing", (), SubjectRatio(0, 0.0)),
    ("all succeeded", calls(None, 1, 2), SubjectRatio(0, 0.0)),
    ("all failed", calls(SERVER, 1, 2), SubjectRatio(2, 1.0)),
    ("half failed", calls(SERVER, 1, 2) + calls(None, 3, 4), SubjectRatio(2, 0.5)),
    ("one subject often", calls(SERVER, 1, 1, 1, 1) + calls(None, 2), SubjectRatio(1, 0.5)),
    ("successes count each", calls(SERVER, 1) + calls(None, 2, 2, 2), SubjectRatio(1, 0.25)),
    ("failed and succeeded", calls(SERVER, 1) + calls(None, 1), SubjectRatio(1, 0.5)),
    ("other codes do not count", calls(SERVER, 1) + calls(BLOCK, 2, 3, 4), SubjectRatio(1, 0.25)),
]


@pytest.mark.parametrize(
    ("window", "expected"), [each[1:] for each in RATIOS], ids=[each[0] for each in RATIOS]
)
def test_subject_ratio_counts_each_subject_once(window: Window, expected: SubjectRatio) -> None:
    assert subject_ratio(window, is_server) == expected


@given(window=windows)
def test_repeated_failures_do_not_change_the_ratio(window: Window) -> None:
    failed = tuple(each for each in window if is_server(each))
    assert subject_ratio(window + failed, is_server) == subject_ratio(window, is_server)


@given(window=windows)
def test_subject_ratio_is_between_0_and_1(window: Window) -> None:
    ratio = subject_ratio(window, is_server)
    assert 0 <= ratio.ratio <= 1
    assert (ratio.subjects == 0) == (ratio.ratio == 0)


def test_error_ratios_cover_all_calls() -> None:
    window = calls(SERVER, 1, 1) + calls(NOT_FOUND, 2) + calls(None, 3)
    assert error_ratios(window) == {SERVER: 0.5, NOT_FOUND: 0.25}
    assert error_ratios(()) == {}


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ((), None),
        (calls(None, 1, 2), None),
        (calls(NOT_FOUND, 1, 2, 3), None),
        (calls(SERVER, 1) + calls(NOT_FOUND, 2, 3), SERVER),
        (calls(SERVER, 1, 2) + calls(BLOCK, 3), SERVER),
        (calls(SERVER, 1, 1, 1) + calls(BLOCK, 2, 3), BLOCK),
        (calls(SERVER, 1) + calls(BLOCK, 2), BLOCK),
        (calls(BLOCK, 1) + calls(SERVER, 2), SERVER),
    ],
    ids=[
        "nothing",
        "all succeeded",
        "other codes",
        "only one",
        "most",
        "by subject",
        "tie",
        "tie 2",
    ],
)
def test_dominant_code_is_that_of_most_subjects(window: Window, expected: Any) -> None:
    assert dominant_code(window, {SERVER, BLOCK}) is expected


def test_every_retry_is_counted() -> None:
    assert count_retries(calls(None, 1, 1, retry=True) + calls(SERVER, 2)) == 2


def test_digests_are_short_and_distinct() -> None:
    names = {digest(f"tiktok:{number}") for number in range(500)}
    assert len(names) == 500
    assert all(len(name) == 8 and set(name) <= set(string.hexdigits) for name in names)
    assert digest("tiktok:1") == digest("tiktok:1")


@given(window=windows)
def test_window_survives_serialization(window: Window) -> None:
    assert decode(encode(window), tuple[Call, ...]) == window


def test_full_window_is_small() -> None:
    full = tuple(
        call(digest(str(number)), ErrorCode.RATE_LIMIT_IP_BLOCK, at=1_700_000_000.123 + number)
        for number in range(100)
    )
    assert len(encode(full)) < 7_000


def test_call_without_optional_fields_is_decoded() -> None:
    assert msgspec.json.decode(b'[1.0,"v"]', type=Call) == Call(at=1.0, subject="v")
