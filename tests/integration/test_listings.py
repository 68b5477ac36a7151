"""Profiles and collections of TikTok through the real engine, read from the stand-in."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agents.platforms.tiktok.handler import TikTok
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import Listing, ListingRef
from tests.integration.failure_samples import Stage, staged
from tests.standin import video_id
from tests.standin.accounts import posts_from, sec_uid

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("standin")) as stage:
        yield stage


@pytest.fixture
def stage(running: Stage) -> Stage:
    running.standin.reset()
    return running


async def posts_of(stage: Stage, path: str, limit: int, seconds: float = 10) -> Listing:
    listing = TikTok().parse_url(f"https://www.tiktok.com/{path}")
    assert isinstance(listing, ListingRef)
    return await TikTok().get_listing(
        listing, stage.pool, egress="direct", deadline_seconds=seconds, limit=limit
    )


def asked(stage: Stage) -> dict[str, int]:
    return dict(stage.standin.counters.requests)


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
async def test_a_profile(
    name: str, limit: int, found: int, lists: int, *, complete: bool, stage: Stage
) -> None:
    listing = await posts_of(stage, f"@{name}", limit)
    assert [post.id for post in listing.entries] == [
        post.video_id for post in posts_from(name, found, 0, found)
    ]
    assert listing.title == name
    assert listing.complete is complete
    assert asked(stage) == {"profile": 1, "listing": lists}


async def test_a_thousand_posts_of_very_many(stage: Stage) -> None:
    listing = await posts_of(stage, "@sc_profile_4000", 1_000, seconds=30)
    assert len({post.id for post in listing.entries}) == 1_000
    assert asked(stage) == {"profile": 1, "listing": 67}


async def test_a_collection(stage: Stage) -> None:
    number = video_id("collection", param=70)
    listing = await posts_of(stage, f"@anna/collection/%F0%9F%90%88-{number}", 65)
    expected = posts_from(number, 65, 0, 65)
    assert [post.id for post in listing.entries] == [post.video_id for post in expected]
    assert listing.title == "anna-\U0001f408"
    assert not listing.complete
    assert asked(stage) == {"listing": 3}


async def test_posts_of_a_collection_have_their_own_authors(stage: Stage) -> None:
    listing = await posts_of(stage, "@anna/collection/cats-7608826249200356630", 3)
    assert all("/@clip.maker" in post.url for post in listing.entries)


async def test_an_account_without_posts_has_an_empty_list(stage: Stage) -> None:
    listing = await posts_of(stage, "@sc_profile.empty", 20)
    assert (listing.entries, listing.complete) == ((), True)
    assert asked(stage) == {"profile": 1}


async def test_a_challenge_before_a_profile_is_solved(stage: Stage) -> None:
    listing = await posts_of(stage, "@sc_challenge", 5)
    assert len(listing.entries) == 5
    assert asked(stage) == {"profile": 2, "listing": 1}


async def test_a_profile_that_does_not_tell_its_id_is_found_by_its_posts(stage: Stage) -> None:
    assert len((await posts_of(stage, "@sc_profile.shell", 5)).entries) == 5
    assert asked(stage) == {"profile": 1, "embed": 1, "page": 1, "listing": 1}


async def test_the_other_name_of_an_account_needs_no_page(stage: Stage) -> None:
    listing = await posts_of(stage, f"@{sec_uid('anna')}", 5)
    assert [post.id for post in listing.entries] == [
        post.video_id for post in posts_from("anna", 5, 0, 5)
    ]
    assert asked(stage) == {"listing": 1}


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
async def test_refusals_cost_no_detour(
    path: str, code: ErrorCode, requests: dict[str, int], stage: Stage
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await posts_of(stage, path, 20)
    assert caught.value.code is code
    assert asked(stage) == requests


async def test_a_failure_behind_the_posts_that_are_wanted_does_no_harm(stage: Stage) -> None:
    assert len((await posts_of(stage, "@sc_list.same", 15)).entries) == 15
