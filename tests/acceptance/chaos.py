"""Deaths of every part of a house at random moments, and the record of how it went on."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Collection, Sequence

import psutil

from tests.acceptance.engine_processes import fork_server_of
from tests.acceptance.workload import Asked
from tests.house import House, Process

STOP_SECONDS = 15.0
ORPHAN_SECONDS = 5.0


class Timeline:
    """What happened when; deaths are followed by how long no result came after them."""

    def __init__(self) -> None:
        self._started = time.time()
        self._events: list[tuple[float, str]] = []
        self.results: dict[str, list[float]] = {}

    def note(self, event: str) -> None:
        self._events.append((time.time(), event))

    def count(self, event: str) -> int:
        return sum(each == event for _, each in self._events)

    def lines(self) -> list[str]:
        moments = sorted(moment for moments in self.results.values() for moment in moments)
        return [self._line(at, event, moments) for at, event in self._events]

    def _line(self, at: float, event: str, moments: Sequence[float]) -> str:
        done = sum(moment <= at for moment in moments)
        silence = f", next result after {moments[done] - at:.1f} s" if moments[done:] else ""
        return f"{at - self._started:6.1f} s  {done:3} results  {event}{silence}"


class Chaos:
    """One `clipmill worker` in a house, killed in every way and started again at once."""

    def __init__(self, house: House, chance: random.Random, *stages: str) -> None:
        self._house = house
        self._chance = chance
        self._stages = stages
        self.timeline = Timeline()
        self.worker = house.spawn_worker(*stages)

    async def strike(self, what: str) -> None:
        """Do one of ``worker engine broker stop``."""
        await getattr(self, f"_{what}")()
        self.timeline.note(what)

    async def ready(self) -> Process:
        """Return the worker when it works."""
        if not self.worker.ready:
            await self.worker.wait_ready()
        return self.worker

    def start(self) -> None:
        """Start the next worker."""
        self.worker = self._house.spawn_worker(*self._stages)

    async def _worker(self) -> None:
        children = _descendants(self.worker.pid)
        self.worker.kill()
        self.start()
        await asyncio.to_thread(_expect_gone, children)

    async def _stop(self) -> None:
        worker = await self.ready()
        started = time.monotonic()
        assert await asyncio.to_thread(worker.terminate) == 0, worker.log.read_text()[-3_000:]
        assert time.monotonic() - started < STOP_SECONDS
        self.start()

    async def _engine(self) -> None:
        worker = await self.ready()
        self._chance.choice(fork_server_of(worker.pid).children()).kill()

    async def _broker(self) -> None:
        os.kill(self._house.broker.pid, signal.SIGKILL)


def _descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _expect_gone(processes: Sequence[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=ORPHAN_SECONDS)
    assert not alive, "engine processes outlive their worker"


async def publish_within(
    house: House, asked: Sequence[Asked], seconds: float, chance: random.Random
) -> None:
    """Publish records at random moments within a time."""
    moments = sorted(chance.uniform(0, seconds) for _ in asked)
    started = time.monotonic()
    for moment, each in zip(moments, asked, strict=True):
        await asyncio.sleep(max(0.0, started + moment - time.monotonic()))
        # Kafka clients refuse a record that has neither key nor value.
        await house.publish_raw(each.value, key=b"nothing" if each.value is None else None)


async def watch_results(house: House, timeline: Timeline) -> None:
    """Read results for ever, so that the timeline knows when each of them came."""
    while True:
        for request_id, copies in (await house.read_results(0.5)).items():
            timeline.results[request_id] = [copy["_seen_at"] for copy in copies]


async def until_answered(timeline: Timeline, expected: Collection[str], seconds: float) -> None:
    """Wait until every request has a result."""
    deadline = time.monotonic() + seconds
    while missing := set(expected) - timeline.results.keys():
        assert time.monotonic() < deadline, f"no result after {seconds} s: {sorted(missing)}"
        await asyncio.sleep(0.2)
