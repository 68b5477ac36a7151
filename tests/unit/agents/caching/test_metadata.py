import msgspec
import pytest

from agents.caching.metadata import (
    DATES_TTL_SECONDS,
    TTL_SECONDS,
    MetadataCache,
    PageMetadata,
    UploadDates,
    digest_of,
    size_of,
    size_of_date,
)
from agents.caching.ttl_lru import BoundedCache
from agents.platforms.tiktok.handler import TikTok
from schemas.errors import ClipmillError
from schemas.listing import ListedPost, Listing
from schemas.video import Extraction, MediaSource, VideoInfo, VideoRef
from tests.unit.agents.builders import INFO, PAST, VIDEO, WRITTEN_AT, Clock, make_extraction
from tests.unit.agents.platforms.tiktok.extractions import TOKEN, extraction_of


class CountingTikTok(TikTok):
    def __init__(self) -> None:
        super().__init__()
        self.described = 0

    def describe(
        self, video: VideoRef, extraction: Extraction, sources: tuple[MediaSource, ...]
    ) -> VideoInfo:
        self.described += 1
        return super().describe(video, extraction, sources)


def make_cache(clock: Clock | None = None) -> MetadataCache:
    store = BoundedCache("metadata", TTL_SECONDS, size_of=size_of, clock=clock or Clock())
    return MetadataCache(store)


def test_same_page_is_parsed_once() -> None:
    platform, cache = CountingTikTok(), make_cache()
    first = cache.read(platform, VIDEO, make_extraction())
    again = cache.read(platform, VIDEO, extraction_of(msgspec.json.decode(make_extraction().raw)))
    assert first is again
    assert first == PageMetadata(
        platform.describe(VIDEO, make_extraction(), platform.get_media_sources(make_extraction())),
        platform.get_media_sources(make_extraction()),
        digest_of(make_extraction()),
    )
    assert platform.described == 2


OTHERS = {
    "page": (VIDEO, extraction_of({"formats": []})),
    "video": (msgspec.structs.replace(VIDEO, url=f"{VIDEO.url}1", id="1"), make_extraction()),
    "cookies": (
        VIDEO,
        msgspec.structs.replace(
            make_extraction(), cookies=(msgspec.structs.replace(TOKEN, value="fresh"),)
        ),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_page_is_parsed(name: str) -> None:
    platform, cache = CountingTikTok(), make_cache()
    first = cache.read(platform, VIDEO, make_extraction())
    assert cache.read(platform, *OTHERS[name]) != first
    assert platform.described == 2


@pytest.mark.parametrize(("age", "described"), [(TTL_SECONDS - 1, 1), (TTL_SECONDS, 2)])
def test_page_expires_after_its_ttl(age: float, described: int) -> None:
    clock = Clock()
    platform, cache = CountingTikTok(), make_cache(clock)
    cache.read(platform, VIDEO, make_extraction())
    clock.now += age
    cache.read(platform, VIDEO, make_extraction())
    assert platform.described == described


def test_failure_is_not_cached() -> None:
    platform, cache = CountingTikTok(), make_cache()
    for _ in range(2):
        with pytest.raises(ClipmillError):
            cache.read(platform, VIDEO, extraction_of([]))
    assert platform.described == 0
    cache.read(platform, VIDEO, make_extraction())
    assert platform.described == 1


def test_size_of_a_page_depends_on_its_files() -> None:
    page = make_cache().read(TikTok(), VIDEO, make_extraction())
    fewer = PageMetadata(page.info, page.sources[:1], page.digest)
    assert size_of(("", b""), page) > size_of(("", b""), fewer) > 0


KEY = "tiktok:1"
DATED = msgspec.structs.replace(INFO, published_at=PAST)


def dates(clock: Clock | None = None) -> UploadDates:
    store = BoundedCache(
        "upload_date", DATES_TTL_SECONDS, size_of=size_of_date, clock=clock or Clock()
    )
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


@pytest.mark.parametrize(
    ("age", "is_known"), [(DATES_TTL_SECONDS - 1, True), (DATES_TTL_SECONDS, False)]
)
def test_date_expires_after_its_ttl(age: float, is_known: bool) -> None:
    clock = Clock()
    known = dates(clock)
    known.put(KEY, PAST)
    clock.now += age
    assert (known.get(KEY) is not None) is is_known
