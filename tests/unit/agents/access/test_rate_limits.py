"""RateLimits: the limits of the settings, the adapted rate, and the share of this worker."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.access.rate_limits import ONE_REQUEST, RATE_LIMITED, Cost, RateLimits
from agents.resilience.rate_limiter import RateLimitExceededError
from schemas.attempts import Operation
from schemas.codec import encode
from schemas.errors import Endpoint
from schemas.signals import RATE, RateState
from streams.observability.metrics import REGISTRY
from streams.settings import LimitSettings
from tests.unit.agents.builders import make_context, make_settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEN: dict[str, Any] = {"default_requests_per_second": 10}


def make_endpoint(
    operation: Operation = "extract", platform: str = "tiktok", egress: str = "a"
) -> Endpoint:
    return Endpoint(platform=platform, operation=operation, egress=egress)


class RateLimitsHarness:
    def __init__(self, operation: Operation = "extract", share: float = 1.0, **limits: Any) -> None:
        settings = make_settings(limits=LimitSettings(**{**TEN, **limits}))
        context, _ = make_context(settings)
        self.share = share
        self.context = type(context)(
            settings=settings,
            tables={},
            publish_best_effort=context.publish_best_effort,
            shared_state=context.shared_state,
            intake=context.intake,
            partition_share=lambda: self.share,
        )
        self.rate_limits = RateLimits(operation, self.context, clock=lambda: NOW)

    def set_rate(
        self, rate: float | None, endpoint: Endpoint | None = None, **changes: Any
    ) -> None:
        endpoint = endpoint or make_endpoint()
        state = RateState(
            platform=endpoint.platform,
            operation=endpoint.operation,
            egress=endpoint.egress,
            requests_per_second=rate,
            since=NOW,
            **changes,
        )
        self.context.shared_state.put(f"{RATE}{state.name}", encode(state))

    async def admitted_count(self, count: int, endpoint: Endpoint | None = None) -> int:
        """Return how many of ``count`` calls are admitted without a wait."""
        admitted = 0
        for _ in range(count):
            try:
                async with asyncio.timeout(0.005), self.acquire(endpoint or make_endpoint()):
                    admitted += 1
            except TimeoutError:
                break
        return admitted

    def acquire(self, endpoint: Endpoint, cost: Cost = ONE_REQUEST) -> Any:
        return self.rate_limits.acquire(endpoint, requeued=False, cost=cost)


def metric(name: str, operation: str = "extract", platform: str = "tiktok") -> float | None:
    labels = {"platform": platform, "operation": operation, "egress": "a"}
    return REGISTRY.get_sample_value(f"clipmill_{name}", labels)


async def test_pages_and_links_are_rate_limited_and_files_are_not() -> None:
    assert frozenset({"resolve", "extract"}) == RATE_LIMITED
    assert await RateLimitsHarness().admitted_count(20) < 5
    assert await RateLimitsHarness("resolve").admitted_count(20, make_endpoint("resolve")) < 5
    assert await RateLimitsHarness("download").admitted_count(20, make_endpoint("download")) == 20


async def test_each_platform_and_egress_has_its_own_limiter() -> None:
    harness = RateLimitsHarness(requests_per_second={"tiktok": 0.1, "other": 1e6})
    assert await harness.admitted_count(3) == 1
    assert await harness.admitted_count(3, make_endpoint(egress="b")) == 1
    assert await harness.admitted_count(20, make_endpoint(platform="other")) == 20
    assert await harness.admitted_count(3, make_endpoint(platform="third")) == 1


@pytest.mark.parametrize(
    ("share", "rate", "allowed"),
    [(1.0, None, 10), (0.25, None, 2.5), (1.0, 4.0, 4), (0.5, 4.0, 2), (1.0, 99.0, 10), (0, 4, 0)],
)
async def test_worker_gets_its_share_of_the_allowed_rate(
    share: float, rate: float | None, allowed: float
) -> None:
    harness = RateLimitsHarness(share=share)
    harness.set_rate(rate)
    await harness.admitted_count(1)
    assert metric("rate_limit_per_second") == 10
    assert metric("rate_allowed_per_second") == allowed
    harness.share = 1.0
    assert metric("rate_allowed_per_second") == min(10, rate or 10)


async def test_rate_of_another_egress_or_operation_does_not_apply() -> None:
    harness = RateLimitsHarness()
    harness.set_rate(1.0, make_endpoint(egress="b"))
    harness.set_rate(1.0, make_endpoint("resolve"))
    await harness.admitted_count(1)
    assert metric("rate_allowed_per_second") == 10


async def test_no_request_is_admitted_during_a_pause() -> None:
    harness = RateLimitsHarness(patience_seconds=20)
    harness.set_rate(None, until=NOW + timedelta(seconds=10))
    assert await harness.admitted_count(1) == 0
    harness.set_rate(None, until=NOW + timedelta(seconds=100))
    assert not harness.rate_limits.would_admit(make_endpoint(), requeued=True)
    with pytest.raises(RateLimitExceededError) as caught:
        async with harness.acquire(make_endpoint()):
            pass
    assert caught.value.seconds == pytest.approx(100, abs=1)
    harness.set_rate(None, until=NOW - timedelta(seconds=1))
    assert await harness.admitted_count(1) == 1


async def test_pause_is_capped_under_clock_skew() -> None:
    harness = RateLimitsHarness(patience_seconds=20, pause_seconds_max=100)
    harness.set_rate(None, until=NOW + timedelta(hours=1))
    with pytest.raises(RateLimitExceededError) as caught:
        async with harness.acquire(make_endpoint()):
            pass
    assert caught.value.seconds == pytest.approx(100, abs=1)


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff"])
async def test_undecodable_rate_limits_nothing(value: bytes) -> None:
    harness = RateLimitsHarness()
    harness.context.shared_state.put(f"{RATE}tiktok:extract:a", value)
    await harness.admitted_count(1)
    assert metric("rate_allowed_per_second") == 10


async def test_burst_is_burst_seconds_of_the_worker_share() -> None:
    for share, burst, expected in ((1.0, 1.0, 10), (0.5, 1.0, 5), (0.1, 0.2, 1)):
        harness = RateLimitsHarness(share=share, burst_seconds=burst)
        assert await harness.admitted_count(0) == 0
        limiter = harness.rate_limits._limiter(make_endpoint())
        limiter._bucket = type(limiter._bucket)(limiter._bucket.at - 60, 1.0, 0.0, 10 * share)
        assert await harness.admitted_count(20) == expected


@pytest.mark.parametrize("operation", ["resolve", "extract", "download"])
async def test_bulkhead_bounds_concurrency_per_operation(operation: Operation) -> None:
    limits: dict[str, Any] = {f"{operation}_tasks": 2, "default_requests_per_second": 1e6}
    harness = RateLimitsHarness(operation, **limits)
    ends = asyncio.Event()

    async def hold() -> None:
        async with harness.acquire(make_endpoint(operation)):
            await ends.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(3)]
    await asyncio.sleep(0.01)
    labels: dict[str, str] = {"operation": operation}
    names = ("running", "waiting", "limit")
    found = [REGISTRY.get_sample_value(f"clipmill_tasks_{name}", labels) for name in names]
    assert found == [2, 1, 2]
    ends.set()
    await asyncio.gather(*tasks)
    assert REGISTRY.get_sample_value("clipmill_tasks_running", labels) == 0


LIST = Cost(requests=3, is_list=True)


async def test_lists_have_a_separate_bulkhead_and_do_not_block_pages() -> None:
    harness = RateLimitsHarness(list_tasks=2, default_requests_per_second=1e6)
    ends, running = asyncio.Event(), 0

    async def hold() -> None:
        nonlocal running
        async with harness.acquire(make_endpoint(), LIST):
            running += 1
            await ends.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert running == 2
    assert await harness.admitted_count(20) == 20
    labels = {"operation": "list"}
    names = ("running", "waiting", "limit")
    assert [REGISTRY.get_sample_value(f"clipmill_tasks_{each}", labels) for each in names] == [
        2,
        3,
        2,
    ]
    ends.set()
    await asyncio.gather(*tasks)
    assert running == 5


async def test_full_page_bulkhead_does_not_block_lists() -> None:
    harness = RateLimitsHarness(extract_tasks=1, default_requests_per_second=1e6)
    async with (
        harness.acquire(make_endpoint()),
        asyncio.timeout(1),
        harness.acquire(make_endpoint(), LIST),
    ):
        assert await harness.admitted_count(1) == 0


async def test_list_takes_a_token_for_each_of_its_requests() -> None:
    harness = RateLimitsHarness(default_requests_per_second=100, burst_seconds=1)
    async with harness.acquire(make_endpoint(), Cost(requests=3_000, is_list=True)):
        assert not harness.rate_limits.would_admit(make_endpoint(), requeued=True)
        with pytest.raises(RateLimitExceededError) as caught:
            async with harness.acquire(make_endpoint()):
                pass
    assert caught.value.seconds == pytest.approx(30, abs=0.5)


async def test_lists_and_pages_share_one_limiter() -> None:
    harness = RateLimitsHarness(default_requests_per_second=1)
    async with harness.acquire(make_endpoint(), LIST):
        assert await harness.admitted_count(1) == 0


async def test_wait_for_the_rate_is_counted() -> None:
    harness = RateLimitsHarness()
    before = metric("rate_wait_seconds_total") or 0.0
    async with harness.acquire(make_endpoint()):
        pass
    async with harness.acquire(make_endpoint()):
        pass
    assert 0.05 < (metric("rate_wait_seconds_total") or 0) - before < 1


def test_default_limits() -> None:
    limits = LimitSettings()
    assert (limits.resolve_tasks, limits.extract_tasks, limits.download_tasks) == (5, 5, 5)
    assert limits.list_tasks == 2
    assert limits.limit_of("tiktok") == 10
    assert LimitSettings(requests_per_second={"tiktok": 3}).limit_of("tiktok") == 3


def test_second_bulkhead_of_an_operation_has_metrics_of_its_own() -> None:
    harness = RateLimitsHarness("download", download_tasks=3)
    RateLimits("download", harness.context, bulkhead="covers")
    limits = {
        name: REGISTRY.get_sample_value("clipmill_tasks_limit", {"operation": name})
        for name in ("download", "covers")
    }
    assert limits == {"download": 3.0, "covers": 3.0}
