"""Local delivery into aiokafka's real fetcher, whose broker is a log in memory."""

import asyncio
import dataclasses
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from streams.cluster.local_delivery import (
    FETCH_SECONDS,
    NO_GAP_SECONDS,
    PENDING_BYTES,
    LocalDelivery,
    LocalReader,
    PendingRecords,
)

TOPIC = "audit"
PARTITIONS = 2
NODE = 1


class Log:
    """The logs of a broker.

    Attributes:
        fetches: the fetch offset of each partition, of each request.
        is_open: a fetch request waits for records.
        wait_seconds: longest wait of a fetch, None without an end.
        error: error code of partition 0 in the responses.
    """

    def __init__(self) -> None:
        self.records: dict[TopicPartition, list[bytes]] = defaultdict(list)
        self.fetches: list[dict[int, int]] = []
        self.is_open = False
        self.error = 0
        self.wait_seconds: float | None = None
        self.appended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._metadata_max_age_ms = 300_000
        self.cluster = SimpleNamespace(leader_for_partition=lambda _tp: NODE)

    def append(self, value: bytes, partition: int = 0) -> ConsumerRecord[bytes, bytes]:
        """Append a record; return it as its acknowledgement does."""
        log = self.records[TopicPartition(TOPIC, partition)]
        log.append(value)
        self.appended.set()
        self.appended = asyncio.Event()
        return ConsumerRecord(
            TOPIC, partition, len(log) - 1, self.now, 0, None, value, None, -1, len(value), ()
        )

    @property
    def now(self) -> int:
        return int(time.time() * 1_000)

    async def send(self, _node: int, request: Any) -> Any:
        """Answer a fetch: at once if there are records, else when one is appended."""
        ((topic, wanted),) = request.topics
        self.fetches.append({partition: offset for partition, offset, _ in wanted})
        self.is_open = True
        while not any(
            len(self.records[TopicPartition(topic, n)]) > start for n, start, _ in wanted
        ):
            with suppress(TimeoutError):
                async with asyncio.timeout(self.wait_seconds):
                    await self.appended.wait()
                continue
            break
        self.is_open = False
        answer: list[Any] = [
            (
                n,
                self.error if n == 0 else 0,
                len(self.records[TopicPartition(topic, n)]),
                0,
                [],
                self._bytes(n, start),
            )
            for n, start, _ in wanted
        ]
        return SimpleNamespace(API_VERSION=4, topics=[(topic, answer)])

    def _bytes(self, partition: int, start: int) -> bytes:
        values = self.records[TopicPartition(TOPIC, partition)][start:]
        if not values:
            return b""
        builder = DefaultRecordBatchBuilder(
            magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1,
            base_sequence=-1, batch_size=10_000_000,
        )  # fmt: skip
        for number, value in enumerate(values):
            builder.append(number, timestamp=0, key=None, value=value, headers=[])
        data = bytearray(builder.build())
        data[:8] = start.to_bytes(8, "big")
        return bytes(data)


class System:
    """A consumer of the log in this process."""

    def __init__(self, log: Log, fetcher: Any, subscription: Any) -> None:
        self.log = log
        self.fetcher = fetcher
        self.subscription = subscription
        self.now = 1_000.0
        self.reader = LocalReader(lambda: self.now)
        self.delivery = LocalDelivery()

    async def poll(self) -> list[tuple[int, int, bytes]]:
        """Return partition, offset and value of the records of a poll."""
        found = await self.fetcher.fetched_records((), timeout=5)
        return [(tp.partition, r.offset, r.value) for tp, rs in found.items() for r in rs]

    async def values(self, count: int) -> list[bytes]:
        return [value for _, _, value in await self.polled(count)]

    async def polled(self, count: int) -> list[tuple[int, int, bytes]]:
        """Return a number of records, or more."""
        found: list[tuple[int, int, bytes]] = []
        while len(found) < count:
            found += await self.poll()
        return found

    async def is_fetching(self) -> None:
        """Wait until a fetch is in flight."""
        while not self.log.is_open:  # noqa: ASYNC110
            await asyncio.sleep(0)


@asynccontextmanager
async def consuming() -> AsyncIterator[System]:
    """Consume the log, from its beginning; the clock stands still."""
    log, subscription = Log(), SubscriptionState()
    partitions = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
    subscription.assign_from_user(set(partitions))
    for tp in partitions:
        subscription.seek(tp, 0)
    fetcher = Fetcher(log, subscription, auto_offset_reset="none")
    system = System(log, fetcher, subscription)
    system.reader.attach(fetcher)
    with system.delivery.registered([TOPIC], system.reader):
        try:
            yield system
        finally:
            await fetcher.close()


