"""Wall clocks that jump or differ between workers: no wait exceeds its setting."""

import asyncio
import time
from pathlib import Path

import pytest

from schemas.codec import decode
from schemas.signals import BREAKER, RATE, BreakerState, RateState
from streams.topics import SIGNALS
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.outage import parked_ids
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

WALL_CLOCK = Path(__file__).parent.parent / "wall_clock"
pytestmark = pytest.mark.alone

MINUTE = 60
HOUR = 60 * MINUTE
JUMPS = (-2 * HOUR, -50 * MINUTE, 50 * MINUTE)
REQUESTS = 20
DONE_SECONDS = 60
NORMAL_SECONDS = 6.0
"""Lower bound of the reference time: one second more on a busy machine is no finding."""
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
    """A worker's wall clock, ``ahead`` seconds ahead of the true one."""

    def __init__(self, file: Path, ahead: float = 0) -> None:
        self._file = file
        self.set(ahead)
        self.variables = {"PYTHONPATH": str(WALL_CLOCK), "WALL_CLOCK_FILE": str(file)}

    def set(self, ahead: float) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(str(ahead))
        new.replace(self._file)


async def newest_state(client: PipelineClient, prefix: str) -> bytes:
    """Return the newest rate or breaker state of extractions, empty when there is none."""
    key = f"{prefix}tiktok:extract:proxy".encode()
    values = [each.value for each in await client.records(SIGNALS) if each.key == key]
    return (values[-1] if values else None) or b""


async def wait_until_open(client: PipelineClient) -> None:
    """Wait until the breaker of extractions is open and the rate reduced."""
    async with asyncio.timeout(DONE_SECONDS):
        while True:
            breaker, rate = await newest_state(client, BREAKER), await newest_state(client, RATE)
            is_open = breaker and decode(breaker, BreakerState).state == "open"
            is_reduced = rate and decode(rate, RateState).requests_per_second is not None
            if is_open and is_reduced:
                return
            await asyncio.sleep(0.1)


async def cause_outage(pipeline: PipelineProcess, number: int) -> list[str]:
    """Publish requests that are rate limited until the breaker opens; return their ids.

    Afterwards some are parked, some wait for a retry, and the rate is reduced.
    """
    names = [f"round-{number}-{each}" for each in range(REQUESTS)]
    pipeline.standin.limit_rate(0)
    for each, name in enumerate(names):
        video = video_id("kilobytes", param=16, serial=number * REQUESTS + each)
        await pipeline.publish({"id": name, "url": page(video), "action": "info"})
    client = PipelineClient(pipeline)
    await wait_until_open(client)
    async with asyncio.timeout(DONE_SECONDS):
        while not await parked_ids(client) & {*names}:  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.1)
    return names


async def seconds_until_done(pipeline: PipelineProcess, names: list[str]) -> float:
    """Lift the platform's rate limit; return the seconds until all requests are completed."""
    pipeline.standin.limit_rate(None)
    began = time.monotonic()
    await PipelineClient(pipeline).wait_for(names, DONE_SECONDS)
    seconds = time.monotonic() - began
    results = await pipeline.read_results(0)
    assert {results[name][0]["status"] for name in names} == {"completed"}
    await pipeline.publish_command(command="reset_breaker", breaker="tiktok:extract:proxy")
    return seconds


async def test_wall_clock_jump_delays_no_request(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        clock = Clock(tmp_path / "clock")
        await pipeline.start_worker("all", **clock.variables)
        names = await cause_outage(pipeline, 0)
        normal = await seconds_until_done(pipeline, names)
        print(f"\nwithout a jump: {normal:.1f} s")
        ahead = 0
        for number, jump in enumerate(JUMPS, start=1):
            names = await cause_outage(pipeline, number)
            ahead += jump
            clock.set(ahead)
            seconds = await seconds_until_done(pipeline, names)
            print(f"after a jump by {jump / MINUTE:+.0f} minutes: {seconds:.1f} s")
            assert seconds <= 2 * max(normal, NORMAL_SECONDS)


async def test_clock_skew_between_workers_delays_no_request(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        parts = {
            "ahead": ("extraction", "recovery", "ledger"),
            "behind": ("delay", "monitor"),
            "right": ("validation", "selection", "download", "commands"),
        }
        minutes = {"ahead": 10, "behind": -10, "right": 0}
        clocks = {name: Clock(tmp_path / name, minutes[name] * MINUTE) for name in parts}
        await asyncio.gather(
            *(pipeline.start_worker(*parts[name], **clocks[name].variables) for name in parts)
        )
        for number, sign in enumerate((1, -1)):
            for name, clock in clocks.items():
                clock.set(sign * minutes[name] * MINUTE)
            names = await cause_outage(pipeline, number)
            seconds = await seconds_until_done(pipeline, names)
            print(f"\n{sign * 10:+} and {sign * -10:+} minutes: {seconds:.1f} s")
            assert seconds <= 4 * NORMAL_SECONDS
