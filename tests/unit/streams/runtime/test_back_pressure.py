"""Back-pressure on a clock that the test moves."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.claims import Claim
from streams.priority_queue import DEFAULT_RANK, URGENT
from streams.records import Outgoing
from streams.runtime.back_pressure import (
    POLL_SECONDS,
    RETRY_BONUS,
    STALLED_SECONDS,
    UNKNOWN_SECONDS,
    BackPressure,
    BackPressureGate,
    Finished,
    GroupProgress,
    Meter,
)
from streams.settings import StageSettings
from streams.topics import AUDIT, ERRORS, EXTRACTED, READERS, VALIDATED, Topic

SETTINGS = StageSettings(backlog_records=100, backlog_seconds=1)
BATCH = DEFAULT_RANK - 1
"""Rank of a member of a batch; by this rank the limit is the one of the settings."""


class Bench:
    """A gate in front of a later stage that a test drives."""

    def __init__(self, *, share: float = 1.0, commit_seconds: float = 0.0) -> None:
        self.now = 1_000.0
        self.known = True
        self.meter = Meter(SETTINGS, commit_seconds)
        self.gate = BackPressureGate(
            {AUDIT: self.meter}, lambda: share, is_known=lambda: self.known
        )

    def measure(
        self, end: int, finished: int, seconds: float = 0.0, *, is_late: bool = False
    ) -> None:
        self.now += seconds
        self.meter.observe(GroupProgress(end, finished, is_late), self.now)
        self.gate.measured()

    def start(self, rank: int = BATCH, cost: int = 1) -> int:
        """Start as many as are admitted; return how many."""
        claim, count = Claim(rank, (AUDIT,), cost), 0
        while count < 10_000 and self.gate.admits(claim):
            self.gate.spend(claim)
            count += 1
        return count


def test_before_the_first_measurement_one_limit_of_records_is_admitted() -> None:
    assert Bench().start() == 100


def test_what_is_not_finished_takes_room() -> None:
    bench = Bench()
    bench.measure(end=70, finished=10)
    assert bench.start() == 40
    bench.measure(end=110, finished=110)
    assert bench.start() == 100


def test_a_full_backlog_admits_nothing_of_the_same_rank() -> None:
    bench = Bench()
    bench.measure(end=100, finished=0)
    assert bench.start() == 0


def test_a_higher_rank_has_room_where_a_lower_one_has_none() -> None:
    bench = Bench()
    bench.measure(end=100, finished=0)
    ranks = [BATCH, DEFAULT_RANK, URGENT - 1, URGENT - 1 + RETRY_BONUS]
    room = [bench.start(rank) for rank in ranks]
    assert room[0] == 0
    assert all(each > 0 for each in room[1:]), "each further rank has room of its own"


def test_the_lowest_rank_has_room_for_a_slice_of_a_batch() -> None:
    assert Bench().start(rank=0, cost=25) >= 1


def test_a_fast_stage_has_a_larger_limit_and_a_slow_one_the_least() -> None:
    bench = Bench()
    for second in range(1, 20):
        bench.measure(end=second * 400, finished=second * 400, seconds=1)
    assert 350 <= bench.start() <= 400
    for _ in range(40):
        bench.measure(end=7_600, finished=7_600, seconds=1)
    assert bench.start() == 100


def test_a_pause_between_two_commits_does_not_lower_the_limit_much() -> None:
    bench = Bench()
    for second in range(1, 20):
        bench.measure(end=second * 400, finished=second * 400, seconds=1)
    bench.measure(end=7_700, finished=7_600, seconds=0.5)
    assert bench.start() >= 250


def test_what_the_process_finishes_itself_makes_room_at_once() -> None:
    bench = Bench()
    bench.measure(end=100, finished=0)
    for _ in range(30):
        bench.meter.finish()
    assert bench.start() == 30


def test_what_was_never_counted_makes_no_room_when_it_is_finished() -> None:
    bench = Bench()
    for _ in range(1_000):
        bench.meter.finish()
    assert bench.start() == 100


def test_what_is_started_and_finished_between_two_measurements_takes_no_room() -> None:
    bench = Bench()
    bench.measure(end=0, finished=0)
    started = 0
    for _ in range(20):
        count = bench.start()
        started += count
        for _ in range(count):
            bench.meter.finish()
    assert started == 20 * 100


def test_workers_share_the_room() -> None:
    bench = Bench(share=0.25)
    bench.measure(end=0, finished=0)
    assert bench.start() == 25


def test_a_share_of_less_than_one_slice_still_admits_one() -> None:
    bench = Bench(share=0.01)
    bench.measure(end=40, finished=0)
    assert bench.start(cost=25) == 1


def test_what_costs_more_than_the_limit_goes_when_nothing_is_before_it() -> None:
    bench = Bench()
    bench.measure(end=100, finished=100)
    assert bench.start(cost=1_000) == 1
    bench.measure(end=101, finished=100)
    assert bench.start(cost=1_000) == 0


def test_a_record_that_led_to_more_than_it_claimed_takes_more_room() -> None:
    bench = Bench()
    claim = Claim(BATCH, (AUDIT,))
    bench.gate.spend(claim)
    bench.gate.charge([Outgoing(AUDIT, None, None)] * 61, claim)
    bench.gate.charge([Outgoing(ERRORS, None, None)] * 500, claim)
    assert bench.start() == 39


def test_each_topic_of_a_path_must_have_room() -> None:
    full, empty = Meter(SETTINGS), Meter(SETTINGS)
    full.observe(GroupProgress(end=1_000, finished=0), 0.0)
    gate = BackPressureGate({VALIDATED: empty, EXTRACTED: full}, lambda: 1.0)
    assert gate.admits(Claim(BATCH, (VALIDATED,)))
    assert not gate.admits(Claim(BATCH, (VALIDATED, EXTRACTED)))
    assert gate.admits(Claim(BATCH))
    assert gate.admits(Claim(BATCH, (ERRORS,))), "failures are never held back"


# Nothing is held back for ever


def test_a_stage_that_finishes_nothing_holds_nothing_back_after_a_while() -> None:
    bench = Bench()
    bench.measure(end=500, finished=0)
    assert bench.start() == 0
    bench.measure(end=500, finished=0, seconds=STALLED_SECONDS)
    assert bench.start() == 10_000
    bench.measure(end=10_500, finished=1, seconds=1)
    assert bench.start() == 0, "it moves again"


def test_a_stage_that_was_idle_for_long_is_no_stalled_one() -> None:
    bench = Bench()
    bench.measure(end=5, finished=5)
    bench.measure(end=5, finished=5, seconds=10 * STALLED_SECONDS)
    bench.measure(end=500, finished=5, seconds=POLL_SECONDS)
    assert bench.start() == 0


def test_without_measurements_nothing_is_held_back() -> None:
    bench = Bench()
    bench.measure(end=500, finished=0)
    bench.known = False
    assert bench.start() == 10_000


class Cluster:
    """What measuring returns, or raises."""

    def __init__(self) -> None:
        self.health_report: dict[Topic, GroupProgress] = {}
        self.error: Exception | None = None
        self.known: list[Finished] = []

    async def measure(self, known: Finished) -> Mapping[Topic, GroupProgress]:
        self.known.append(known)
        if self.error is not None:
            raise self.error
        return self.health_report


class Process:
    """The back-pressure of a process with one stage."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cluster = Cluster()
        self.pressure = BackPressure(SETTINGS, clock=lambda: self.now)
        self.gate = self.pressure.gate(lambda: 1.0)
        self.looks = 0

    def look(self) -> None:
        self.looks += 1

    async def measure(self, seconds: float = 0.0) -> None:
        self.now += seconds
        await self.pressure.measure_once(self.cluster.measure)

    def admits(self) -> bool:
        return self.gate.admits(Claim(BATCH, (AUDIT,)))


