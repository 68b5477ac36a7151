import msgspec
import pytest

from agents.caching.ttl_lru import BoundedCache
from agents.caching.upload_date import TTL_SECONDS, UploadDates, size_of
from schemas.listing import ListedPost, Listing
from tests.unit.agents.builders import INFO, PAST, WRITTEN_AT, Clock

KEY = "tiktok:1"
DATED = msgspec.structs.replace(INFO, published_at=PAST)


def dates(clock: Clock | None = None) -> UploadDates:
    store = BoundedCache("upload_date", TTL_SECONDS, size_of=size_of, clock=clock or Clock())
    return UploadDates(store)


def test_unknown_date_stays_empty() -> None:
    assert dates().complete(KEY, INFO) is INFO
    assert UploadDates().complete(KEY, INFO) is INFO


def test_date_of_one_page_completes_another() -> None:
    known = dates()
    assert known.complete(KEY, DATED) is DATED
    assert known.complete(KEY, INFO) == DATED
    assert known.complete("tiktok:2", INFO) is INFO


def test_date_of_a_listing_completes_a_page() -> None:
    known = dates()
    known.put(KEY, None)
    assert known.get(KEY) is None
    known.put(KEY, PAST)
    assert known.complete(KEY, INFO) == DATED


def test_pages_and_listings_complete_each_other() -> None:
    known = dates()
    known.put("tiktok:2", PAST)
    posts = [ListedPost(id="1", url="u1", published_at=WRITTEN_AT), ListedPost(id="2", url="u2")]
    posts.append(ListedPost(id="3", url="u3"))
    listing = Listing(platform="tiktok", kind="profile", id="a", url="u", entries=tuple(posts))
    found = known.complete_listing(listing)
    assert [post.published_at for post in found.entries] == [WRITTEN_AT, PAST, None]
    assert [post.id for post in found.entries] == ["1", "2", "3"]
    assert known.complete("tiktok:1", INFO).published_at == WRITTEN_AT


def test_date_of_the_page_takes_precedence_and_is_cached() -> None:
    known = dates()
    known.put(KEY, WRITTEN_AT)
    assert known.complete(KEY, DATED) is DATED
    assert known.get(KEY) == PAST


@pytest.mark.parametrize(("age", "is_known"), [(TTL_SECONDS - 1, True), (TTL_SECONDS, False)])
def test_date_expires_after_its_ttl(age: float, is_known: bool) -> None:
    clock = Clock()
    known = dates(clock)
    known.put(KEY, PAST)
    clock.now += age
    assert (known.get(KEY) is not None) is is_known
