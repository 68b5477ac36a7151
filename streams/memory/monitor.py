"""Memory monitor of a process: samples periodically and reacts before the kernel's OOM killer.

Escalates in steps by the used share of the limit: drop caches, pause consumption, end the process
for a restart.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import psutil

from streams.errors import OperatorError
from streams.memory.reading import KINDS, Limit, ProcessKind, Usage, find_limit, read_usage
from streams.memory.release import release_memory
from streams.memory.trend import Growth, LeakDetector
from streams.memory.users import MemoryUsers
from streams.observability.metrics import (
    MEMORY,
    MEMORY_LIMIT,
    MEMORY_RELIEFS,
    MEMORY_TREND,
    OPEN_FILES,
    THREADS,
)
from streams.settings import MemorySettings

MemoryAction = Literal["nothing", "relieve", "pause", "resume", "give_up"]
"""``relieve`` drops caches, ``pause`` and ``resume`` act on the intakes, ``give_up`` ends the
process for a restart."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """State of the escalation; times are seconds on the monitor's clock.

    Attributes:
        relieved_at: time of the last relief, None before the first.
        paused_at: start of the pause, None while consuming.
    """

    relieved_at: float | None = None
    paused_at: float | None = None


def decide(
    pressure: Pressure, used_share: float, now: float, settings: MemorySettings
) -> tuple[Pressure, MemoryAction]:
    """Return the next action and the state after it.

    A relief precedes a pause: the caller decides again afterwards, with a new sample.

    Args:
        pressure: state so far.
        used_share: memory in use as a share of the limit.
        now: seconds on the monitor's clock.
        settings: thresholds.
    """
    if used_share >= settings.relief_share and _may_relieve(pressure, now, settings):
        return replace(pressure, relieved_at=now), "relieve"
    if pressure.paused_at is None:
        if used_share >= settings.pause_share:
            return replace(pressure, paused_at=now), "pause"
        return pressure, "nothing"
    if used_share < settings.resume_share:
        return replace(pressure, paused_at=None), "resume"
    if now - pressure.paused_at >= settings.give_up_seconds:
        return pressure, "give_up"
    return pressure, "nothing"


def _may_relieve(pressure: Pressure, now: float, settings: MemorySettings) -> bool:
    return pressure.relieved_at is None or now - pressure.relieved_at >= settings.relief_seconds


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Usage by kind of process, and the limit."""

    usage: Mapping[ProcessKind, Usage]
    limit: Limit

    @property
    def used_bytes(self) -> int:
        """Memory of all processes together."""
        return sum(each.memory_bytes for each in self.usage.values())

    @property
    def used_share(self) -> float:
        return self.used_bytes / self.limit.limit_bytes

    def __str__(self) -> str:
        return (
            f"{mebibytes(self.used_bytes)} of {mebibytes(self.limit.limit_bytes)} are in use"
            f" (the limit is {self.limit.source})"
        )


def sample_process(settings: MemorySettings) -> MemorySample:
    """Measure this process and its descendants, and the current limit."""
    return MemorySample(read_usage(psutil.Process()), find_limit(settings))


def export(sample: MemorySample) -> None:
    """Set the metrics."""
    MEMORY_LIMIT.set(sample.limit.limit_bytes)
    for kind in KINDS:
        usage = sample.usage.get(kind, Usage())
        MEMORY.labels(kind).set(usage.memory_bytes)
        OPEN_FILES.labels(kind).set(usage.files)
        THREADS.labels(kind).set(usage.threads)


