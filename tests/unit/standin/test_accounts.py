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
def test_the_other_name_of_an_account_carries_the_name(name: str) -> None:
    assert name_of(sec_uid(name)) == name
    assert len(sec_uid(name)) == 76


@given(st.text(max_size=90))
def test_no_text_breaks_the_reader(text: str) -> None:
    name_of(text)


@pytest.mark.parametrize("uid", ["", "MS4wLjABAAAA" + "f" * 64, "MS4wLjABAAAA6", "x" * 76])
def test_what_carries_no_name(uid: str) -> None:
    assert name_of(uid) is None


def test_a_list_is_the_same_every_time_and_each_post_is_in_it_once() -> None:
    posts = posts_from("anna", 40, 0, 100)
    assert posts == posts_from("anna", 40, 0, 40)
    assert len({post.video_id for post in posts}) == 40
    assert {post.video_id for post in posts}.isdisjoint(
        post.video_id for post in posts_from("bob", 40, 0, 40)
    )


def test_the_newest_comes_first() -> None:
    times = [post.created for post in posts_from("anna", 10, 0, 10)]
    assert times[0] == NEWEST_AT
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 10


def test_some_posts_are_photos() -> None:
    names = [case_of_id(post.video_id).scenario.name for post in posts_from("anna", 10, 0, 10)]
    assert names.count("photo") == 10 // PHOTOS_EVERY
    assert names.count("kilobytes") == 8


@pytest.mark.parametrize(
    ("start", "size", "places"),
    [(0, 3, [0, 1, 2]), (8, 3, [8, 9]), (9, 1, [9]), (10, 3, []), (50, 3, [])],
)
def test_a_page_of_a_list(start: int, size: int, places: list[int]) -> None:
    assert posts_from("anna", 10, start, size) == [listed_post("anna", each) for each in places]


@given(st.integers(0, 90_000), st.integers(0, SECONDS_BETWEEN_POSTS * 1000 - 1))
def test_what_is_older_than_a_moment(place: int, later_milliseconds: int) -> None:
    moment = listed_post("anna", place).created * 1000
    assert place_before(moment) == place + 1
    assert place_before(moment + later_milliseconds) == place + (later_milliseconds == 0)


def test_before_the_far_future_is_everything() -> None:
    assert place_before(2**50) == 0
