"""Back-pressure with an injected clock."""

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
    FinishedCounts,
    GroupProgress,
    Meter,
)
from streams.settings import StageSettings
from streams.topics import AUDIT, ERRORS, EXTRACTED, READERS, VALIDATED, Topic

SETTINGS = StageSettings(backlog_records=100, backlog_seconds=1)
BATCH = DEFAULT_RANK - 1
"""Rank of a batch member; the limit of this rank is the configured one."""


class GateHarness:
    """Back-pressure gate in front of a downstream stage with given progress."""

    def __init__(self, *, share: float = 1.0, commit_seconds: float = 0.0) -> None:
        self.now = 1_000.0
        self.known = True
        self.meter = Meter(SETTINGS, commit_seconds)
        self.gate = BackPressureGate(
            {AUDIT: self.meter}, lambda: share, is_known=lambda: self.known
        )

    def measure(
        self, end: int, finished: int, seconds: float = 0.0, *, is_remote: bool = False
    ) -> None:
        self.now += seconds
        self.meter.observe(GroupProgress(end, finished, is_remote), self.now)
        self.gate.reset_spent()

    def start(self, rank: int = BATCH, cost: int = 1) -> int:
        """Start records until the gate rejects one; return the count."""
        claim, count = Claim(rank, (AUDIT,), cost), 0
        while count < 10_000 and self.gate.admits(claim):
            self.gate.spend(claim)
            count += 1
        return count


def test_one_limit_of_records_is_admitted_before_the_first_measurement() -> None:
    assert GateHarness().start() == 100


def test_unfinished_records_reduce_the_capacity() -> None:
    harness = GateHarness()
    harness.measure(end=70, finished=10)
    assert harness.start() == 40
    harness.measure(end=110, finished=110)
    assert harness.start() == 100


def test_full_backlog_rejects_the_same_rank() -> None:
    harness = GateHarness()
    harness.measure(end=100, finished=0)
    assert harness.start() == 0


def test_higher_rank_has_capacity_when_a_lower_one_has_none() -> None:
    harness = GateHarness()
    harness.measure(end=100, finished=0)
    ranks = [BATCH, DEFAULT_RANK, URGENT - 1, URGENT - 1 + RETRY_BONUS]
    capacity = [harness.start(rank) for rank in ranks]
    assert capacity[0] == 0
    assert all(each > 0 for each in capacity[1:]), "each higher rank has capacity of its own"


def test_lowest_rank_has_capacity_for_a_batch_slice() -> None:
    assert GateHarness().start(rank=0, cost=25) >= 1


def test_limit_follows_the_throughput_of_the_stage() -> None:
    harness = GateHarness()
    for second in range(1, 20):
        harness.measure(end=second * 400, finished=second * 400, seconds=1)
    assert 350 <= harness.start() <= 400
    for _ in range(40):
        harness.measure(end=7_600, finished=7_600, seconds=1)
    assert harness.start() == 100


def test_pause_between_two_commits_hardly_lowers_the_limit() -> None:
    harness = GateHarness()
    for second in range(1, 20):
        harness.measure(end=second * 400, finished=second * 400, seconds=1)
    harness.measure(end=7_700, finished=7_600, seconds=0.5)
    assert harness.start() >= 250


def test_records_finished_by_this_process_free_capacity_at_once() -> None:
    harness = GateHarness()
    harness.measure(end=100, finished=0)
    for _ in range(30):
        harness.meter.finish()
    assert harness.start() == 30


def test_finished_records_that_were_not_counted_free_no_capacity() -> None:
    harness = GateHarness()
    harness.meter.finish(1_000)
    assert harness.start() == 100


def test_records_finished_between_two_measurements_take_no_capacity() -> None:
    harness = GateHarness()
    harness.measure(end=0, finished=0)
    started = 0
    for _ in range(20):
        count = harness.start()
        started += count
        for _ in range(count):
            harness.meter.finish()
    assert started == 20 * 100


def test_workers_share_the_capacity() -> None:
    harness = GateHarness(share=0.25)
    harness.measure(end=0, finished=0)
    assert harness.start() == 25


def test_share_below_one_slice_still_admits_one() -> None:
    harness = GateHarness(share=0.01)
    harness.measure(end=40, finished=0)
    assert harness.start(cost=25) == 1


