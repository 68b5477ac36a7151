"""What is said about URLs that are read for a check; the real engine is in tests/integration."""

import asyncio

import pytest

from agents.engine.interface import EngineFailure, EngineJob, EngineResult, Extractor
from agents.engine_check.canaries import Canaries, Verdict
from agents.network.egress import Egress
from agents.platforms.interface import Platform
from agents.platforms.registry import Platforms
from agents.platforms.streamable.handler import Streamable
from schemas.listing import ListedPost, Listing, ListingRef
from schemas.video import VideoRef
from tests.unit.agents.platforms.doubles import FakeEngine

URL = "https://streamable.com/moo"
RAW = {
    "formats": [{"url": "https://cdn.streamable.com/a"}, {"url": "https://cdn.streamable.com/b"}]
}
WAYS = {name: Egress(name=name) for name in ("a", "b")}


class Lister(Streamable):
    """Reads every link as a profile."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[object] = []

    def parse_url(self, url: str) -> ListingRef:
        return ListingRef(platform="streamable", kind="profile", id="x", url=url)

    async def get_listing(self, listing: ListingRef, engine: object, **how: object) -> Listing:
        del engine
        self.limits.append(how["limit"])
        post = ListedPost(id="1", url=URL)
        return Listing(
            platform="streamable", kind="profile", id="x", url=listing.url, entries=(post,)
        )


def canaries(engine: Extractor, platform: Platform | None = None, at_once: int = 9) -> Canaries:
    return Canaries(
        Platforms([platform or Streamable()]), engine, WAYS, deadline_seconds=7, at_once=at_once
    )


def without_times(verdicts: tuple[Verdict, ...]) -> list[tuple[str, str, str | None, int]]:
    assert all(each.seconds >= 0 for each in verdicts)
    return [(each.url, each.egress, each.error, each.formats) for each in verdicts]


async def test_every_url_is_read_by_every_way_out() -> None:
    engine = FakeEngine(RAW)
    second = f"{URL}2"
    assert without_times(await canaries(engine).read([URL, second])) == [
        (URL, "a", None, 2),
        (URL, "b", None, 2),
        (second, "a", None, 2),
        (second, "b", None, 2),
    ]
    assert {(job.egress, job.deadline_seconds) for job in engine.jobs} == {("a", 7), ("b", 7)}


@pytest.mark.parametrize(
    ("url", "error", "reason"),
    [
        (URL, "network.server", "Streamable's servers failed"),
        ("https://example.com/1", "content.unsupported", "no platform is responsible"),
        ("nonsense", "request.invalid", "its scheme is missing"),
    ],
)
async def test_what_fails_is_told(url: str, error: str, reason: str) -> None:
    engine = FakeEngine(failure=EngineFailure(types=("HTTPError",), message="", status=503))
    first, _ = await canaries(engine).read([url])
    assert (first.error, first.formats) == (error, 0)
    assert reason in str(first.reason)


async def test_one_post_of_a_listing_is_enough() -> None:
    lister = Lister()
    first, _ = await canaries(FakeEngine(), lister).read([URL])
    assert (first.error, first.formats) == (None, 1)
    assert lister.limits == [1, 1]


class Buggy(Streamable):
    """A platform with a mistake in it."""

    def parse_url(self, url: str) -> VideoRef:
        raise ZeroDivisionError(url)


async def test_a_mistake_in_a_platform_is_one_verdict() -> None:
    first, second = await canaries(FakeEngine(), Buggy()).read([URL])
    assert (first.error, second.error) == ("internal.bug", "internal.bug")
    assert first.reason == f"ZeroDivisionError: {URL}"


class Counting(FakeEngine):
    """Counts how many jobs there are at a time."""

    now = most = 0

    async def extract(self, job: EngineJob) -> EngineResult:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return await super().extract(job)


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (3, 3), (99, 10)])
async def test_no_more_are_read_at_a_time_than_the_engine_takes(at_once: int, most: int) -> None:
    engine = Counting(RAW)
    await canaries(engine, at_once=at_once).read([URL] * 5)
    assert (engine.most, len(engine.jobs)) == (most, 10)
