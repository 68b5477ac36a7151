"""Memory monitor with injected samples, clock and sleep."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from streams.intake import Intake
from streams.memory.monitor import MemoryExhaustedError, MemoryMonitor, MemorySample, sample_process
from streams.memory.reading import Limit, ProcessKind, Usage
from streams.memory.users import MemoryUsers
from streams.observability.metrics import REGISTRY
from streams.settings import MemorySettings

pytestmark = pytest.mark.untraced

MEBIBYTE = 2**20
LIMIT = 1_000
"""MiB."""

SETTINGS = MemorySettings(
    sample_seconds=5,
    relief_seconds=60,
    give_up_seconds=100,
    warm_up_seconds=600,
    trend_seconds=1_200,
    leak_bytes_per_hour=20 * MEBIBYTE,
)


class SamplesExhaustedError(Exception):
    """All samples are consumed."""


@dataclass
class MonitorHarness:
    """Memory monitor that takes given samples, one every ``sample_seconds``.

    Attributes:
        used: MiB in use at each sample, or the error that the sample raises.
        freed: MiB that each relief frees for the rest of the run.
    """

    used: Sequence[float | Exception]
    freed: float = 0
    now: float = 0
    slept: int = 0
    reliefs: list[int] = field(default_factory=list)
    releases: int = 0
    problems: list[str | None] = field(default_factory=list)
    intake: Intake = field(default_factory=lambda: Intake("toy"))

    async def run(self, settings: MemorySettings = SETTINGS) -> None:
        """Run a monitor until the samples are exhausted."""
        users = MemoryUsers()
        monitor = MemoryMonitor(
            settings,
            users,
            take_sample=self._take_sample,
            release=self._release,
            clock=lambda: self.now,
            sleep=self._sleep,
        )
        with users.registered(self.intake, [lambda: self.reliefs.append(self.slept)]):
            try:
                await monitor.run()
            except SamplesExhaustedError:
                return

    def _take_sample(self, _settings: MemorySettings) -> MemorySample:
        used = self.used[self.slept]
        if isinstance(used, Exception):
            raise used
        return sample_of(used - self.freed * len(self.reliefs))

    def _release(self) -> None:
        self.releases += 1

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.problems.append(self.intake.problem())
        self.now += seconds
        self.slept += 1
        if self.slept == len(self.used):
            raise SamplesExhaustedError

    @property
    def paused(self) -> str:
        """Whether the intake is paused after each sample, as ``.`` and ``P``."""
        return "".join("." if problem is None else "P" for problem in self.problems)


def sample_of(used: float, kind: ProcessKind = "worker") -> MemorySample:
    use = Usage(memory_bytes=int(used * MEBIBYTE), files=12, threads=3)
    return MemorySample({kind: use}, Limit(LIMIT * MEBIBYTE, "a test"))


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"clipmill_{name}", labels) or 0.0


async def test_no_action_below_the_relief_threshold() -> None:
    harness = MonitorHarness([100, 700, 749])
    await harness.run()
    assert (harness.reliefs, harness.releases, harness.paused) == ([], 0, "...")


async def test_caches_are_dropped_before_the_intake_is_paused() -> None:
    before = metric("memory_reliefs_total")
    harness = MonitorHarness([100, 800, 800, 950], freed=200)
    await harness.run()
    assert harness.reliefs == [1]
    assert harness.releases == 1
    assert harness.paused == "....", "950 less the freed memory is below the pause threshold"
    assert metric("memory_reliefs_total") == before + 1


async def test_sufficient_relief_avoids_the_pause() -> None:
    harness = MonitorHarness([960, 960], freed=200)
    await harness.run()
    assert (harness.reliefs, harness.paused) == ([0], "..")


async def test_insufficient_relief_is_followed_by_a_pause_at_once() -> None:
    harness = MonitorHarness([960, 960, 850, 790, 100])
    await harness.run()
    assert (harness.reliefs, harness.paused) == ([0], "PPP..")


async def test_reliefs_are_relief_seconds_apart() -> None:
    harness = MonitorHarness([800] * 30)
    await harness.run()
    assert harness.reliefs == [0, 12, 24]


async def test_pause_reason_names_usage_limit_and_source() -> None:
    harness = MonitorHarness([950])
    await harness.run()
    reason = "memory pressure: 950 MiB of 1000 MiB are in use (the limit is a test)"
    assert harness.problems == [reason]


async def test_pause_longer_than_give_up_seconds_raises() -> None:
    harness = MonitorHarness([950] * 40)
    with pytest.raises(MemoryExhaustedError, match=r"950 MiB of 1000 MiB.*100 s.*limit_bytes"):
        await harness.run()
    assert harness.now == 100


async def test_failed_sample_is_logged_and_sampling_continues(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = MonitorHarness([950, OSError("no /proc"), 100])
    await harness.run()
    assert harness.paused == "PP."
    assert [r.exc_info[1].args for r in caplog.records if r.exc_info and r.exc_info[1]] == [
        ("no /proc",)
    ]


async def test_sample_is_exported_as_metrics() -> None:
    await MonitorHarness([123]).run()
    assert metric("memory_bytes", process="worker") == 123 * MEBIBYTE
    assert metric("memory_bytes", process="children") == 0
    assert metric("memory_limit_bytes") == LIMIT * MEBIBYTE
    assert metric("open_files", process="worker") == 12
    assert metric("threads", process="worker") == 3


def growing_usage(rate: float, samples: int) -> list[float]:
    """Return MiB in use that grow by ``rate`` an hour."""
    return [100 + rate * n * SETTINGS.sample_seconds / 3_600 for n in range(samples)]


def leak_reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for r in caplog.records if "leak" in (text := r.getMessage())]


async def test_leak_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    await MonitorHarness(growing_usage(60, 700)).run()
    assert leak_reports(caplog) == [
        "memory of worker grows by 60 MiB an hour (95 %: at least 60 MiB): this looks like a leak"
    ]
    assert metric("memory_trend_bytes_per_hour", process="worker") == pytest.approx(
        60 * MEBIBYTE, rel=0.01
    )


@pytest.mark.parametrize(
    "used",
    [
        pytest.param(growing_usage(10, 700), id="slow growth"),
        pytest.param(growing_usage(600, 119) + [300.0] * 600, id="growth during warm-up"),
    ],
)
async def test_growth_below_the_threshold_or_during_warm_up_is_not_reported(
    used: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    await MonitorHarness(used).run()
    assert leak_reports(caplog) == []


async def test_sample_process_measures_this_process() -> None:
    seen = await asyncio.to_thread(sample_process, MemorySettings())
    assert 0 < seen.used_share < 1
    assert seen.usage["worker"].memory_bytes > MEBIBYTE


async def test_cancelled_monitor_ends() -> None:
    task = asyncio.create_task(MemoryMonitor(MemorySettings(), MemoryUsers()).run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


async def test_pause_with_failing_samples_raises_after_give_up_seconds() -> None:
    harness = MonitorHarness([950, *[RuntimeError("can't start new thread")] * 40])
    with pytest.raises(MemoryExhaustedError, match="can no longer be measured"):
        await harness.run()
    assert harness.now >= SETTINGS.give_up_seconds


async def test_failing_samples_without_a_pause_do_not_end_the_monitor() -> None:
    harness = MonitorHarness([100, *[RuntimeError("can't start new thread")] * 40])
    await harness.run()
    assert harness.slept == 41