def test_cost_above_the_limit_is_admitted_with_an_empty_backlog() -> None:
    harness = GateHarness()
    harness.measure(end=100, finished=100)
    assert harness.start(cost=1_000) == 1
    harness.measure(end=101, finished=100)
    assert harness.start(cost=1_000) == 0


def test_output_beyond_the_claim_takes_capacity() -> None:
    harness = GateHarness()
    claim = Claim(BATCH, (AUDIT,))
    harness.gate.spend(claim)
    harness.gate.charge([Outgoing(AUDIT, None, None)] * 61, claim)
    harness.gate.charge([Outgoing(ERRORS, None, None)] * 500, claim)
    assert harness.start() == 39


def test_every_topic_of_a_path_needs_capacity() -> None:
    full, empty = Meter(SETTINGS), Meter(SETTINGS)
    full.observe(GroupProgress(end=1_000, finished=0), 0.0)
    gate = BackPressureGate({VALIDATED: empty, EXTRACTED: full}, lambda: 1.0)
    assert gate.admits(Claim(BATCH, (VALIDATED,)))
    assert not gate.admits(Claim(BATCH, (VALIDATED, EXTRACTED)))
    assert gate.admits(Claim(BATCH))
    assert gate.admits(Claim(BATCH, (ERRORS,))), "failures are always admitted"


# Bounds on how long back-pressure applies


def test_stalled_stage_applies_no_back_pressure() -> None:
    harness = GateHarness()
    harness.measure(end=500, finished=0)
    assert harness.start() == 0
    harness.measure(end=500, finished=0, seconds=STALLED_SECONDS)
    assert harness.start() == 10_000
    harness.measure(end=10_500, finished=1, seconds=1)
    assert harness.start() == 0, "the stage makes progress again"


def test_idle_stage_does_not_count_as_stalled() -> None:
    harness = GateHarness()
    harness.measure(end=5, finished=5)
    harness.measure(end=5, finished=5, seconds=10 * STALLED_SECONDS)
    harness.measure(end=500, finished=5, seconds=POLL_SECONDS)
    assert harness.start() == 0


def test_no_back_pressure_without_measurements() -> None:
    harness = GateHarness()
    harness.measure(end=500, finished=0)
    harness.known = False
    assert harness.start() == 10_000


class FakeCluster:
    """Source of measurements: given progress, or an error."""

    def __init__(self) -> None:
        self.progress: dict[Topic, GroupProgress] = {}
        self.error: Exception | None = None
        self.known: list[FinishedCounts] = []

    async def measure(self, known: FinishedCounts) -> Mapping[Topic, GroupProgress]:
        self.known.append(known)
        if self.error is not None:
            raise self.error
        return self.progress


