import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.standin.accounts import (
    NEWEST_AT,
    PHOTOS_EVERY,
    SECONDS_BETWEEN_POSTS,
    listed_post,
    name_of,
    place_before,
    posts_from,
    sec_uid,
)
from tests.standin.ids import case_of_id

NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,32}", fullmatch=True)


@given(NAMES)
def test_sec_uid_encodes_the_name(name: str) -> None:
    assert name_of(sec_uid(name)) == name
    assert len(sec_uid(name)) == 76


@given(st.text(max_size=90))
def test_any_text_is_read_without_an_error(text: str) -> None:
    name_of(text)


@pytest.mark.parametrize("uid", ["", "MS4wLjABAAAA" + "f" * 64, "MS4wLjABAAAA6", "x" * 76])
def test_invalid_sec_uid_has_no_name(uid: str) -> None:
    assert name_of(uid) is None


def test_list_is_deterministic_and_has_no_duplicates() -> None:
    posts = posts_from("anna", 40, 0, 100)
    assert posts == posts_from("anna", 40, 0, 40)
    assert len({post.video_id for post in posts}) == 40
    assert {post.video_id for post in posts}.isdisjoint(
        post.video_id for post in posts_from("bob", 40, 0, 40)
    )


def test_posts_are_sorted_newest_first() -> None:
    times = [post.created for post in posts_from("anna", 10, 0, 10)]
    assert times[0] == NEWEST_AT
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 10


def test_some_posts_are_photos() -> None:
    names = [case_of_id(post.video_id).scenario.name for post in posts_from("anna", 10, 0, 10)]
    assert names.count("photo") == 10 // PHOTOS_EVERY
    assert names.count("kilobytes") == 8


@pytest.mark.parametrize(
    ("start", "size", "positions"),
    [(0, 3, [0, 1, 2]), (8, 3, [8, 9]), (9, 1, [9]), (10, 3, []), (50, 3, [])],
)
def test_page_of_a_list_is_a_slice(start: int, size: int, positions: list[int]) -> None:
    assert posts_from("anna", 10, start, size) == [listed_post("anna", each) for each in positions]


@given(st.integers(0, 90_000), st.integers(0, SECONDS_BETWEEN_POSTS * 1000 - 1))
def test_position_of_the_first_older_post_is_found(position: int, later_milliseconds: int) -> None:
    moment = listed_post("anna", position).created * 1000
    assert place_before(moment) == position + 1
    assert place_before(moment + later_milliseconds) == position + (later_milliseconds == 0)


def test_all_posts_are_older_than_a_future_time() -> None:
    assert place_before(2**50) == 0