async def test_own_record_arrives_once_although_it_is_fetched_too() -> None:
    async with consuming() as system:
        await system.is_fetching()
        system.delivery.deliver([system.log.append(b"a")])
        assert await system.poll() == [(0, 0, b"a")]
        system.delivery.deliver([system.log.append(b"b")])
        assert await system.poll() == [(0, 1, b"b")]


async def test_fetches_are_delayed_while_own_records_arrive() -> None:
    async with consuming() as system:
        await system.is_fetching()
        for number in range(20):
            value = b"%d" % number
            system.delivery.deliver([system.log.append(value, number % PARTITIONS)])
            assert await system.values(1) == [value]
        assert len(system.log.fetches) == 1


async def test_fetches_go_on_after_the_longest_time() -> None:
    async with consuming() as system:
        await system.is_fetching()
        system.delivery.deliver([system.log.append(b"own")])
        assert await system.values(1) == [b"own"]
        system.log.append(b"foreign")
        system.now += FETCH_SECONDS
        assert await system.values(1) == [b"foreign"]
        assert system.log.fetches[1:] == [{0: 1, 1: 0}]


async def test_foreign_record_before_an_own_one_is_fetched_at_once() -> None:
    async with consuming() as system:
        await system.is_fetching()
        system.delivery.deliver([system.log.append(b"own 0")])
        assert await system.values(1) == [b"own 0"]
        system.log.append(b"foreign")
        system.delivery.deliver([system.log.append(b"own 1")])
        assert await system.values(2) == [b"foreign", b"own 1"]


@pytest.mark.parametrize(("waited", "delayed"), [(0.0, False), (NO_GAP_SECONDS, True)])
async def test_fetches_are_delayed_only_without_foreign_records(
    waited: float, delayed: bool
) -> None:
    async with consuming() as system:
        await system.is_fetching()
        system.log.append(b"foreign")
        system.delivery.deliver([system.log.append(b"own")])
        await system.values(2)
        system.now += waited
        await system.is_fetching()
        system.delivery.deliver([system.log.append(b"own")])
        await system.values(1)
        await asyncio.sleep(0.01)
        assert bool(system.fetcher._in_flight) != delayed


async def test_records_acknowledged_out_of_order_arrive_in_order() -> None:
    async with consuming() as system:
        await system.is_fetching()
        first, second = system.log.append(b"a"), system.log.append(b"b")
        system.delivery.deliver([second])
        system.delivery.deliver([first])
        assert await system.values(2) == [b"a", b"b"]


async def test_more_records_than_a_poll_returns_arrive_in_order() -> None:
    async with consuming() as system:
        system.delivery.deliver([system.log.append(b"%d" % number) for number in range(10)])
        found: list[Any] = []
        while len(found) < 10:
            polled = await system.fetcher.fetched_records((), timeout=5, max_records=3)
            found += [record.value for records in polled.values() for record in records]
        assert found == [b"%d" % number for number in range(10)]


async def test_paused_partition_delivers_after_it_is_resumed() -> None:
    async with consuming() as system:
        system.subscription.pause(TopicPartition(TOPIC, 0))
        system.delivery.deliver([system.log.append(b"a"), system.log.append(b"b", 1)])
        assert await system.values(1) == [b"b"]
        system.subscription.resume(TopicPartition(TOPIC, 0))
        system.now += FETCH_SECONDS
        assert await system.values(1) == [b"a"]


async def test_records_are_fetched_again_after_a_seek() -> None:
    async with consuming() as system:
        system.delivery.deliver([system.log.append(b"a"), system.log.append(b"b")])
        assert await system.values(2) == [b"a", b"b"]
        system.fetcher.seek_to(TopicPartition(TOPIC, 0), 0)
        system.now += FETCH_SECONDS
        assert await system.values(2) == [b"a", b"b"]


async def test_record_of_another_assignment_is_dropped() -> None:
    async with consuming() as system:
        foreign, own = system.log.append(b"foreign"), system.log.append(b"own")
        assert foreign.offset == 0
        system.delivery.deliver([own])
        system.subscription.unsubscribe()
        system.delivery.deliver([own])
        assert not system.reader._pending


async def test_record_of_a_log_that_was_created_again_is_dropped() -> None:
    async with consuming() as system:
        await system.is_fetching()
        system.log.append(b"foreign")
        system.delivery.deliver([system.log.append(b"old")])
        system.reader.on_log_replaced(TopicPartition(TOPIC, 0))
        system.log.records.clear()
        for value in (b"a", b"b"):
            system.log.append(value)
        assert await system.values(2) == [b"a", b"b"]