class ProcessHarness:
    """Back-pressure of a process with one stage."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cluster = FakeCluster()
        self.pressure = BackPressure(SETTINGS, clock=lambda: self.now)
        self.gate = self.pressure.gate(lambda: 1.0)
        self.notifications = 0

    def on_capacity(self) -> None:
        self.notifications += 1

    async def measure(self, seconds: float = 0.0) -> None:
        self.now += seconds
        await self.pressure.measure_once(self.cluster.measure)

    def admits(self) -> bool:
        return self.gate.admits(Claim(BATCH, (AUDIT,)))


@pytest.fixture
def process() -> Any:
    harness = ProcessHarness()
    with harness.pressure.register_gate(harness.gate, harness.on_capacity):
        yield harness


async def test_stages_are_notified_after_a_measurement(process: ProcessHarness) -> None:
    process.cluster.progress = {AUDIT: GroupProgress(end=500, finished=0)}
    await process.measure()
    assert (process.notifications, process.admits()) == (1, False)


async def test_back_pressure_ends_when_measurements_fail_for_too_long(
    process: ProcessHarness, caplog: pytest.LogCaptureFixture
) -> None:
    process.cluster.progress = {AUDIT: GroupProgress(end=500, finished=0)}
    await process.measure()
    process.cluster.error = OSError("away")
    await process.measure(1)
    await process.measure(UNKNOWN_SECONDS - 1)
    assert not process.admits()
    await process.measure(2)
    assert process.admits()
    assert process.notifications == 4
    assert len(caplog.records) == 1, "one line a minute"
    process.cluster.error = None
    await process.measure(1)
    assert not process.admits()


async def test_measurements_are_taken_only_while_capacity_is_spent(
    process: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.runtime.back_pressure.POLL_SECONDS", 0.0)
    monkeypatch.setattr("streams.runtime.back_pressure.IDLE_POLLS", 1_000_000)
    process.cluster.progress = {AUDIT: GroupProgress(end=0, finished=0)}
    running = asyncio.create_task(process.pressure.run(process.cluster.measure))
    await asyncio.sleep(0.01)
    assert process.cluster.known == []
    claim = Claim(BATCH, (AUDIT,))
    for _ in range(30):
        process.gate.spend(claim)
    await asyncio.sleep(0.01)
    assert len(process.cluster.known) == 1, "much capacity was spent"
    process.gate.spend(claim)
    await asyncio.sleep(0.05)
    assert len(process.cluster.known) == 1, "a little: not at each poll"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_offsets_finished_by_this_process_are_passed_to_the_measurement(
    process: ProcessHarness,
) -> None:
    with process.pressure.register_reader(lambda: {("audit", 0): 7}):
        await process.measure()
    await process.measure()
    assert process.cluster.known == [{("audit", 0): 7}, {}]


async def test_blocked_stage_is_notified_soon_after_a_downstream_record_finished(
    process: ProcessHarness,
) -> None:
    process.cluster.progress = {AUDIT: GroupProgress(end=100, finished=0)}
    await process.measure()
    process.pressure.finish(AUDIT)
    await asyncio.sleep(0.03)
    assert process.notifications == 1, "nothing is blocked"
    assert not process.gate.admits(Claim(BATCH, (AUDIT,), cost=2))
    for _ in range(5):
        process.pressure.finish(AUDIT)
    process.pressure.finish(ERRORS)
    await asyncio.sleep(0.03)
    assert process.notifications == 2
    assert process.admits()


# Simulation of an upstream stage, and a downstream one of another process


@pytest.mark.untraced
@settings(deadline=None, max_examples=20)
@given(
    speed=st.sampled_from([0.5, 4, 60, 800, 5_000]),
    commit_seconds=st.sampled_from([0.0, 0.25, 1.0]),
    offered=st.sampled_from([0.3, 2.0, 10.0]),
)
def test_downstream_stage_is_kept_busy_by_a_short_backlog(
    speed: float, commit_seconds: float, offered: float
) -> None:
    """The upstream stage offers ``offered`` times the downstream throughput, for 40 s."""
    harness, end, done, committed = GateHarness(commit_seconds=commit_seconds), 0.0, 0.0, 0
    busy, longest, step = 0.0, 0.0, 0.05
    waiting = 0.0
    for tick in range(800):
        now = tick * step
        waiting += offered * speed * step
        while waiting >= 1 and harness.gate.admits(Claim(BATCH, (AUDIT,))):
            harness.gate.spend(Claim(BATCH, (AUDIT,)))
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
            harness.measure(int(end), committed, POLL_SECONDS, is_remote=commit_seconds > 0)
    assert busy >= 0.9 * min(1.0, offered) * speed * 20 - 2
    assert longest <= max(100, 3 * speed) + 1
    assert READERS[AUDIT] == "ledger"


@pytest.mark.parametrize(("cost", "chained", "spent"), [(1, 0, 1), (1, 1, 0), (3, 2, 1), (1, 4, 0)])
def test_event_that_is_chained_takes_no_capacity(cost: int, chained: int, spent: int) -> None:
    meter = Meter(StageSettings())
    gate = BackPressureGate({AUDIT: meter}, lambda: 1.0)
    gate.spend(Claim(BATCH, (AUDIT,), cost), {AUDIT: chained})
    assert meter.backlog == spent


def test_refund_is_limited_to_what_the_record_has_claimed() -> None:
    meters = {AUDIT: Meter(StageSettings()), ERRORS: Meter(StageSettings())}
    gate = BackPressureGate(meters, lambda: 1.0)
    for meter in meters.values():
        meter.spend(10)
    gate.refund(Claim(BATCH, (AUDIT,), 2), {AUDIT: 5, ERRORS: 5})
    assert [meter.backlog for meter in meters.values()] == [8, 10]
