from typing import Any

import pytest

from agents.platforms.interface import ShortLink, Target
from agents.platforms.registry import Platforms
from agents.validation.url_resolution import TargetFinder, UnusableUrlError, check_action, event_of
from schemas.errors import ErrorCode
from schemas.events import ValidatedListing, ValidatedVideo
from schemas.job import Job
from schemas.listing import ListingRef
from schemas.request import Options
from tests.unit.agents.builders import URL, VIDEO, FakeLinks, make_gate, make_job, member_job

PROFILE = ListingRef(
    platform="tiktok", kind="profile", id="name", url="https://www.tiktok.com/@name"
)


class FixedPlatforms:
    """Platforms that find the same target for every text."""

    def __init__(self, target: Target | ShortLink) -> None:
        self.target = target

    def find(self, _text: object) -> tuple["FixedPlatforms", Target | ShortLink]:
        return self, self.target

    def get_capabilities(self) -> Any:
        return Platforms.load().by_name("tiktok").get_capabilities()


async def find_target(
    target: Target | ShortLink, job: Job, *, links: Any = None, alone: bool = True
) -> Target | None:
    platforms: Any = FixedPlatforms(target)
    resolvers = {"direct": links or FakeLinks()}
    return await TargetFinder(platforms, resolvers, make_gate("resolve")).find(
        job, URL, alone=alone
    )


@pytest.mark.parametrize(
    ("job", "target"),
    [
        pytest.param(make_job(), VIDEO, id="a post is downloaded"),
        pytest.param(make_job(action="info"), VIDEO, id="a post is described"),
        pytest.param(make_job(action="list"), PROFILE, id="a profile is listed"),
        pytest.param(member_job(action="list"), PROFILE, id="a profile is listed in a batch"),
        pytest.param(make_job(options=Options(limit=3)), PROFILE, id="a profile with a limit"),
        pytest.param(make_job(options=Options(limit=3)), VIDEO, id="a limit is ignored for a post"),
    ],
)
async def test_supported_target_is_accepted(job: Job, target: Target) -> None:
    assert await find_target(target, job) == target


@pytest.mark.parametrize(
    ("job", "target", "reason"),
    [
        pytest.param(
            make_job(action="list"), VIDEO, "nothing to list", id="a post cannot be listed"
        ),
        pytest.param(make_job(), PROFILE, "options.limit", id="no limit"),
        pytest.param(make_job(action="info"), PROFILE, "options.limit", id="no limit for info"),
        pytest.param(
            member_job(options=Options(limit=3)), PROFILE, "member of a batch", id="in a batch"
        ),
    ],
)
async def test_unsupported_target_is_rejected_with_a_reason(
    job: Job, target: Target, reason: str
) -> None:
    with pytest.raises(UnusableUrlError) as caught:
        await find_target(target, job)
    assert caught.value.reason.code is ErrorCode.REQUEST_INVALID
    assert reason in caught.value.reason.details["reason"]


async def test_attributes_copied_to_all_members_are_bounded() -> None:
    attributes = {f"name-{n}": "x" * 1_000 for n in range(10)}
    many = make_job(options=Options(limit=1_000), attributes=attributes)
    with pytest.raises(UnusableUrlError, match=r"request\.too_large") as caught:
        await find_target(PROFILE, many)
    assert caught.value.reason.details["field"] == "$.attributes"
    few = make_job(options=Options(limit=100), attributes=attributes)
    assert await find_target(PROFILE, few) == PROFILE
    listed = make_job(action="list", options=Options(limit=1_000), attributes=attributes)
    assert await find_target(PROFILE, listed) == PROFILE


async def test_short_link_to_a_profile_is_checked_alike() -> None:
    links: Any = FakeLinks()
    links.found = PROFILE
    short = ShortLink(url="https://vm.tiktok.com/ZMabc123/")
    with pytest.raises(UnusableUrlError):
        await find_target(short, make_job(), links=links)
    assert await find_target(short, make_job(action="list"), links=links) == PROFILE


async def test_short_link_of_a_batch_is_resolved_later() -> None:
    assert (
        await find_target(ShortLink(url="https://vm.tiktok.com/a/"), make_job(), alone=False)
        is None
    )


def test_event_of_a_target() -> None:
    job = make_job()
    assert event_of(job, VIDEO) == ValidatedVideo(job=job, video=VIDEO)
    assert event_of(job, PROFILE) == ValidatedListing(job=job, listing=PROFILE)


@pytest.mark.parametrize("kind", ["profile", "collection", "playlist"])
def test_rejection_names_the_kind_of_listing(kind: Any) -> None:
    listing = ListingRef(platform="tiktok", kind=kind, id="x", url=URL)
    with pytest.raises(UnusableUrlError, match=kind):
        check_action(make_job(), listing)
