"""Results of the canary check; the real engine is in tests/integration."""

import asyncio

import pytest

from agents.engine.interface import EngineFailure, EngineJob, EngineResult, Extractor
from agents.engine_check import Canaries, CanaryResult
from agents.network.egress import Egress
from agents.platforms.base import BasePlatform
from agents.platforms.interface import Platform
from agents.platforms.registry import Platforms
from agents.platforms.streamable import Streamable
from schemas.listing import ListedPost, Listing, ListingRef
from schemas.video import VideoRef
from tests.unit.agents.platforms.doubles import FakeEngine

URL = "https://streamable.com/moo"
RAW = {
    "formats": [{"url": "https://cdn.streamable.com/a"}, {"url": "https://cdn.streamable.com/b"}]
}
EGRESSES = {name: Egress(name=name) for name in ("a", "b")}


class ListingPlatform(BasePlatform):
    """A platform that parses every URL as a profile."""

    site = Streamable.site
    capabilities = Streamable.capabilities
    failures = Streamable.failures

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[object] = []

    def parse_url(self, url: str) -> ListingRef:
        return ListingRef(platform="streamable", kind="profile", id="x", url=url)

    async def get_listing(self, listing: ListingRef, engine: object, **fields: object) -> Listing:
        del engine
        self.limits.append(fields["limit"])
        post = ListedPost(id="1", url=URL)
        return Listing(
            platform="streamable", kind="profile", id="x", url=listing.url, entries=(post,)
        )


def canaries(engine: Extractor, platform: Platform | None = None, concurrency: int = 9) -> Canaries:
    return Canaries(
        Platforms([platform or Streamable()]),
        engine,
        EGRESSES,
        deadline_seconds=7,
        concurrency=concurrency,
    )


def without_times(results: tuple[CanaryResult, ...]) -> list[tuple[str, str, str | None, int]]:
    assert all(each.seconds >= 0 for each in results)
    return [(each.url, each.egress, each.error, each.formats) for each in results]


async def test_every_url_is_read_over_every_egress() -> None:
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
        ("https://example.com/1", "content.unsupported", "no platform has the host"),
        ("nonsense", "request.invalid", "its scheme is missing"),
    ],
)
async def test_failure_is_reported_with_its_reason(url: str, error: str, reason: str) -> None:
    engine = FakeEngine(failure=EngineFailure(types=("HTTPError",), message="", status=503))
    first, _ = await canaries(engine).read([url])
    assert (first.error, first.formats) == (error, 0)
    assert reason in str(first.reason)


async def test_listing_is_read_up_to_one_post() -> None:
    platform = ListingPlatform()
    first, _ = await canaries(FakeEngine(), platform).read([URL])
    assert (first.error, first.formats) == (None, 1)
    assert platform.limits == [1, 1]


class BuggyPlatform(Streamable):
    """A platform with a bug."""

    def parse_url(self, url: str) -> VideoRef:
        raise ZeroDivisionError(url)


async def test_bug_in_a_platform_is_one_result() -> None:
    first, second = await canaries(FakeEngine(), BuggyPlatform()).read([URL])
    assert (first.error, second.error) == ("internal.bug", "internal.bug")
    assert first.reason == f"ZeroDivisionError: {URL}"


class ConcurrencyRecorder(FakeEngine):
    """Records the maximum number of concurrent jobs."""

    running = running_max = 0

    async def extract(self, job: EngineJob) -> EngineResult:
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return await super().extract(job)


@pytest.mark.parametrize(("concurrency", "running_max"), [(1, 1), (3, 3), (99, 10)])
async def test_concurrency_is_bounded_by_the_engine(concurrency: int, running_max: int) -> None:
    engine = ConcurrencyRecorder(RAW)
    await canaries(engine, concurrency=concurrency).read([URL] * 5)
    assert (engine.running_max, len(engine.jobs)) == (running_max, 10)
