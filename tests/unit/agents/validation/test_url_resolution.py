from typing import Any

import pytest

from agents.platforms.interface import ShortLink, Target
from agents.platforms.registry import Platforms
from agents.validation.url_resolution import NoLinkError, TargetFinder, check_wish, event_of
from schemas.errors import ErrorCode
from schemas.events import ValidatedListing, ValidatedVideo
from schemas.job import Job
from schemas.listing import ListingRef
from schemas.request import Options
from tests.unit.agents.builders import URL, VIDEO, FakeLinks, make_gate, make_job, member_job

PROFILE = ListingRef(
    platform="tiktok", kind="profile", id="name", url="https://www.tiktok.com/@name"
)


class Lists:
    """A platform whose every link is what a test says."""

    def __init__(self, target: Target | ShortLink) -> None:
        self.target = target

    def find(self, _text: object) -> tuple["Lists", Target | ShortLink]:
        return self, self.target

    def get_capabilities(self) -> Any:
        return Platforms.load().by_name("tiktok").get_capabilities()


async def find(
    target: Target | ShortLink, job: Job, *, links: Any = None, alone: bool = True
) -> Target | None:
    platforms: Any = Lists(target)
    ways = {"direct": links or FakeLinks()}
    return await TargetFinder(platforms, ways, make_gate("resolve")).find(job, URL, alone=alone)


@pytest.mark.parametrize(
    ("job", "target"),
    [
        pytest.param(make_job(), VIDEO, id="a post is downloaded"),
        pytest.param(make_job(action="info"), VIDEO, id="a post is described"),
        pytest.param(make_job(action="list"), PROFILE, id="a profile is listed"),
        pytest.param(member_job(action="list"), PROFILE, id="also as a member"),
        pytest.param(make_job(options=Options(limit=3)), PROFILE, id="its first posts"),
        pytest.param(make_job(options=Options(limit=3)), VIDEO, id="a limit harms no post"),
    ],
)
async def test_what_fits_is_taken(job: Job, target: Target) -> None:
    assert await find(target, job) == target


@pytest.mark.parametrize(
    ("job", "target", "words"),
    [
        pytest.param(make_job(action="list"), VIDEO, "nothing to list", id="a post has no list"),
        pytest.param(make_job(), PROFILE, "options.limit", id="no bound"),
        pytest.param(make_job(action="info"), PROFILE, "options.limit", id="no bound for info"),
        pytest.param(
            member_job(options=Options(limit=3)), PROFILE, "member of a batch", id="in a batch"
        ),
    ],
)
async def test_what_does_not_fit_is_refused_with_advice(
    job: Job, target: Target, words: str
) -> None:
    with pytest.raises(NoLinkError) as caught:
        await find(target, job)
    assert caught.value.reason.code is ErrorCode.REQUEST_INVALID
    assert words in caught.value.reason.details["reason"]


async def test_attributes_are_not_copied_into_a_flood() -> None:
    attributes = {f"name-{n}": "x" * 1_000 for n in range(10)}
    wanted = make_job(options=Options(limit=1_000), attributes=attributes)
    with pytest.raises(NoLinkError, match=r"request\.too_large") as caught:
        await find(PROFILE, wanted)
    assert caught.value.reason.details["field"] == "$.attributes"
    few = make_job(options=Options(limit=100), attributes=attributes)
    assert await find(PROFILE, few) == PROFILE
    listed = make_job(action="list", options=Options(limit=1_000), attributes=attributes)
    assert await find(PROFILE, listed) == PROFILE


async def test_a_short_link_to_a_profile_is_held_to_the_same() -> None:
    links: Any = FakeLinks()
    links.found = PROFILE
    short = ShortLink(url="https://vm.tiktok.com/ZMabc123/")
    with pytest.raises(NoLinkError):
        await find(short, make_job(), links=links)
    assert await find(short, make_job(action="list"), links=links) == PROFILE


async def test_a_short_link_in_company_is_found_later() -> None:
    assert await find(ShortLink(url="https://vm.tiktok.com/a/"), make_job(), alone=False) is None


def test_events() -> None:
    job = make_job()
    assert event_of(job, VIDEO) == ValidatedVideo(job=job, video=VIDEO)
    assert event_of(job, PROFILE) == ValidatedListing(job=job, listing=PROFILE)


@pytest.mark.parametrize("kind", ["profile", "collection", "playlist"])
def test_a_refusal_names_the_kind(kind: Any) -> None:
    listing = ListingRef(platform="tiktok", kind=kind, id="x", url=URL)
    with pytest.raises(NoLinkError, match=kind):
        check_wish(make_job(), listing)
