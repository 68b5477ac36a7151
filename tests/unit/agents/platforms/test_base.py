from datetime import UTC, datetime
from typing import Any

import pytest

from agents.engine.interface import EngineFailure, EngineJob
from agents.platforms.base import BasePlatform
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities, Target
from agents.platforms.urls import parse_link
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef
from schemas.video import Cookie, Extraction, VideoRef
from tests.unit.agents.platforms.doubles import VERSIONS, FakeAccount, FakeEngine

VIDEO = VideoRef(platform="mine", id="a1", url="https://mine.example/a1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = Cookie(name="page", value="1", domain=".mine.example")
SESSION = Cookie(name="session", value="secret", domain=".mine.example")
NEW_SESSION = Cookie(name="session", value="fresh", domain=".mine.example")
MEDIA = Cookie(name="media", value="2", domain=".mine.example")
FIELDS = {"id": "1", "url": "https://cdn.mine.example/1.mp4", "ext": "mp4"}
CAPABILITIES = Capabilities(
    name="mine",
    page_hosts=("mine.example",),
    link_hosts=(),
    media_hosts=(".mine.example",),
    extractors=("yt-dlp:Mine", "yt-dlp:Other"),
)


class Mine(BasePlatform):
    """The least that a platform implements."""

    capabilities = CAPABILITIES
    site = "Mine"
    failures = failure_table("Mine")

    def parse_url(self, url: str) -> Target:
        link = parse_link(url, known_hosts=("mine.example",))
        return VideoRef(platform="mine", id=link.path[1:], url=link.url)


class MineWithMediaCookie(Mine):
    account_cookies = frozenset({"media"})


def platform(kind: type[Mine] = Mine) -> Mine:
    return kind(lambda: NOW)


async def read(
    engine: FakeEngine, *, account: FakeAccount | None = None, kind: type[Mine] = Mine
) -> Extraction:
    return await platform(kind).get_video_info(
        VIDEO, engine, egress="a", deadline_seconds=7, account=account
    )


async def test_first_extractor_is_run_and_its_result_returned() -> None:
    engine = FakeEngine(FIELDS, cookies=(PAGE,))
    found = await read(engine)
    assert engine.jobs == [
        EngineJob(url=VIDEO.url, extractor="yt-dlp:Mine", deadline_seconds=7, egress="a")
    ]
    assert b'"id":"1"' in bytes(found.raw)
    assert (found.engine, found.extracted_at, found.cookies) == (VERSIONS, NOW, (PAGE,))


async def test_failure_is_mapped_by_the_failure_table() -> None:
    engine = FakeEngine(failure=EngineFailure(types=("HTTPError",), message="no luck", status=404))
    with pytest.raises(ClipmillError, match="Mine video a1: ") as caught:
        await read(engine)
    assert caught.value.code is ErrorCode.CONTENT_NOT_FOUND
    assert caught.value.__suppress_context__


async def test_page_without_a_file_is_an_error() -> None:
    with pytest.raises(ClipmillError, match="Mine video a1: ") as caught:
        await read(FakeEngine({"id": "1"}))
    assert caught.value.code is ErrorCode.CONTENT_NO_FORMATS


@pytest.mark.parametrize(
    "result",
    [
        {**FIELDS, "_type": "url", "url": "https://cdn.mine.example/another-page"},
        {**FIELDS, "_type": "url_transparent"},
        {"_type": "playlist", "entries": [FIELDS]},
    ],
)
async def test_result_that_is_no_single_video_is_unsupported(result: dict[str, Any]) -> None:
    with pytest.raises(ClipmillError, match="mine video a1: its page ") as caught:
        await read(FakeEngine(result))
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


@pytest.mark.parametrize(
    "set_by_page", [(), (PAGE,), (PAGE, SESSION), (PAGE, NEW_SESSION)], ids=len
)
async def test_cookies_set_for_an_account_are_not_returned(set_by_page: tuple[Cookie, ...]) -> None:
    engine = FakeEngine(FIELDS, cookies=set_by_page)
    found = await read(engine, account=FakeAccount(SESSION))
    assert engine.jobs[0].cookies == (SESSION,)
    assert found.cookies == ()


async def test_cookies_of_media_hosts_are_returned_for_an_account() -> None:
    engine = FakeEngine(FIELDS, cookies=(SESSION, MEDIA))
    found = await read(engine, account=FakeAccount(SESSION), kind=MineWithMediaCookie)
    assert found.cookies == (MEDIA,)


async def test_extraction_time_defaults_to_now() -> None:
    mine = Mine()
    found = await mine.get_video_info(VIDEO, FakeEngine(FIELDS), egress="a", deadline_seconds=7)
    assert found.extracted_at > NOW


async def test_listings_are_not_supported() -> None:
    listing = ListingRef(platform="mine", kind="profile", id="a", url="https://mine.example/@a")
    with pytest.raises(ClipmillError, match="Mine has no listings") as caught:
        await platform().get_listing(
            listing, FakeEngine({}), egress="a", deadline_seconds=7, limit=3
        )
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


@pytest.mark.parametrize(
    ("url", "is_valid"),
    [
        ("https://mine.example/a1", True),
        ("https://www.mine.example/a1", False),
        ("https://other.example/a1", False),
        ("nonsense", False),
    ],
)
def test_url_is_valid_on_the_page_hosts_only(url: str, is_valid: bool) -> None:
    assert platform().is_valid_url(url) is is_valid
