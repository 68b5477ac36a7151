"""One per process: looks at its memory every few seconds and acts before the kernel does."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import psutil

from streams.memory.reading import KINDS, Kind, Limit, Use, find_limit, read_use
from streams.memory.release import release_memory
from streams.memory.trend import Growth, LeakWatch
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

Action = Literal["nothing", "relieve", "pause", "resume", "give_up"]
"""Let go of caches, stop or start the intakes, or end the process to be started afresh."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """What was done so far; times are seconds on the monitor's clock.

    Attributes:
        relieved_at: when caches were last let go of.
        paused_at: since when nothing is taken in, None when it is.
    """

    relieved_at: float | None = None
    paused_at: float | None = None


def decide(
    pressure: Pressure, used_share: float, now: float, settings: MemorySettings
) -> tuple[Pressure, Action]:
    """Return what to do, and what will have been done then.

    A relief comes before a pause: ask again afterwards, with what is in use then.

    Args:
        pressure: what was done so far.
        used_share: memory in use as a share of the limit.
        now: seconds on the monitor's clock.
        settings: the thresholds.
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
class Look:
    """What is in use, by kind of process, and what may be."""

    uses: Mapping[Kind, Use]
    limit: Limit

    @property
    def used_bytes(self) -> int:
        """Memory of all processes together."""
        return sum(use.memory_bytes for use in self.uses.values())

    @property
    def used_share(self) -> float:
        """The same as a share of the limit."""
        return self.used_bytes / self.limit.limit_bytes

    def __str__(self) -> str:
        return (
            f"{mebibytes(self.used_bytes)} of {mebibytes(self.limit.limit_bytes)} are in use"
            f" (the limit is {self.limit.source})"
        )


def look_at_process(settings: MemorySettings) -> Look:
    """Return what this process and its children use, and the limit that holds now."""
    return Look(read_use(psutil.Process()), find_limit(settings))


def export(seen: Look) -> None:
    """Show it in the metrics."""
    MEMORY_LIMIT.set(seen.limit.limit_bytes)
    for kind in KINDS:
        use = seen.uses.get(kind, Use())
        MEMORY.labels(kind).set(use.memory_bytes)
        OPEN_FILES.labels(kind).set(use.files)
        THREADS.labels(kind).set(use.threads)


def mebibytes(size: float) -> str:
    """Return bytes for people."""
    return f"{size / 2**20:.0f} MiB"


log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""For one look; usual ones take milliseconds. A thread that hangs must not stop the looking."""


class MemoryExhaustedError(Exception):
    """Memory stayed near its limit although nothing was taken in; the process ends."""


class MemoryMonitor:
    """Lets go of caches when memory is short, stops the intakes when it is nearly used up.

    Args:
        settings: limit and thresholds.
        users: the open stages.
        look: sees what is in use; runs in a thread.
        release: gives memory back to the system.
        clock: seconds that only go forward.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        settings: MemorySettings,
        users: MemoryUsers,
        *,
        look: Callable[[MemorySettings], Look] = look_at_process,
        release: Callable[[], None] = release_memory,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._users = users
        self._look = look
        self._release = release
        self._clock = clock
        self._sleep = sleep
        self._began = clock()
        self._pressure = Pressure()
        self._watches: dict[Kind, LeakWatch] = {}

    async def run(self) -> None:
        """Look again and again, for ever.

        Raises:
            MemoryExhaustedError: memory stayed near the limit for too long; the text says how.
        """
        while True:
            try:
                await self._act(await self._see())
            except MemoryExhaustedError:
                raise
            except Exception as error:
                log.exception("cannot look after the memory, next time again")
                self._give_up_unseen(error)
            await self._sleep(self._settings.sample_seconds)

    def _give_up_unseen(self, error: Exception) -> None:
        """End what nobody can tell to be over: a pause, while looks fail."""
        since = self._pressure.paused_at
        if since is not None and self._clock() - since >= self._settings.give_up_seconds:
            reason = f"memory was nearly used up, and cannot be looked at any more: {error!r}"
            raise MemoryExhaustedError(reason) from error

    async def _see(self) -> Look:
        async with asyncio.timeout(LOOK_SECONDS):
            seen = await asyncio.to_thread(self._look, self._settings)
        export(seen)
        return seen

    async def _act(self, seen: Look) -> None:
        self._watch_growth(seen)
        action = self._decide(seen)
        if action == "relieve":
            seen = await self._relieve(seen)
            action = self._decide(seen)
        self._carry_out(action, seen)

    def _decide(self, seen: Look) -> Action:
        now = self._clock()
        self._pressure, action = decide(self._pressure, seen.used_share, now, self._settings)
        return action

    async def _relieve(self, before: Look) -> Look:
        """Let go of what can be had again; return what is in use then."""
        MEMORY_RELIEFS.inc()
        self._users.relieve()
        self._release()
        after = await self._see()
        freed = mebibytes(before.used_bytes - after.used_bytes)
        log.warning("memory is short, caches were let go of: %s freed, %s", freed, after)
        return after

    def _carry_out(self, action: Action, seen: Look) -> None:
        match action:
            case "pause":
                self._users.pause(f"memory: {seen}; records wait until it is less")
            case "resume":
                log.warning("memory is free again: %s", seen)
                self._users.resume()
            case "give_up":
                raise MemoryExhaustedError(_exhausted(seen, self._settings))

    # Leaks

    def _watch_growth(self, seen: Look) -> None:
        now = self._clock()
        if now - self._began < self._settings.warm_up_seconds:
            return
        for kind, use in seen.uses.items():
            growth = self._watch(kind).add(now, use.memory_bytes)
            if growth is not None:
                self._tell(kind, growth)

    def _watch(self, kind: Kind) -> LeakWatch:
        window, leak = self._settings.trend_seconds, self._settings.leak_bytes_per_hour
        return self._watches.setdefault(kind, LeakWatch(window, leak))

    def _tell(self, kind: Kind, growth: Growth) -> None:
        MEMORY_TREND.labels(kind).set(growth.trend.per_hour)
        if growth.is_news:
            log.warning(
                "memory of %s grows by %s an hour (95 %%: at least %s): this looks like a leak",
                kind,
                mebibytes(growth.trend.per_hour),
                mebibytes(growth.trend.low),
            )


def _exhausted(seen: Look, settings: MemorySettings) -> str:
    return (
        f"{seen}, and that did not become less in {settings.give_up_seconds:g} s in which nothing"
        " was taken in; the process ends, to be started afresh. Raise memory.limit_bytes or the"
        " container's limit, or lower stage.concurrency or engine.processes"
    )
