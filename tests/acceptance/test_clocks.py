"""Wall clocks that jump, or differ between workers: nothing waits longer than its setting says."""

import asyncio
import time
from pathlib import Path

from schemas.codec import decode
from schemas.signals import BREAKER, RATE, BreakerState, RateState
from streams.topics import SIGNALS
from tests.acceptance.desk import Desk, page
from tests.acceptance.outage import parked_ids
from tests.house import House
from tests.standin import video_id

WALL_CLOCK = Path(__file__).parent.parent / "wall_clock"
MINUTE = 60
HOUR = 60 * MINUTE
JUMPS = (-2 * HOUR, -50 * MINUTE, 50 * MINUTE)
REQUESTS = 20
DONE_SECONDS = 60
NORMAL_SECONDS = 6.0
"""The reference is not taken for shorter: on a busy machine one second more is no finding."""
SETTINGS = {
    "CLIPMILL_BREAKER__MINIMUM_CALLS": "5",
    "CLIPMILL_BREAKER__OPEN_SECONDS": "3",
    "CLIPMILL_BREAKER__OPEN_SECONDS_MAX": "3",
    "CLIPMILL_BREAKER__RETRY_FLOOR": "1000",
    "CLIPMILL_LIMITS__REQUESTS_PER_SECOND": '{"tiktok": 20}',
    "CLIPMILL_LIMITS__RECOVERY_SECONDS": "10",
    "CLIPMILL_RETRY__WAITS_SECONDS": (
        '{"network.server": [3, 3, 3, 3, 3], "rate_limit.api": [3, 3, 3, 3, 3]}'
    ),
}


class Clock:
    """The wall clock of a worker: so many seconds ahead of the true one."""

    def __init__(self, file: Path, ahead: float = 0) -> None:
        self._file = file
        self.set(ahead)
        self.variables = {"PYTHONPATH": str(WALL_CLOCK), "WALL_CLOCK_FILE": str(file)}

    def set(self, ahead: float) -> None:
        """Set it."""
        new = self._file.with_suffix(".new")
        new.write_text(str(ahead))
        new.replace(self._file)


async def signal(desk: Desk, prefix: str) -> bytes:
    """Return the newest state of the rate or breaker of pages, empty when there is none."""
    key = f"{prefix}tiktok:extract:proxy".encode()
    values = [each.value for each in await desk.records(SIGNALS) if each.key == key]
    return (values[-1] if values else None) or b""


async def until_open(desk: Desk) -> None:
    """Return when the breaker of pages is open, and its rate cut."""
    async with asyncio.timeout(DONE_SECONDS):
        while True:
            breaker, rate = await signal(desk, BREAKER), await signal(desk, RATE)
            is_open = breaker and decode(breaker, BreakerState).state == "open"
            is_cut = rate and decode(rate, RateState).requests_per_second is not None
            if is_open and is_cut:
                return
            await asyncio.sleep(0.1)


async def trouble(house: House, number: int) -> list[str]:
    """Publish requests that are refused until the breaker opens; return their ids.

    Then some are parked, some wait for a retry, and the rate is cut.
    """
    names = [f"round-{number}-{each}" for each in range(REQUESTS)]
    house.standin.limit(0)
    for each, name in enumerate(names):
        video = video_id("kilobytes", param=16, serial=number * REQUESTS + each)
        await house.publish({"id": name, "url": page(video), "action": "info"})
    desk = Desk(house)
    await until_open(desk)
    async with asyncio.timeout(DONE_SECONDS):
        while not await parked_ids(desk) & {*names}:  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.1)
    return names


async def seconds_until_done(house: House, names: list[str]) -> float:
    """Return how long it takes until all are done, now that the platform is well again."""
    house.standin.limit(None)
    began = time.monotonic()
    await Desk(house).wait_for(names, DONE_SECONDS)
    seconds = time.monotonic() - began
    results = await house.read_results(0)
    assert {results[name][0]["status"] for name in names} == {"completed"}
    await house.command(command="reset_breaker", breaker="tiktok:extract:proxy")
    return seconds


async def test_a_clock_that_jumps_holds_nothing(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        clock = Clock(tmp_path / "clock")
        await house.start_worker("all", **clock.variables)
        names = await trouble(house, 0)
        normal = await seconds_until_done(house, names)
        print(f"\nwithout a jump: {normal:.1f} s")
        ahead = 0
        for number, jump in enumerate(JUMPS, start=1):
            names = await trouble(house, number)
            ahead += jump
            clock.set(ahead)
            seconds = await seconds_until_done(house, names)
            print(f"after a jump by {jump / MINUTE:+.0f} minutes: {seconds:.1f} s")
            assert seconds <= 2 * max(normal, NORMAL_SECONDS)


async def test_workers_whose_clocks_differ_hold_nothing(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        parts = {
            "ahead": ("extraction", "recovery", "ledger"),
            "behind": ("delay", "monitor"),
            "right": ("validation", "selection", "download", "commands"),
        }
        minutes = {"ahead": 10, "behind": -10, "right": 0}
        clocks = {name: Clock(tmp_path / name, minutes[name] * MINUTE) for name in parts}
        await asyncio.gather(
            *(house.start_worker(*parts[name], **clocks[name].variables) for name in parts)
        )
        for number, turned in enumerate((1, -1)):
            for name, clock in clocks.items():
                clock.set(turned * minutes[name] * MINUTE)
            names = await trouble(house, number)
            seconds = await seconds_until_done(house, names)
            print(f"\n{turned * 10:+} and {turned * -10:+} minutes: {seconds:.1f} s")
            assert seconds <= 4 * NORMAL_SECONDS
