import msgspec
import pytest

from agents.caching.ttl_lru import BoundedCache
from agents.caching.upload_date import LIFE_SECONDS, UploadDates, size_of
from schemas.listing import ListedPost, Listing
from tests.unit.agents.builders import INFO, PAST, WRITTEN_AT, Clock

KEY = "tiktok:1"
DATED = msgspec.structs.replace(INFO, published_at=PAST)


def dates(clock: Clock | None = None) -> UploadDates:
    store = BoundedCache("upload_date", LIFE_SECONDS, size_of=size_of, clock=clock or Clock())
    return UploadDates(store)


def test_what_is_not_known_stays_open() -> None:
    assert dates().complete(KEY, INFO) is INFO
    assert UploadDates().complete(KEY, INFO) is INFO


def test_a_page_that_tells_it_helps_one_that_does_not() -> None:
    known = dates()
    assert known.complete(KEY, DATED) is DATED
    assert known.complete(KEY, INFO) == DATED
    assert known.complete("tiktok:2", INFO) is INFO


def test_a_listing_that_tells_it_helps_a_page_that_does_not() -> None:
    known = dates()
    known.note(KEY, None)
    assert known.get(KEY) is None
    known.note(KEY, PAST)
    assert known.complete(KEY, INFO) == DATED


def test_pages_and_listings_help_each_other() -> None:
    known = dates()
    known.note("tiktok:2", PAST)
    posts = [ListedPost(id="1", url="u1", published_at=WRITTEN_AT), ListedPost(id="2", url="u2")]
    posts.append(ListedPost(id="3", url="u3"))
    listing = Listing(platform="tiktok", kind="profile", id="a", url="u", entries=tuple(posts))
    found = known.complete_listing(listing)
    assert [post.published_at for post in found.entries] == [WRITTEN_AT, PAST, None]
    assert [post.id for post in found.entries] == ["1", "2", "3"]
    assert known.complete("tiktok:1", INFO).published_at == WRITTEN_AT


def test_what_the_page_says_counts_and_is_remembered() -> None:
    known = dates()
    known.note(KEY, WRITTEN_AT)
    assert known.complete(KEY, DATED) is DATED
    assert known.get(KEY) == PAST


@pytest.mark.parametrize(("age", "is_known"), [(LIFE_SECONDS - 1, True), (LIFE_SECONDS, False)])
def test_it_has_its_life(age: float, is_known: bool) -> None:
    clock = Clock()
    known = dates(clock)
    known.note(KEY, PAST)
    clock.now += age
    assert (known.get(KEY) is not None) is is_known