def mebibytes(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"


log = logging.getLogger(__name__)

SAMPLE_TIMEOUT_SECONDS = 30.0
"""Timeout of a sample; usual ones take milliseconds. A hung thread must not stop the monitor."""


class MemoryExhaustedError(OperatorError):
    """Memory stayed near its limit although consumption was paused; the process ends."""


class MemoryMonitor:
    """Drops caches when memory is short, pauses the intakes when it is nearly exhausted.

    Args:
        settings: limit and thresholds.
        users: the open stages.
        take_sample: measures memory; runs in a thread.
        release: returns free memory to the system.
        clock: monotonic seconds.
        sleep: replaceable for tests.
    """

    def __init__(
        self,
        settings: MemorySettings,
        users: MemoryUsers,
        *,
        take_sample: Callable[[MemorySettings], MemorySample] = sample_process,
        release: Callable[[], None] = release_memory,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._users = users
        self._take_sample = take_sample
        self._release = release
        self._clock = clock
        self._sleep = sleep
        self._began = clock()
        self._pressure = Pressure()
        self._detectors: dict[ProcessKind, LeakDetector] = {}

    async def run(self) -> None:
        """Sample and act periodically; never returns.

        Raises:
            MemoryExhaustedError: memory stayed near the limit for too long.
        """
        while True:
            try:
                await self._act(await self._sample())
            except MemoryExhaustedError:
                raise
            except Exception as error:
                log.exception("memory cannot be measured; the next interval tries again")
                self._give_up_without_samples(error)
            await self._sleep(self._settings.sample_seconds)

    def _give_up_without_samples(self, error: Exception) -> None:
        """End a pause that no sample can end, because sampling fails."""
        since = self._pressure.paused_at
        if since is not None and self._clock() - since >= self._settings.give_up_seconds:
            reason = f"memory was near its limit, and can no longer be measured: {error!r}"
            raise MemoryExhaustedError(reason) from error

    async def _sample(self) -> MemorySample:
        async with asyncio.timeout(SAMPLE_TIMEOUT_SECONDS):
            sample = await asyncio.to_thread(self._take_sample, self._settings)
        export(sample)
        return sample

    async def _act(self, sample: MemorySample) -> None:
        self._detect_leaks(sample)
        action = self._decide(sample)
        if action == "relieve":
            sample = await self._relieve(sample)
            action = self._decide(sample)
        self._apply(action, sample)

    def _decide(self, sample: MemorySample) -> MemoryAction:
        now = self._clock()
        self._pressure, action = decide(self._pressure, sample.used_share, now, self._settings)
        return action

    async def _relieve(self, before: MemorySample) -> MemorySample:
        """Drop caches; return a new sample."""
        MEMORY_RELIEFS.inc()
        self._users.drop_caches()
        self._release()
        after = await self._sample()
        freed = mebibytes(before.used_bytes - after.used_bytes)
        log.warning("memory pressure, caches were evicted: %s freed, %s", freed, after)
        return after

    def _apply(self, action: MemoryAction, sample: MemorySample) -> None:
        match action:
            case "pause":
                self._users.pause(f"memory pressure: {sample}")
            case "resume":
                log.warning("memory pressure is over: %s", sample)
                self._users.resume()
            case "give_up":
                raise MemoryExhaustedError(_exhausted(sample, self._settings))

    # Leaks

    def _detect_leaks(self, sample: MemorySample) -> None:
        now = self._clock()
        if now - self._began < self._settings.warm_up_seconds:
            return
        for kind, usage in sample.usage.items():
            growth = self._detector(kind).add(now, usage.memory_bytes)
            if growth is not None:
                self._report(kind, growth)

    def _detector(self, kind: ProcessKind) -> LeakDetector:
        window, leak = self._settings.trend_seconds, self._settings.leak_bytes_per_hour
        return self._detectors.setdefault(kind, LeakDetector(window, leak))

    def _report(self, kind: ProcessKind, growth: Growth) -> None:
        MEMORY_TREND.labels(kind).set(growth.trend.per_hour)
        if growth.is_new_leak:
            log.warning(
                "memory of %s grows by %s an hour (95 %%: at least %s): this looks like a leak",
                kind,
                mebibytes(growth.trend.per_hour),
                mebibytes(growth.trend.low),
            )


def _exhausted(sample: MemorySample, settings: MemorySettings) -> str:
    return (
        f"{sample}, and use did not fall in {settings.give_up_seconds:g} s of paused consumption;"
        " the process exits, to be restarted. Raise memory.limit_bytes or the container's limit,"
        " or lower stage.concurrency or engine.processes"
    )
