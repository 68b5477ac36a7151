"""Profiles and collections of TikTok through the real engine, read from the stand-in."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agents.platforms.tiktok.handler import TikTok
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import Listing, ListingRef
from tests.integration.failure_samples import EngineHarness, engine_harness
from tests.standin import video_id
from tests.standin.accounts import posts_from, sec_uid

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineHarness]:
    async with engine_harness(tmp_path_factory.mktemp("standin")) as harness:
        yield harness


@pytest.fixture
def harness(shared_harness: EngineHarness) -> EngineHarness:
    shared_harness.standin.reset()
    return shared_harness


async def listing_of(harness: EngineHarness, path: str, limit: int, seconds: float = 10) -> Listing:
    listing = TikTok().parse_url(f"https://www.tiktok.com/{path}")
    assert isinstance(listing, ListingRef)
    return await TikTok().get_listing(
        listing, harness.pool, egress="direct", deadline_seconds=seconds, limit=limit
    )


def request_counts(harness: EngineHarness) -> dict[str, int]:
    return dict(harness.standin.counters.requests)


@pytest.mark.parametrize(
    ("name", "limit", "found", "lists", "complete"),
    [
        pytest.param("anna", 100, 25, 2, True, id="all"),
        pytest.param("anna", 20, 20, 2, False, id="some"),
        pytest.param("anna", 25, 25, 2, True, id="just all"),
        pytest.param("sc_profile_15", 15, 15, 1, True, id="just one page"),
        pytest.param("sc_profile_16", 15, 15, 1, False, id="one page of two"),
        pytest.param("sc_profile_4000", 3, 3, 1, False, id="few of very many"),
    ],
)
async def test_profile_listing_returns_its_posts(
    name: str, limit: int, found: int, lists: int, *, complete: bool, harness: EngineHarness
) -> None:
    listing = await listing_of(harness, f"@{name}", limit)
    assert [post.id for post in listing.entries] == [
        post.video_id for post in posts_from(name, found, 0, found)
    ]
    assert listing.title == name
    assert listing.complete is complete
    assert request_counts(harness) == {"profile": 1, "listing": lists}


async def test_listing_of_1000_posts(harness: EngineHarness) -> None:
    listing = await listing_of(harness, "@sc_profile_4000", 1_000, seconds=30)
    assert len({post.id for post in listing.entries}) == 1_000
    assert request_counts(harness) == {"profile": 1, "listing": 67}


async def test_collection_listing_returns_its_posts(harness: EngineHarness) -> None:
    number = video_id("collection", param=70)
    listing = await listing_of(harness, f"@anna/collection/%F0%9F%90%88-{number}", 65)
    expected = posts_from(number, 65, 0, 65)
    assert [post.id for post in listing.entries] == [post.video_id for post in expected]
    assert listing.title == "anna-\U0001f408"
    assert not listing.complete
    assert request_counts(harness) == {"listing": 3}


async def test_collection_posts_have_their_own_authors(harness: EngineHarness) -> None:
    listing = await listing_of(harness, "@anna/collection/cats-7608826249200356630", 3)
    assert all("/@clip.maker" in post.url for post in listing.entries)


async def test_account_without_posts_has_an_empty_listing(harness: EngineHarness) -> None:
    listing = await listing_of(harness, "@sc_profile.empty", 20)
    assert (listing.entries, listing.complete) == ((), True)
    assert request_counts(harness) == {"profile": 1}


async def test_challenge_of_a_profile_page_is_solved(harness: EngineHarness) -> None:
    listing = await listing_of(harness, "@sc_challenge", 5)
    assert len(listing.entries) == 5
    assert request_counts(harness) == {"profile": 2, "listing": 1}


async def test_profile_page_without_id_is_resolved_through_its_posts(
    harness: EngineHarness,
) -> None:
    assert len((await listing_of(harness, "@sc_profile.shell", 5)).entries) == 5
    assert request_counts(harness) == {"profile": 1, "embed": 1, "page": 1, "listing": 1}


async def test_sec_uid_needs_no_profile_page(harness: EngineHarness) -> None:
    listing = await listing_of(harness, f"@{sec_uid('anna')}", 5)
    assert [post.id for post in listing.entries] == [
        post.video_id for post in posts_from("anna", 5, 0, 5)
    ]
    assert request_counts(harness) == {"listing": 1}


@pytest.mark.parametrize(
    ("path", "code", "requests"),
    [
        ("@sc_profile.missing", ErrorCode.CONTENT_NOT_FOUND, {"profile": 1}),
        ("@sc_profile.private", ErrorCode.CONTENT_PRIVATE, {"profile": 1}),
        ("@sc_profile.hidden", ErrorCode.CONTENT_PRIVATE, {"profile": 1, "listing": 1}),
        ("@sc_page.404", ErrorCode.CONTENT_NOT_FOUND, {"profile": 1}),
        ("@sc_page.429", ErrorCode.RATE_LIMIT_API, {"profile": 1}),
        ("@sc_page.503", ErrorCode.NETWORK_SERVER, {"profile": 1}),
        ("@sc_login", ErrorCode.CONTENT_LOGIN_REQUIRED, {"profile": 1, "other": 1}),
        ("@sc_captcha", ErrorCode.RATE_LIMIT_IP_BLOCK, {"profile": 1}),
        ("@sc_challenge.none", ErrorCode.RATE_LIMIT_IP_BLOCK, {"profile": 1}),
        ("@sc_challenge.again", ErrorCode.RATE_LIMIT_IP_BLOCK, {"profile": 2}),
        ("@sc_notfound", ErrorCode.CONTENT_NOT_FOUND, {"profile": 1, "other": 1}),
        ("@sc_list.429", ErrorCode.RATE_LIMIT_API, {"profile": 1, "listing": 1}),
        ("@sc_list.nothing", ErrorCode.RATE_LIMIT_API, {"profile": 1, "listing": 1}),
        ("@sc_list.same", ErrorCode.NETWORK_SERVER, {"profile": 1, "listing": 2}),
        ("@sc_list.status", ErrorCode.CONTENT_PRIVATE, {"profile": 1, "listing": 1}),
        (
            f"@anna/collection/cats-{video_id('list.status', param=10002)}",
            ErrorCode.PLATFORM_CHANGED,
            {"listing": 1},
        ),
    ],
)
async def test_failed_listing_causes_no_further_requests(
    path: str, code: ErrorCode, requests: dict[str, int], harness: EngineHarness
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await listing_of(harness, path, 20)
    assert caught.value.code is code
    assert request_counts(harness) == requests


async def test_failure_after_the_requested_posts_is_ignored(harness: EngineHarness) -> None:
    assert len((await listing_of(harness, "@sc_list.same", 15)).entries) == 15
