"""Static membership on a real broker: partition assignment when members end and rejoin."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from streams.cluster.producer import ReliableProducer, Write
from streams.faust_driver.aligned_assignor import aligned_partitions
from streams.faust_driver.static_member import StaticMember
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.runtime.stage_runner import StageRunner
from streams.runtime.worker_services import WorkerServices
from streams.settings import Settings
from streams.stage import Handler, Stage, StageContext
from streams.state_stores import RowFields
from streams.state_stores.rocksdb import RocksDbStore
from streams.topics import REQUESTS, RESULTS, changelog_topic
from tests.integration.kafka_client import admin, create_topics, produce_numbers, read, wait_until

LONG_SESSION_SECONDS = 24.0
"""Longer than any wait in these tests: none may depend on the session timeout."""

SOON_SECONDS = 20.0
"""A member learns of a rebalance by its heartbeat, every quarter of a session."""


class CrashError(Exception):
    """Ends a runner without leaving its group, like a crash."""


@asynccontextmanager
async def opened(_context: StageContext) -> AsyncIterator[Handler]:
    async def pass_on(record: Incoming) -> Sequence[Effect]:
        row = TableWrite("rows", (record.value or b"").decode(), record.value)
        return [row, Outgoing(RESULTS, record.key, record.value, record.headers)]

    yield pass_on


STAGE = Stage("toy", (REQUESTS,), open=opened, on_bug=lambda *_: (), tables=("rows",))
ON_DISK = replace(STAGE, indexes={"rows": RowFields(lambda _row: 2e9)})
WITHOUT_TABLES = Stage("bare", (RESULTS,), open=opened, on_bug=lambda *_: ())

Start = Callable[..., "Member"]


class Member:
    """A stage runner in a task, which the test stops or crashes."""

    def __init__(self, settings: Settings, instance_id: str | None, stage: Stage = STAGE) -> None:
        self.member = StaticMember(instance_id)
        self.runner: Any = None
        self._stage = stage
        self._settings = settings
        self._crash = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with ReliableProducer(self._settings.kafka) as producer:
            runner = StageRunner(
                self._stage, WorkerServices(self._settings, producer), member=self.member
            )
            async with runner:
                self.runner = runner
                await self._crash.wait()
                raise CrashError

    @property
    def partitions(self) -> set[int]:
        """The assigned source partitions, none during a rebalance."""
        if self.runner is None or self.runner.problem() is not None:
            return set()
        names = self.runner.app.consumer.assignment()
        return {each.partition for each in names if "changelog" not in each.topic}

    @property
    def rebalances(self) -> int:
        count: int = self.runner.app.rebalancing_count
        return count

    async def crash(self) -> None:
        self._crash.set()
        with pytest.raises(CrashError):
            await self._task

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def wait_for_partitions(self, count: int) -> None:
        await wait_until(lambda: len(self.partitions) == count, LONG_SESSION_SECONDS)


@pytest.fixture
def long_session(settings: Settings) -> Settings:
    """Settings with a long session timeout."""
    kafka = settings.kafka.model_copy(update={"session_timeout_seconds": LONG_SESSION_SECONDS})
    return settings.model_copy(update={"kafka": kafka})


@pytest_asyncio.fixture(loop_scope="session")
async def topics(settings: Settings) -> None:
    await create_topics(settings.kafka, REQUESTS, RESULTS, changelog_topic("toy", "rows"))


@pytest_asyncio.fixture(loop_scope="session")
async def start() -> AsyncIterator[Start]:
    """Factory of members, which are stopped at the end of the test."""
    members: list[Member] = []

    def make(settings: Settings, instance_id: str, stage: Stage = STAGE) -> Member:
        members.append(Member(settings, instance_id, stage))
        return members[-1]

    yield make
    await asyncio.gather(*(member.stop() for member in members))


pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("topics")]


async def two_members(start: Start, settings: Settings) -> tuple[Member, Member]:
    first = start(settings, "first")
    await first.wait_for_partitions(2)
    second = start(settings, "second")
    await asyncio.gather(first.wait_for_partitions(1), second.wait_for_partitions(1))
    return first, second


async def test_restarted_member_keeps_its_partitions_without_a_rebalance(
    start: Start, long_session: Settings
) -> None:
    first, second = await two_members(start, long_session)
    rebalances, previous = first.rebalances, second.partitions
    for _ in range(3):
        await second.crash()
        crashed_at = time.monotonic()
        second = start(long_session, "second")
        await second.wait_for_partitions(1)
        assert time.monotonic() - crashed_at < SOON_SECONDS
        assert second.partitions == previous
    await produce_numbers(long_session.kafka, REQUESTS, range(20))
    out = await read(long_session.kafka, RESULTS, lambda records: len(records) >= 20)
    assert sorted(int(record.value) for record in out) == list(range(20))
    assert first.rebalances == rebalances


async def test_restarted_leader_keeps_its_partitions_without_a_rebalance(
    start: Start, long_session: Settings
) -> None:
    first, second = await two_members(start, long_session)
    rebalances = second.rebalances
    await first.crash()
    first = start(long_session, "first")
    await first.wait_for_partitions(1)
    assert second.rebalances == rebalances
    assert first.partitions | second.partitions == {0, 1}


async def test_member_that_fails_again_leaves_its_group(
    start: Start, long_session: Settings
) -> None:
    first, second = await two_members(start, long_session)
    second.member.failures = 1
    await second.crash()
    crashed_at = time.monotonic()
    await first.wait_for_partitions(2)
    assert time.monotonic() - crashed_at < SOON_SECONDS


async def test_stopped_member_releases_its_partitions_immediately(
    start: Start, long_session: Settings
) -> None:
    first, second = await two_members(start, long_session)
    await second.stop()
    stopped = time.monotonic()
    await first.wait_for_partitions(2)
    assert time.monotonic() - stopped < SOON_SECONDS


async def test_crashed_member_loses_its_partitions_at_the_session_timeout(
    start: Start, settings: Settings
) -> None:
    first, second = await two_members(start, settings)
    await second.crash()
    await first.wait_for_partitions(2)


async def test_duplicate_instance_id_is_logged_and_both_workers_share_the_partitions(
    start: Start, settings: Settings, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    first = start(settings, "twin")
    await first.wait_for_partitions(2)
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    second = start(elsewhere, "twin")
    await wait_until(lambda: len(first.partitions) == len(second.partitions) == 1, 60)
    errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    (message,) = [each for each in errors if "kafka.group_instance_id" in each]
    assert "'twin'" in message
    assert first.member.instance_id is None
    assert first.partitions | second.partitions == {0, 1}


async def test_rebalance_rereads_no_row_that_the_worker_wrote(
    start: Start, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(settings, "first")
    await first.wait_for_partitions(2)
    await produce_numbers(settings.kafka, REQUESTS, range(200))
    await read(settings.kafka, RESULTS, lambda records: len(records) >= 200)
    restored: list[bytes] = []
    store = first.runner.tables["rows"].store
    put = store.put

    def recorded(key: bytes, row: bytes | None, partition: int) -> None:
        restored.append(key)
        put(key, row, partition)

    monkeypatch.setattr(store, "put", recorded)
    second = start(settings, "second")
    await asyncio.gather(first.wait_for_partitions(1), second.wait_for_partitions(1))
    assert restored == []
    rows = {row for each in (first, second) for row, _ in each.runner.tables["rows"].items()}
    assert rows == {str(number) for number in range(200)}


@pytest.mark.parametrize("workers", [("box-1", "box-2"), ("box-4", "box-7")])
async def test_worker_has_equal_partitions_in_groups_with_and_without_tables(
    workers: tuple[str, str], start: Start, settings: Settings
) -> None:
    stages = {"0a1b2c3d": STAGE, "ffffffff": WITHOUT_TABLES}
    expected = {name: set(mine) for name, mine in aligned_partitions(workers, 2).items()}
    members = {
        (worker, digest): start(settings, f"{worker}-{digest}", stage)
        for worker in workers
        for digest, stage in stages.items()
    }
    await asyncio.gather(*(member.wait_for_partitions(1) for member in members.values()))
    for (worker, digest), member in members.items():
        assert member.partitions == expected[worker], (worker, digest)


async def test_member_stops_at_once_while_a_rebalance_waits_for_another_member(
    start: Start, long_session: Settings
) -> None:
    first, second = await two_members(start, long_session)
    await second.crash()
    start(long_session, "third")
    await wait_until(lambda: first.partitions == set(), LONG_SESSION_SECONDS / 2)
    async with asyncio.timeout(LONG_SESSION_SECONDS / 5):
        await first.stop()


# Rows on disk


def rows_in(*members: Member) -> set[str]:
    return {row for each in members for row, _ in each.runner.tables["rows"].items()}


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The keys that stores put, of recoveries and of records."""
    keys: list[bytes] = []
    put = RocksDbStore.put

    def recorded(store: RocksDbStore, key: bytes, row: bytes | None, partition: int) -> None:
        keys.append(key)
        put(store, key, row, partition)

    monkeypatch.setattr(RocksDbStore, "put", recorded)
    return keys


