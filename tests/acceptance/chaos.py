"""Fault injection: kills any process of a pipeline at random times and records the recovery."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Collection, Sequence

import psutil

from tests.acceptance.engine_processes import fork_server_of
from tests.acceptance.workload import WorkloadRecord
from tests.pipeline_process import PipelineProcess, Process

STOP_SECONDS = 15.0
FROZEN_SECONDS = 12.0
"""Twice the session timeout of the tests: the broker has given the partitions to others."""

THAWED_SECONDS = 2.0
ORPHAN_SECONDS = 5.0


class Timeline:
    """Events with their times; each with the gap until the next result."""

    def __init__(self) -> None:
        self._started = time.time()
        self._events: list[tuple[float, str]] = []
        self.results: dict[str, list[float]] = {}

    def add(self, event: str) -> None:
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
    """Injects faults into a pipeline of one `clipmill worker`, and restarts the worker at once."""

    def __init__(self, pipeline: PipelineProcess, rng: random.Random, *stages: str) -> None:
        self._pipeline = pipeline
        self._rng = rng
        self._stages = stages
        self.timeline = Timeline()
        self.worker = pipeline.spawn_worker(*stages)

    async def inject(self, fault: str) -> None:
        """Inject one of the faults ``worker engine broker stop freeze``."""
        await getattr(self, f"_{fault}")()
        self.timeline.add(fault)

    async def ready(self) -> Process:
        if not self.worker.ready:
            await self.worker.wait_ready()
        return self.worker

    def start(self) -> None:
        self.worker = self._pipeline.spawn_worker(*self._stages)

    async def _worker(self) -> None:
        children = _descendants(self.worker.pid)
        self.worker.kill()
        self.start()
        await asyncio.to_thread(_assert_ended, children)

    async def _stop(self) -> None:
        worker = await self.ready()
        started = time.monotonic()
        assert await asyncio.to_thread(worker.terminate) == 0, worker.log.read_text()[-3_000:]
        assert time.monotonic() - started < STOP_SECONDS
        self.start()

    async def _engine(self) -> None:
        worker = await self.ready()
        self._rng.choice(fork_server_of(worker.pid).children()).kill()

    async def _freeze(self) -> None:
        """Freeze a worker beyond its session while another one runs; it thaws, and is killed."""
        frozen = await self.ready()
        os.kill(frozen.pid, signal.SIGSTOP)
        self.start()
        await asyncio.sleep(FROZEN_SECONDS)
        os.kill(frozen.pid, signal.SIGCONT)
        await asyncio.sleep(THAWED_SECONDS)
        frozen.kill()

    async def _broker(self) -> None:
        os.kill(self._pipeline.broker.pid, signal.SIGKILL)


def _descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _assert_ended(processes: Sequence[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=ORPHAN_SECONDS)
    assert not alive, "engine processes outlive their worker"


async def publish_within(
    pipeline: PipelineProcess, records: Sequence[WorkloadRecord], seconds: float, rng: random.Random
) -> None:
    """Publish records at random times within a period."""
    moments = sorted(rng.uniform(0, seconds) for _ in records)
    started = time.monotonic()
    for moment, each in zip(moments, records, strict=True):
        await asyncio.sleep(max(0.0, started + moment - time.monotonic()))
        # Kafka clients refuse a record that has neither key nor value.
        await pipeline.publish_raw(each.value, key=b"nothing" if each.value is None else None)


async def record_results(pipeline: PipelineProcess, timeline: Timeline) -> None:
    """Read results until cancelled; the timeline records the arrival times."""
    while True:
        for request_id, copies in (await pipeline.read_results(0.5)).items():
            timeline.results[request_id] = [copy["_seen_at"] for copy in copies]
        # Each read returns all results so far.
        await asyncio.sleep(0.1)


async def wait_until_answered(
    timeline: Timeline, expected: Collection[str], seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    while missing := set(expected) - timeline.results.keys():
        assert time.monotonic() < deadline, f"no result after {seconds} s: {sorted(missing)}"
        await asyncio.sleep(0.2)
