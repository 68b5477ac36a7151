"""The monitor, with a look, a clock and a sleep of the test's own."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from streams.intake import Intake
from streams.memory.monitor import Look, MemoryExhaustedError, MemoryMonitor, look_at_process
from streams.memory.reading import Kind, Limit, Use
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


class DoneError(Exception):
    """The course of a test is over."""


@dataclass
class Course:
    """What is in use, look by look; every look takes place ``sample_seconds`` after the last.

    Attributes:
        used: MiB in use at each look, or what the look raises.
        freed: MiB that every relief frees, from then on.
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
        """Run a monitor along the course."""
        users = MemoryUsers()
        monitor = MemoryMonitor(
            settings,
            users,
            look=self._look,
            release=self._release,
            clock=lambda: self.now,
            sleep=self._sleep,
        )
        with users.using(self.intake, [lambda: self.reliefs.append(self.slept)]):
            try:
                await monitor.run()
            except DoneError:
                return

    def _look(self, _settings: MemorySettings) -> Look:
        used = self.used[self.slept]
        if isinstance(used, Exception):
            raise used
        return look(used - self.freed * len(self.reliefs))

    def _release(self) -> None:
        self.releases += 1

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.problems.append(self.intake.problem())
        self.now += seconds
        self.slept += 1
        if self.slept == len(self.used):
            raise DoneError

    @property
    def paused(self) -> str:
        """The looks after which the intake was stopped, as ``.`` and ``P``."""
        return "".join("." if problem is None else "P" for problem in self.problems)


def look(used: float, kind: Kind = "worker") -> Look:
    use = Use(memory_bytes=int(used * MEBIBYTE), files=12, threads=3)
    return Look({kind: use}, Limit(LIMIT * MEBIBYTE, "a test"))


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"clipmill_{name}", labels) or 0.0


async def test_with_plenty_nothing_is_done() -> None:
    course = Course([100, 700, 749])
    await course.run()
    assert (course.reliefs, course.releases, course.paused) == ([], 0, "...")


async def test_caches_are_let_go_of_before_anything_stops() -> None:
    before = metric("memory_reliefs_total")
    course = Course([100, 800, 800, 950], freed=200)
    await course.run()
    assert course.reliefs == [1]
    assert course.releases == 1
    assert course.paused == "....", "950 less what was freed is no reason to stop"
    assert metric("memory_reliefs_total") == before + 1


async def test_a_relief_that_helps_spares_the_pause() -> None:
    course = Course([960, 960], freed=200)
    await course.run()
    assert (course.reliefs, course.paused) == ([0], "..")


async def test_a_relief_that_does_not_help_is_followed_by_a_pause_at_once() -> None:
    course = Course([960, 960, 850, 790, 100])
    await course.run()
    assert (course.reliefs, course.paused) == ([0], "PPP..")


async def test_reliefs_keep_their_distance() -> None:
    course = Course([800] * 30)
    await course.run()
    assert course.reliefs == [0, 12, 24]


async def test_the_reason_says_how_much_of_what_is_in_use() -> None:
    course = Course([950])
    await course.run()
    reason = "memory: 950 MiB of 1000 MiB are in use (the limit is a test)"
    assert course.problems == [f"{reason}; records wait until it is less"]


async def test_a_pause_without_end_ends_the_process() -> None:
    course = Course([950] * 40)
    with pytest.raises(MemoryExhaustedError, match=r"950 MiB of 1000 MiB.*100 s.*limit_bytes"):
        await course.run()
    assert course.now == 100


async def test_a_look_that_fails_is_logged_and_the_next_one_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    course = Course([950, OSError("no /proc"), 100])
    await course.run()
    assert course.paused == "PP."
    assert [r.exc_info[1].args for r in caplog.records if r.exc_info and r.exc_info[1]] == [
        ("no /proc",)
    ]


async def test_what_is_seen_is_in_the_metrics() -> None:
    await Course([123]).run()
    assert metric("memory_bytes", process="worker") == 123 * MEBIBYTE
    assert metric("memory_bytes", process="children") == 0
    assert metric("memory_limit_bytes") == LIMIT * MEBIBYTE
    assert metric("open_files", process="worker") == 12
    assert metric("threads", process="worker") == 3


def leaking(rate: float, looks: int) -> list[float]:
    """MiB in use, growing by so much an hour; it is warm after two hours' worth of looks."""
    return [100 + rate * n * SETTINGS.sample_seconds / 3_600 for n in range(looks)]


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for r in caplog.records if "leak" in (text := r.getMessage())]


async def test_a_leak_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    await Course(leaking(60, 700)).run()
    assert reports(caplog) == [
        "memory of worker grows by 60 MiB an hour (95 %: at least 60 MiB): this looks like a leak"
    ]
    assert metric("memory_trend_bytes_per_hour", process="worker") == pytest.approx(
        60 * MEBIBYTE, rel=0.01
    )


@pytest.mark.parametrize(
    "used",
    [
        pytest.param(leaking(10, 700), id="slow growth"),
        pytest.param(leaking(600, 119) + [300.0] * 600, id="growth while it warms up"),
    ],
)
async def test_what_is_no_leak(used: list[float], caplog: pytest.LogCaptureFixture) -> None:
    await Course(used).run()
    assert reports(caplog) == []


async def test_the_real_look_sees_this_process() -> None:
    seen = await asyncio.to_thread(look_at_process, MemorySettings())
    assert 0 < seen.used_share < 1
    assert seen.uses["worker"].memory_bytes > MEBIBYTE


async def test_it_stops_when_it_is_told_to() -> None:
    task = asyncio.create_task(MemoryMonitor(MemorySettings(), MemoryUsers()).run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


async def test_a_pause_that_nobody_can_tell_to_be_over_ends_the_process() -> None:
    course = Course([950, *[RuntimeError("can't start new thread")] * 40])
    with pytest.raises(MemoryExhaustedError, match="cannot be looked at"):
        await course.run()
    assert course.now >= SETTINGS.give_up_seconds


async def test_failing_looks_without_a_pause_end_nothing() -> None:
    course = Course([100, *[RuntimeError("can't start new thread")] * 40])
    await course.run()
    assert course.slept == 41
