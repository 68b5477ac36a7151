import msgspec
import pytest

from agents.caching.metadata import TTL_SECONDS, MetadataCache, Page, digest_of, size_of
from agents.caching.ttl_lru import BoundedCache
from agents.platforms.tiktok.handler import TikTok
from schemas.errors import ClipmillError
from schemas.video import Extraction, MediaSource, VideoInfo, VideoRef
from tests.unit.agents.builders import VIDEO, Clock, make_extraction
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
    assert first == Page(
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
    fewer = Page(page.info, page.sources[:1], page.digest)
    assert size_of(("", b""), page) > size_of(("", b""), fewer) > 0
