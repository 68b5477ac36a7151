"""Turns: the limits of the settings, the rate that was adapted, the share of this worker."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.access.rate_limits import ONE_REQUEST, PACED, Cost, RateLimits
from agents.resilience.rate_limiter import RateLimitExceededError
from schemas.attempts import Operation
from schemas.codec import encode
from schemas.errors import Place
from schemas.signals import RATE, RateState
from streams.observability.metrics import REGISTRY
from streams.settings import LimitSettings
from tests.unit.agents.builders import make_context, make_settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEN: dict[str, Any] = {"default_requests_per_second": 10}


def place(operation: Operation = "extract", platform: str = "tiktok", egress: str = "a") -> Place:
    return Place(platform=platform, operation=operation, egress=egress)


class Kit:
    def __init__(self, operation: Operation = "extract", share: float = 1.0, **limits: Any) -> None:
        settings = make_settings(limits=LimitSettings(**{**TEN, **limits}))
        context, _ = make_context(settings)
        self.share = share
        self.context = type(context)(
            settings=settings,
            tables={},
            supplement=context.supplement,
            signals=context.signals,
            intake=context.intake,
            share=lambda: self.share,
        )
        self.turns = RateLimits(operation, self.context, clock=lambda: NOW)

    def told(self, rate: float | None, where: Place | None = None, **changes: Any) -> None:
        where = where or place()
        state = RateState(
            platform=where.platform,
            operation=where.operation,
            egress=where.egress,
            requests_per_second=rate,
            since=NOW,
            **changes,
        )
        self.context.signals.put(f"{RATE}{state.name}", encode(state))

    async def take(self, count: int, where: Place | None = None) -> int:
        """How many of so many had a turn at once."""
        had = 0
        for _ in range(count):
            try:
                async with asyncio.timeout(0.005), self.acquire(where or place()):
                    had += 1
            except TimeoutError:
                break
        return had

    def acquire(self, where: Place, need: Cost = ONE_REQUEST) -> Any:
        return self.turns.acquire(where, returning=False, need=need)


def metric(name: str, operation: str = "extract", platform: str = "tiktok") -> float | None:
    labels = {"platform": platform, "operation": operation, "egress": "a"}
    return REGISTRY.get_sample_value(f"clipmill_{name}", labels)


async def test_pages_go_at_the_pace_and_files_as_they_may() -> None:
    assert frozenset({"resolve", "extract"}) == PACED
    assert await Kit().take(20) < 5
    assert await Kit("resolve").take(20, place("resolve")) < 5
    assert await Kit("download").take(20, place("download")) == 20


async def test_every_platform_and_egress_has_its_own_line() -> None:
    kit = Kit(requests_per_second={"tiktok": 0.1, "other": 1e6})
    assert await kit.take(3) == 1
    assert await kit.take(3, place(egress="b")) == 1
    assert await kit.take(20, place(platform="other")) == 20
    assert await kit.take(3, place(platform="third")) == 1


@pytest.mark.parametrize(
    ("share", "rate", "allowed"),
    [(1.0, None, 10), (0.25, None, 2.5), (1.0, 4.0, 4), (0.5, 4.0, 2), (1.0, 99.0, 10), (0, 4, 0)],
)
async def test_a_worker_may_do_its_share_of_what_is_allowed(
    share: float, rate: float | None, allowed: float
) -> None:
    kit = Kit(share=share)
    kit.told(rate)
    await kit.take(1)
    assert metric("rate_limit_per_second") == 10
    assert metric("rate_allowed_per_second") == allowed
    kit.share = 1.0
    assert metric("rate_allowed_per_second") == min(10, rate or 10)


async def test_a_rate_of_another_egress_or_operation_counts_there_only() -> None:
    kit = Kit()
    kit.told(1.0, place(egress="b"))
    kit.told(1.0, place("resolve"))
    await kit.take(1)
    assert metric("rate_allowed_per_second") == 10


async def test_nothing_goes_before_the_end_of_a_pause() -> None:
    kit = Kit(patience_seconds=20)
    kit.told(None, until=NOW + timedelta(seconds=10))
    assert await kit.take(1) == 0
    kit.told(None, until=NOW + timedelta(seconds=100))
    assert not kit.turns.is_soon(place(), returning=True)
    with pytest.raises(RateLimitExceededError) as caught:
        async with kit.acquire(place()):
            pass
    assert caught.value.seconds == pytest.approx(100, abs=1)
    kit.told(None, until=NOW - timedelta(seconds=1))
    assert await kit.take(1) == 1


async def test_a_pause_is_no_longer_than_any_whatever_clock_the_monitor_has() -> None:
    kit = Kit(patience_seconds=20, pause_seconds_max=100)
    kit.told(None, until=NOW + timedelta(hours=1))
    with pytest.raises(RateLimitExceededError) as caught:
        async with kit.acquire(place()):
            pass
    assert caught.value.seconds == pytest.approx(100, abs=1)


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff"])
async def test_a_rate_that_nobody_can_read_holds_nothing_back(value: bytes) -> None:
    kit = Kit()
    kit.context.signals.put(f"{RATE}tiktok:extract:a", value)
    await kit.take(1)
    assert metric("rate_allowed_per_second") == 10


async def test_a_burst_is_so_many_seconds_of_the_own_share() -> None:
    for share, burst, expected in ((1.0, 1.0, 10), (0.5, 1.0, 5), (0.1, 0.2, 1)):
        kit = Kit(share=share, burst_seconds=burst)
        assert await kit.take(0) == 0
        line = kit.turns._line(place())
        line._bucket = type(line._bucket)(line._bucket.at - 60, 1.0, 0.0, 10 * share)
        assert await kit.take(20) == expected


@pytest.mark.parametrize("operation", ["resolve", "extract", "download"])
async def test_so_many_at_a_time_and_no_more(operation: Operation) -> None:
    limits: dict[str, Any] = {f"{operation}_tasks": 2, "default_requests_per_second": 1e6}
    kit = Kit(operation, **limits)
    ends = asyncio.Event()

    async def hold() -> None:
        async with kit.acquire(place(operation)):
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


async def test_lists_have_slots_of_their_own_and_hold_up_no_page() -> None:
    kit = Kit(list_tasks=2, default_requests_per_second=1e6)
    ends, running = asyncio.Event(), 0

    async def hold() -> None:
        nonlocal running
        async with kit.acquire(place(), LIST):
            running += 1
            await ends.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert running == 2
    assert await kit.take(20) == 20
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


async def test_pages_that_have_all_slots_hold_up_no_list() -> None:
    kit = Kit(extract_tasks=1, default_requests_per_second=1e6)
    async with kit.acquire(place()), asyncio.timeout(1), kit.acquire(place(), LIST):
        assert await kit.take(1) == 0


async def test_a_list_costs_what_it_asks() -> None:
    kit = Kit(default_requests_per_second=100, burst_seconds=1)
    async with kit.acquire(place(), Cost(requests=3_000, is_list=True)):
        assert not kit.turns.is_soon(place(), returning=True)
        with pytest.raises(RateLimitExceededError) as caught:
            async with kit.acquire(place()):
                pass
    assert caught.value.seconds == pytest.approx(30, abs=0.5)


async def test_a_list_and_the_pages_have_one_line() -> None:
    kit = Kit(default_requests_per_second=1)
    async with kit.acquire(place(), LIST):
        assert await kit.take(1) == 0


async def test_the_wait_is_counted() -> None:
    kit = Kit()
    before = metric("rate_wait_seconds_total") or 0.0
    async with kit.acquire(place()):
        pass
    async with kit.acquire(place()):
        pass
    assert 0.05 < (metric("rate_wait_seconds_total") or 0) - before < 1


def test_by_default_five_at_a_time_and_ten_a_second() -> None:
    limits = LimitSettings()
    assert (limits.resolve_tasks, limits.extract_tasks, limits.download_tasks) == (5, 5, 5)
    assert limits.list_tasks == 2
    assert limits.limit_of("tiktok") == 10
    assert LimitSettings(requests_per_second={"tiktok": 3}).limit_of("tiktok") == 3
