import msgspec
import pytest

from agents.caching.metadata import LIFE_SECONDS, MetadataCache
from agents.platforms.tiktok.handler import TikTok
from schemas.errors import ClipmillError
from schemas.video import Extraction, VideoInfo, VideoRef
from tests.unit.agents.builders import VIDEO, Clock, make_extraction
from tests.unit.platforms.tiktok.raws import TOKEN, extraction_of


class CountingTikTok(TikTok):
    def __init__(self) -> None:
        super().__init__()
        self.described = 0

    def describe(self, video: VideoRef, extraction: Extraction) -> VideoInfo:
        self.described += 1
        return super().describe(video, extraction)


def test_the_same_page_is_read_once() -> None:
    platform, cache = CountingTikTok(), MetadataCache(Clock())
    first = cache.read(platform, VIDEO, make_extraction())
    again = cache.read(platform, VIDEO, extraction_of(msgspec.json.decode(make_extraction().raw)))
    assert first is again
    assert first == (
        platform.describe(VIDEO, make_extraction()),
        platform.get_media_sources(make_extraction()),
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
def test_another_page_is_read(name: str) -> None:
    platform, cache = CountingTikTok(), MetadataCache(Clock())
    first = cache.read(platform, VIDEO, make_extraction())
    assert cache.read(platform, *OTHERS[name]) != first
    assert platform.described == 2


def test_nothing_is_remembered_for_ever() -> None:
    clock = Clock()
    platform, cache = CountingTikTok(), MetadataCache(clock)
    cache.read(platform, VIDEO, make_extraction())
    clock.now += LIFE_SECONDS
    cache.read(platform, VIDEO, make_extraction())
    assert platform.described == 2


def test_a_failure_is_not_remembered() -> None:
    platform, cache = CountingTikTok(), MetadataCache(Clock())
    for _ in range(2):
        with pytest.raises(ClipmillError):
            cache.read(platform, VIDEO, extraction_of([]))
    assert platform.described == 2
