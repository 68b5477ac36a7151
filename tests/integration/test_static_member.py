"""Static membership on a real broker: who keeps which partitions when members end and come back."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from streams.cluster.producer import ReliableProducer
from streams.faust_driver.aligned_assignor import aligned_partitions
from streams.faust_driver.static_member import StaticMember
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.runtime.stage_runner import StageRunner
from streams.settings import Settings
from streams.stage import Handler, Stage, StageContext
from streams.topics import REQUESTS, RESULTS, changelog_topic
from tests.integration.kafka_side import make_topics, produce_numbers, read, until

LONG_SESSION_SECONDS = 24.0
"""Nothing in these tests may wait for the end of a session."""

SOON_SECONDS = 20.0
"""A heartbeat tells a member of a rebalance: every quarter of a session."""


class DiedError(Exception):
    """Ends a runner without a word to its group, as a crash does."""


@asynccontextmanager
async def opened(_context: StageContext) -> AsyncIterator[Handler]:
    async def pass_on(record: Incoming) -> Sequence[Effect]:
        row = TableWrite("rows", (record.value or b"").decode(), record.value)
        return [row, Outgoing(RESULTS, record.key, record.value, record.headers)]

    yield pass_on


STAGE = Stage("toy", (REQUESTS,), open=opened, on_bug=lambda *_: (), tables=("rows",))
WITHOUT_TABLES = Stage("bare", (RESULTS,), open=opened, on_bug=lambda *_: ())

Start = Callable[..., "Member"]


class Member:
    """A runner in a task of its own, that ends as the test says."""

    def __init__(self, settings: Settings, instance_id: str | None, stage: Stage = STAGE) -> None:
        self.member = StaticMember(instance_id)
        self.runner: Any = None
        self._stage = stage
        self._settings = settings
        self._die = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with ReliableProducer(self._settings.kafka) as outbox:
            runner = StageRunner(self._stage, self._settings, outbox, member=self.member)
            async with runner:
                self.runner = runner
                await self._die.wait()
                raise DiedError

    @property
    def partitions(self) -> set[int]:
        """Those of its source that it has now, none in a rebalance."""
        if self.runner is None or self.runner.problem() is not None:
            return set()
        names = self.runner.app.consumer.assignment()
        return {each.partition for each in names if "changelog" not in each.topic}

    @property
    def rebalances(self) -> int:
        count: int = self.runner.app.rebalancing_count
        return count

    async def die(self) -> None:
        self._die.set()
        with pytest.raises(DiedError):
            await self._task

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def has(self, count: int) -> None:
        await until(lambda: len(self.partitions) == count, LONG_SESSION_SECONDS)


@pytest.fixture
def patient(settings: Settings) -> Settings:
    """Settings with a long session."""
    kafka = settings.kafka.model_copy(update={"session_timeout_seconds": LONG_SESSION_SECONDS})
    return settings.model_copy(update={"kafka": kafka})


@pytest_asyncio.fixture(loop_scope="session")
async def topics(settings: Settings) -> None:
    await make_topics(settings.kafka, REQUESTS, RESULTS, changelog_topic("toy", "rows"))


@pytest_asyncio.fixture(loop_scope="session")
async def start() -> AsyncIterator[Start]:
    """Start members that are stopped at the end of the test."""
    members: list[Member] = []

    def make(settings: Settings, instance_id: str, stage: Stage = STAGE) -> Member:
        members.append(Member(settings, instance_id, stage))
        return members[-1]

    yield make
    await asyncio.gather(*(member.stop() for member in members))


pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("topics")]


async def two_members(start: Start, settings: Settings) -> tuple[Member, Member]:
    first = start(settings, "first")
    await first.has(2)
    second = start(settings, "second")
    await asyncio.gather(first.has(1), second.has(1))
    return first, second


async def test_a_member_that_died_takes_its_partitions_back_without_a_rebalance(
    start: Start, patient: Settings
) -> None:
    first, second = await two_members(start, patient)
    rebalances, had = first.rebalances, second.partitions
    for _ in range(3):
        await second.die()
        died = time.monotonic()
        second = start(patient, "second")
        await second.has(1)
        assert time.monotonic() - died < SOON_SECONDS
        assert second.partitions == had
    await produce_numbers(patient.kafka, REQUESTS, range(20))
    out = await read(patient.kafka, RESULTS, lambda records: len(records) >= 20)
    assert sorted(int(record.value) for record in out) == list(range(20))
    assert first.rebalances == rebalances


async def test_a_leader_that_died_comes_back_as_quietly(start: Start, patient: Settings) -> None:
    first, second = await two_members(start, patient)
    rebalances = second.rebalances
    await first.die()
    first = start(patient, "first")
    await first.has(1)
    assert second.rebalances == rebalances
    assert first.partitions | second.partitions == {0, 1}


async def test_a_member_that_fails_again_leaves_its_group(start: Start, patient: Settings) -> None:
    first, second = await two_members(start, patient)
    second.member.failures = 1
    await second.die()
    died = time.monotonic()
    await first.has(2)
    assert time.monotonic() - died < SOON_SECONDS


async def test_a_member_that_stops_for_good_gives_its_partitions_away_at_once(
    start: Start, patient: Settings
) -> None:
    first, second = await two_members(start, patient)
    await second.stop()
    stopped = time.monotonic()
    await first.has(2)
    assert time.monotonic() - stopped < SOON_SECONDS


async def test_a_member_that_does_not_come_back_loses_its_partitions_with_its_session(
    start: Start, settings: Settings
) -> None:
    first, second = await two_members(start, settings)
    await second.die()
    await first.has(2)


async def test_two_workers_of_one_id_share_the_work_and_an_error_names_the_setting(
    start: Start, settings: Settings, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    first = start(settings, "twin")
    await first.has(2)
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    second = start(elsewhere, "twin")
    await until(lambda: len(first.partitions) == len(second.partitions) == 1, 60)
    errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    (told,) = [each for each in errors if "kafka.group_instance_id" in each]
    assert "'twin'" in told
    assert first.member.instance_id is None
    assert first.partitions | second.partitions == {0, 1}


async def test_a_rebalance_reads_no_row_again_that_the_worker_wrote_itself(
    start: Start, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(settings, "first")
    await first.has(2)
    await produce_numbers(settings.kafka, REQUESTS, range(200))
    await read(settings.kafka, RESULTS, lambda records: len(records) >= 200)
    again: list[int] = []
    table = first.runner.tables["rows"]._table
    apply = table.apply_changelog_batch

    def counting(batch: Sequence[Any]) -> None:
        again.append(len(batch))
        apply(batch)

    monkeypatch.setattr(table, "apply_changelog_batch", counting)
    second = start(settings, "second")
    await asyncio.gather(first.has(1), second.has(1))
    assert sum(again) == 0
    rows = {row for each in (first, second) for row, _ in each.runner.tables["rows"].items()}
    assert rows == {str(number) for number in range(200)}


@pytest.mark.parametrize("workers", [("box-1", "box-2"), ("box-4", "box-7")])
async def test_a_worker_has_the_same_partitions_in_groups_with_and_without_tables(
    workers: tuple[str, str], start: Start, settings: Settings
) -> None:
    stages = {"0a1b2c3d": STAGE, "ffffffff": WITHOUT_TABLES}
    expected = {name: set(mine) for name, mine in aligned_partitions(workers, 2).items()}
    members = {
        (worker, digest): start(settings, f"{worker}-{digest}", stage)
        for worker in workers
        for digest, stage in stages.items()
    }
    await asyncio.gather(*(member.has(1) for member in members.values()))
    for (worker, digest), member in members.items():
        assert member.partitions == expected[worker], (worker, digest)
