import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.resilience.sliding_window import (
    Call,
    Share,
    Window,
    add,
    digest,
    error_ratios,
    main_code,
    recent,
    retries,
    share,
)
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from tests.unit.agents.resilience.calls import BLOCK, GONE, NOW, SERVER, call, calls

some_calls = st.builds(
    Call,
    at=st.floats(0, 200),
    subject=st.sampled_from("abcdef"),
    code=st.none() | st.sampled_from([SERVER, BLOCK, GONE]),
    slow=st.booleans(),
    retry=st.booleans(),
)
windows = st.lists(some_calls, max_size=30).map(tuple)


def is_server(each: Call) -> bool:
    return each.code is SERVER


@pytest.mark.parametrize(("age", "stays"), [(0.0, True), (59.9, True), (60.0, True), (60.1, False)])
def test_calls_stay_until_they_are_older_than_the_window(age: float, stays: bool) -> None:
    window = (call(at=NOW - age),)
    assert recent(window, NOW, 60) == (window if stays else ())


def test_calls_from_ahead_count_as_of_now() -> None:
    assert recent((call(at=NOW + 1),), NOW, 60) == (call(at=NOW),)


def test_old_calls_go_wherever_they_stand() -> None:
    window = (call("a"), call("b", at=NOW - 61), call("c"))
    assert recent(window, NOW, 60) == (call("a"), call("c"))


def test_the_window_holds_the_latest_calls() -> None:
    window: Window = ()
    for number in range(5):
        window = add(window, call(str(number)), NOW, calls=3, seconds=60)
    assert [each.subject for each in window] == ["2", "3", "4"]


def test_adding_drops_what_is_too_old_also_the_new_one() -> None:
    old = (call("a", at=NOW - 50),)
    assert add(old, call("b", at=NOW + 11), NOW + 11, calls=3, seconds=60) == (
        call("b", at=NOW + 11),
    )
    assert add((), call("late", at=NOW - 61), NOW, calls=3, seconds=60) == ()


SHARES: list[tuple[str, Window, Share]] = [
    ("nothing", (), Share(0, 0.0)),
    ("all well", calls(None, 1, 2), Share(0, 0.0)),
    ("all failed", calls(SERVER, 1, 2), Share(2, 1.0)),
    ("one half", calls(SERVER, 1, 2) + calls(None, 3, 4), Share(2, 0.5)),
    ("one subject often", calls(SERVER, 1, 1, 1, 1) + calls(None, 2), Share(1, 0.5)),
    ("successes count each", calls(SERVER, 1) + calls(None, 2, 2, 2), Share(1, 0.25)),
    ("failed and well", calls(SERVER, 1) + calls(None, 1), Share(1, 0.5)),
    ("other codes are others", calls(SERVER, 1) + calls(BLOCK, 2, 3, 4), Share(1, 0.25)),
]


@pytest.mark.parametrize(
    ("window", "expected"), [each[1:] for each in SHARES], ids=[each[0] for each in SHARES]
)
def test_a_share_counts_each_subject_once(window: Window, expected: Share) -> None:
    assert share(window, is_server) == expected


@given(window=windows)
def test_more_of_the_same_subject_changes_no_share(window: Window) -> None:
    failed = tuple(each for each in window if is_server(each))
    assert share(window + failed, is_server) == share(window, is_server)


@given(window=windows)
def test_a_share_is_a_share(window: Window) -> None:
    found = share(window, is_server)
    assert 0 <= found.ratio <= 1
    assert (found.subjects == 0) == (found.ratio == 0)


def test_error_ratios_are_of_all_calls() -> None:
    window = calls(SERVER, 1, 1) + calls(GONE, 2) + calls(None, 3)
    assert error_ratios(window) == {SERVER: 0.5, GONE: 0.25}
    assert error_ratios(()) == {}


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ((), None),
        (calls(None, 1, 2), None),
        (calls(GONE, 1, 2, 3), None),
        (calls(SERVER, 1) + calls(GONE, 2, 3), SERVER),
        (calls(SERVER, 1, 2) + calls(BLOCK, 3), SERVER),
        (calls(SERVER, 1, 1, 1) + calls(BLOCK, 2, 3), BLOCK),
        (calls(SERVER, 1) + calls(BLOCK, 2), BLOCK),
        (calls(BLOCK, 1) + calls(SERVER, 2), SERVER),
    ],
    ids=["nothing", "all well", "not asked for", "only one", "most", "by subject", "tie", "tie 2"],
)
def test_the_main_code_is_that_of_most_subjects(window: Window, expected: Any) -> None:
    assert main_code(window, {SERVER, BLOCK}) is expected


def test_retries_are_counted_each() -> None:
    assert retries(calls(None, 1, 1, retry=True) + calls(SERVER, 2)) == 2


def test_subjects_get_short_names_that_differ() -> None:
    names = {digest(f"tiktok:{number}") for number in range(500)}
    assert len(names) == 500
    assert all(len(name) == 8 and set(name) <= set(string.hexdigits) for name in names)
    assert digest("tiktok:1") == digest("tiktok:1")


@given(window=windows)
def test_a_window_survives_writing(window: Window) -> None:
    assert decode(encode(window), tuple[Call, ...]) == window


def test_a_full_window_is_small() -> None:
    full = tuple(
        call(digest(str(number)), ErrorCode.RATE_LIMIT_IP_BLOCK, at=1_700_000_000.123 + number)
        for number in range(100)
    )
    assert len(encode(full)) < 7_000


def test_a_call_without_later_fields_can_be_read() -> None:
    assert msgspec.json.decode(b'[1.0,"v"]', type=Call) == Call(at=1.0, subject="v")