@pytest.mark.parametrize("is_crash", [True, False])
async def test_restarted_member_reads_only_new_rows(
    start: Start, long_session: Settings, restored: list[bytes], is_crash: bool
) -> None:
    member = start(long_session, "first", ON_DISK)
    await member.wait_for_partitions(2)
    await produce_numbers(long_session.kafka, REQUESTS, range(200))
    await read(long_session.kafka, RESULTS, lambda records: len(records) >= 200)
    await wait_until(lambda: len(member.runner.tables["rows"]) == 200, SOON_SECONDS)
    await (member.crash() if is_crash else member.stop())
    restored.clear()
    member = start(long_session, "first", ON_DISK)
    await member.wait_for_partitions(2)
    # The record of each checkpoint is read again.
    assert len(restored) == 2
    assert rows_in(member) == {str(number) for number in range(200)}


async def test_partition_that_comes_back_has_the_rows_of_both_owners(
    start: Start, long_session: Settings
) -> None:
    first = start(long_session, "first", ON_DISK)
    await first.wait_for_partitions(2)
    await produce_numbers(long_session.kafka, REQUESTS, range(100))
    await read(long_session.kafka, RESULTS, lambda records: len(records) >= 100)
    second = start(long_session, "second", ON_DISK)
    await asyncio.gather(first.wait_for_partitions(1), second.wait_for_partitions(1))
    assert rows_in(first, second) == {str(number) for number in range(100)}
    assert rows_in(first).isdisjoint(rows_in(second))
    await produce_numbers(long_session.kafka, REQUESTS, range(100, 200))
    await read(long_session.kafka, RESULTS, lambda records: len(records) >= 200)
    await second.stop()
    await first.wait_for_partitions(2)
    assert rows_in(first) == {str(number) for number in range(200)}


async def test_rows_of_a_changelog_that_was_created_again_are_dropped(
    start: Start, long_session: Settings
) -> None:
    member = start(long_session, "first", ON_DISK)
    await member.wait_for_partitions(2)
    await produce_numbers(long_session.kafka, REQUESTS, range(50))
    await read(long_session.kafka, RESULTS, lambda records: len(records) >= 50)
    await member.stop()
    changelog = changelog_topic("toy", "rows")
    name = changelog.kafka_name(long_session.kafka.topic_prefix)
    async with admin(long_session.kafka) as client:
        await client.delete_topics([name])
        async with asyncio.timeout(SOON_SECONDS):
            while name in await client.list_topics():  # noqa: ASYNC110  (another process)
                await asyncio.sleep(0.05)
    await create_topics(long_session.kafka, changelog)
    async with ReliableProducer(long_session.kafka) as producer:
        writes = [Write(name, b"%d" % number, b"new", (), 0) for number in range(900, 1_000)]
        await producer.publish(writes)
    member = start(long_session, "first", ON_DISK)
    await member.wait_for_partitions(2)
    assert rows_in(member) == {str(number) for number in range(900, 1_000)}