@pytest.fixture
def process() -> Any:
    made = Process()
    with made.pressure.opening(made.gate, made.look):
        yield made


async def test_after_a_measurement_the_stages_look_for_room(process: Process) -> None:
    process.cluster.health_report = {AUDIT: GroupProgress(end=500, finished=0)}
    await process.measure()
    assert (process.looks, process.admits()) == (1, False)


async def test_for_how_long_measurements_may_fail(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    process.cluster.health_report = {AUDIT: GroupProgress(end=500, finished=0)}
    await process.measure()
    process.cluster.error = OSError("away")
    await process.measure(1)
    await process.measure(UNKNOWN_SECONDS - 1)
    assert not process.admits()
    await process.measure(2)
    assert process.admits()
    assert process.looks == 4
    assert len(caplog.records) == 1, "one line a minute"
    process.cluster.error = None
    await process.measure(1)
    assert not process.admits()


async def test_it_measures_only_while_a_stage_needs_room(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.runtime.back_pressure.POLL_SECONDS", 0.0)
    monkeypatch.setattr("streams.runtime.back_pressure.CALM_POLLS", 1_000_000)
    process.cluster.health_report = {AUDIT: GroupProgress(end=0, finished=0)}
    running = asyncio.create_task(process.pressure.run(process.cluster.measure))
    await asyncio.sleep(0.01)
    assert process.cluster.known == []
    claim = Claim(BATCH, (AUDIT,))
    for _ in range(30):
        process.gate.spend(claim)
    await asyncio.sleep(0.01)
    assert len(process.cluster.known) == 1, "much room was spent"
    process.gate.spend(claim)
    await asyncio.sleep(0.05)
    assert len(process.cluster.known) == 1, "a little: not at each poll"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_this_process_has_finished_is_known_to_the_measurement(
    process: Process,
) -> None:
    with process.pressure.reading(lambda: {("audit", 0): 7}):
        await process.measure()
    await process.measure()
    assert process.cluster.known == [{("audit", 0): 7}, {}]


async def test_a_blocked_stage_looks_again_soon_after_a_later_one_finished(
    process: Process,
) -> None:
    process.cluster.health_report = {AUDIT: GroupProgress(end=100, finished=0)}
    await process.measure()
    process.pressure.finish(AUDIT)
    await asyncio.sleep(0.03)
    assert process.looks == 1, "nothing is blocked"
    assert not process.gate.admits(Claim(BATCH, (AUDIT,), cost=2))
    for _ in range(5):
        process.pressure.finish(AUDIT)
    process.pressure.finish(ERRORS)
    await asyncio.sleep(0.03)
    assert process.looks == 2
    assert process.admits()


# Simulated: an early stage, and a later one of another process


@pytest.mark.untraced
@settings(deadline=None, max_examples=20)
@given(
    speed=st.sampled_from([0.5, 4, 60, 800, 5_000]),
    commit_seconds=st.sampled_from([0.0, 0.25, 1.0]),
    offered=st.sampled_from([0.3, 2.0, 10.0]),
)
def test_the_later_stage_is_kept_busy_by_a_short_backlog(
    speed: float, commit_seconds: float, offered: float
) -> None:
    """The early stage offers so many times what the later one can do, for 40 s."""
    bench, end, done, committed = Bench(commit_seconds=commit_seconds), 0.0, 0.0, 0
    busy, longest, step = 0.0, 0.0, 0.05
    waiting = 0.0
    for tick in range(800):
        now = tick * step
        waiting += offered * speed * step
        while waiting >= 1 and bench.gate.admits(Claim(BATCH, (AUDIT,))):
            bench.gate.spend(Claim(BATCH, (AUDIT,)))
            waiting -= 1
            end += 1
        work = min(speed * step, end - done)
        done += work
        if now >= 20:
            busy += work
            longest = max(longest, end - done)
        if commit_seconds == 0 or tick % round(commit_seconds / step) == 0:
            committed = int(done)
        if tick % round(POLL_SECONDS / step) == 0:
            bench.measure(int(end), committed, POLL_SECONDS, is_late=commit_seconds > 0)
    assert busy >= 0.9 * min(1.0, offered) * speed * 20 - 2
    assert longest <= max(100, 3 * speed) + 1
    assert READERS[AUDIT] == "ledger"