async def test_bytes_that_wait_for_others_are_bounded() -> None:
    async with consuming() as system:
        values = [b"x" * (PENDING_BYTES // 8) for _ in range(20)]
        records = [system.log.append(value) for value in values]
        system.delivery.deliver(records[1:])
        assert system.reader._pending[TopicPartition(TOPIC, 0)]._bytes == PENDING_BYTES
        assert await system.values(20) == values
        system.delivery.deliver([system.log.append(b"a")])
        assert await system.values(1) == [b"a"]
        system.delivery.deliver([system.log.append(b"b")])
        assert system.reader._pending[TopicPartition(TOPIC, 0)]._bytes == 1


async def test_other_partition_is_fetched_while_own_records_wait_to_be_consumed() -> None:
    async with consuming() as system:
        await system.is_fetching()
        found: list[bytes] = []
        own = 0
        while b"foreign" not in found:
            system.delivery.deliver([system.log.append(b"own"), system.log.append(b"own")])
            own += 2
            if own == 10:
                system.log.append(b"foreign", 1)
            found += [value for _, _, value in await system.poll()]
            await asyncio.sleep(0.001)
            system.now += 0.01
            assert own < 100


async def test_missing_record_causes_one_fetch() -> None:
    async with consuming() as system:
        foreign, own = system.log.append(b"foreign"), system.log.append(b"own")
        tp = TopicPartition(TOPIC, 0)
        # An open transaction: its records, and those behind them, cannot be read yet.
        open_transaction, system.log.records[tp] = system.log.records[tp], []
        system.delivery.deliver([own])
        await asyncio.sleep(0.05)
        assert len(system.log.fetches) == 1
        system.log.records[tp] = open_transaction[:1]
        system.delivery.deliver([system.log.append(b"own")])
        assert await system.values(2) == [foreign.value, b"own"]


@pytest.mark.parametrize("error", [OffsetOutOfRangeError, TopicAuthorizationFailedError])
async def test_error_of_a_fetch_is_raised_although_a_record_was_delivered(
    error: type[KafkaError],
) -> None:
    async with consuming() as system:
        await system.is_fetching()
        system.log.error = error.errno
        system.delivery.deliver([system.log.append(b"own")])
        while system.log.is_open:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        with pytest.raises(error):
            await system.fetcher.fetched_records([TopicPartition(TOPIC, 0)], timeout=1)
        system.log.error = 0
        system.now += FETCH_SECONDS
        assert await system.values(1) == [b"own"]


async def test_acknowledgement_from_before_the_assignment_is_dropped() -> None:
    async with consuming() as system:
        old = dataclasses.replace(system.log.append(b"old"), timestamp=system.log.now - 1_000)
        system.delivery.deliver([old])
        assert not system.reader._pending


async def test_failing_reader_gets_nothing_more_and_fails_no_publish(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with consuming() as system:
        monkeypatch.setattr(PendingRecords, "add", lambda *_: 1 / 0)
        system.delivery.deliver([system.log.append(b"a")])
        monkeypatch.undo()
        system.delivery.deliver([system.log.append(b"b")])
        assert await system.values(2) == [b"a", b"b"]
        assert caplog.text.count("are fetched from now on") == 1


@pytest.mark.parametrize("attached", [True, False])
async def test_records_for_nobody_are_ignored(attached: bool) -> None:
    async with consuming() as system:
        reader = system.reader if attached else LocalReader()
        record = system.log.append(b"a", PARTITIONS)
        reader.offer([record])
        assert await system.fetcher.fetched_records((), timeout=0) == {}


async def test_topics_are_delivered_while_registered() -> None:
    delivery, first, second = LocalDelivery(), LocalReader(), LocalReader()
    with delivery.registered([TOPIC, "errors"], first):
        with delivery.registered([TOPIC], second):
            assert set(delivery.topics) == {TOPIC, "errors"}
        assert set(delivery.topics) == {TOPIC, "errors"}
    assert not delivery.topics


@pytest.mark.hypothesis
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["own", "foreign", "late"]),
            st.integers(0, PARTITIONS - 1),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_every_record_arrives_once_and_in_order(records: list[tuple[str, int, bool]]) -> None:
    async def consume() -> None:
        async with consuming() as system:
            system.log.wait_seconds = 0.001
            late: list[Any] = []
            polling = asyncio.create_task(system.polled(len(records)))
            for number, (kind, partition, yields) in enumerate(records):
                record = system.log.append(b"%d" % number, partition)
                if kind == "late":
                    late.append(record)
                if kind == "own":
                    system.delivery.deliver([record, *late[::-1]])
                    late.clear()
                if yields:
                    await asyncio.sleep(0)
            while not polling.done():
                system.now += FETCH_SECONDS
                system.fetcher._notify(system.fetcher._wait_consume_future)
                await asyncio.sleep(0)
            found = await polling
            for partition in range(PARTITIONS):
                offsets = [offset for number, offset, _ in found if number == partition]
                assert offsets == list(range(len(offsets)))
            assert sorted(int(value) for _, _, value in found) == list(range(len(records)))

    asyncio.run(asyncio.wait_for(consume(), 20))
