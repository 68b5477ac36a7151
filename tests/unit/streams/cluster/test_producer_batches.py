import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from streams.cluster import producer_batches
from streams.cluster.producer_batches import (
    PENDING_BATCHES,
    RECORD_BYTES_MAX,
    Appended,
    BatchAppender,
    _choose,
    observe_batches,
)
from streams.observability.metrics import REGISTRY

BATCH_BYTES = 1_000
TOPIC = TopicPartition("t", 0)


class Producer:
    """aiokafka's accumulator on a cluster in memory; nothing is sent by itself."""

    def __init__(self) -> None:
        self.client = self
        self.cluster = SimpleNamespace(
            _partitions={"t": {0: None}, "wide": dict.fromkeys((2, 0, 1))}
        )
        self._message_accumulator: Any = MessageAccumulator(
            self.cluster, BATCH_BYTES, 0, batch_ttl=60
        )

    def drain(self, tp: TopicPartition = TOPIC) -> Any:
        """Return the next batch, as the sender takes it."""
        return self._message_accumulator._pop_batch(tp)


@pytest_asyncio.fixture
async def producer() -> Producer:
    return Producer()


def append(
    producer: Producer, *values: bytes, appender: BatchAppender | None = None, **fields: Any
) -> list[Appended | None]:
    used = appender or BatchAppender(producer)
    given = {"topic": "t", "key": b"k", "headers": (), "partition": None} | fields
    return [used.append(value=value, **given) for value in values]


def records_of(batch: Any) -> list[Any]:
    (found,) = list(iter_batches(bytes(batch.get_data_buffer())))
    return list(found)


def iter_batches(data: bytes) -> Any:
    records = MemoryRecords(data)
    while (batch := records.next_batch()) is not None:
        yield batch


async def test_records_of_a_partition_share_a_batch_and_its_acknowledgement(
    producer: Producer,
) -> None:
    appended = append(producer, b"a", b"b", b"c", headers=(("h", b"1"),))
    batch = producer.drain()
    batch.done(base_offset=40, timestamp=-1)
    assert [each.metadata().offset for each in appended if each] == [40, 41, 42]
    assert [each.metadata().topic_partition for each in appended if each] == [TOPIC] * 3
    found = records_of(batch)
    assert [each.value for each in found] == [b"a", b"b", b"c"]
    assert {(each.key, tuple(each.headers)) for each in found} == {(b"k", (("h", b"1"),))}


@pytest.mark.parametrize("log_append_time", [None, 7_000])
async def test_records_have_their_own_time_unless_the_topic_has_that_of_the_log(
    producer: Producer, log_append_time: int | None
) -> None:
    appended = append(producer, b"a")
    await asyncio.sleep(0.002)
    appended += append(producer, b"b")
    batch = producer.drain()
    batch.done(base_offset=0, timestamp=log_append_time or -1)
    own = [each.timestamp for each in records_of(batch)]
    assert own[0] < own[1]
    expected = own if log_append_time is None else [log_append_time] * 2
    assert [each.metadata().timestamp for each in appended if each] == expected


async def test_record_follows_those_that_were_sent(producer: Producer) -> None:
    accumulator = producer._message_accumulator
    sent = await accumulator.add_message(TOPIC, b"k", b"sent", timeout=1)
    (appended,) = append(producer, b"appended")
    producer.drain().done(base_offset=7, timestamp=-1)
    assert appended is not None
    assert ((await sent).offset, appended.metadata().offset) == (7, 8)


async def test_full_batch_is_followed_by_another(producer: Producer) -> None:
    appended = append(producer, *[b"x" * 400] * 4)
    assert [each.position for each in appended if each] == [0, 1, 0, 1]
    for base in (10, 20):
        producer.drain().done(base_offset=base, timestamp=-1)
    assert [each.metadata().offset for each in appended if each] == [10, 11, 20, 21]


async def test_unsent_batches_are_bounded(producer: Producer) -> None:
    appended = append(producer, *[b"x" * 900] * (PENDING_BATCHES + 1))
    assert [each is None for each in appended] == [False] * PENDING_BATCHES + [True]
    producer.drain()
    assert append(producer, b"x")[0] is not None


async def test_error_of_a_batch_is_that_of_its_records(producer: Producer) -> None:
    appended = append(producer, b"a", b"b")
    producer.drain().failure(KafkaConnectionError("away"))
    for each in appended:
        assert each is not None
        with pytest.raises(KafkaConnectionError):
            each.metadata()


async def test_error_that_is_not_awaited_is_not_logged(
    producer: Producer, caplog: pytest.LogCaptureFixture
) -> None:
    append(producer, b"a")
    producer.drain().failure(KafkaConnectionError("away"))
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_nothing_is_appended_while_a_record_waits_for_room(producer: Producer) -> None:
    """Else the batches of small records could pass a large one forever."""
    appender = BatchAppender(producer)
    with appender.deferring("t"), appender.deferring("t"):
        assert append(producer, b"a", appender=appender) == [None]
        assert append(producer, b"a", appender=appender, topic="wide", partition=0)[0] is not None
    assert append(producer, b"a", appender=appender)[0] is not None


def test_long_keys_are_not_cached() -> None:
    before = producer_batches._cached_hash.cache_info().currsize
    for number in range(10):
        _choose([0, 1], b"%d" % number + b"x" * 60_000)
    assert producer_batches._cached_hash.cache_info().currsize == before


@pytest.mark.parametrize(
    "fields",
    [
        {"topic": "unknown"},
        {"partition": 9},
        {"key": None, "value": None},
        {"value": b"x" * (RECORD_BYTES_MAX + 1)},
        {"key": b"x" * (RECORD_BYTES_MAX + 1)},
    ],
    ids=str,
)
async def test_record_that_send_has_to_check_is_not_appended(
    producer: Producer, fields: dict[str, Any]
) -> None:
    given = {"topic": "t", "key": b"k", "value": b"v", "headers": (), "partition": None} | fields
    assert BatchAppender(producer).append(**given) is None


@pytest.mark.parametrize("state", ["closed", "failed"])
async def test_nothing_is_appended_to_a_producer_that_ended(producer: Producer, state: str) -> None:
    if state == "closed":
        await producer._message_accumulator.close()
    else:
        producer._message_accumulator.fail_all(KafkaConnectionError("away"))
    assert append(producer, b"a") == [None]


async def test_new_metadata_is_used(producer: Producer) -> None:
    appender = BatchAppender(producer)
    assert append(producer, b"a", appender=appender, topic="new") == [None]
    producer.cluster._partitions = {"new": {0: None}}
    assert append(producer, b"a", appender=appender, topic="new")[0] is not None


async def test_partition_of_the_record_is_used(producer: Producer) -> None:
    assert append(producer, b"a", topic="wide", partition=1)[0] is not None
    assert producer.drain(TopicPartition("wide", 1)).record_count == 1


def test_records_without_a_key_are_distributed() -> None:
    counts = Counter(_choose([0, 1, 2], None) for _ in range(300))
    assert len(counts) == 3
    assert min(counts.values()) > 50


@given(key=st.binary(min_size=1), count=st.integers(1, 20))
def test_partition_of_a_key_is_that_of_the_default_partitioner(key: bytes, count: int) -> None:
    partitions = list(range(count))
    assert _choose(partitions, key) == DefaultPartitioner()(key, partitions, partitions)


def samples() -> dict[str, float]:
    names = ("batch_records", "batch_bytes", "ack_seconds")
    return {
        f"{name}_{part}": REGISTRY.get_sample_value(f"clipmill_producer_{name}_{part}") or 0.0
        for name in names
        for part in ("count", "sum")
    }


def batch(records: int, size: int) -> Any:
    return SimpleNamespace(record_count=records, _builder=SimpleNamespace(size=lambda: size))


async def test_batch_sizes_and_ack_latency_are_observed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [10.0]
    sent: list[Any] = []
    monkeypatch.setattr(producer_batches, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    async def send(node: int, batches: Any) -> None:
        sent.append((node, batches))
        now[0] += 0.25

    producer: Any = SimpleNamespace(_sender=SimpleNamespace(_send_produce_req=send))
    observe_batches(producer)
    before = samples()
    batches = {("t", 0): batch(3, 700), ("t", 1): batch(1, 90)}
    await producer._sender._send_produce_req(7, batches)
    assert sent == [(7, batches)]
    assert {name: value - before[name] for name, value in samples().items()} == {
        "batch_records_count": 2,
        "batch_records_sum": 4,
        "batch_bytes_count": 2,
        "batch_bytes_sum": 790,
        "ack_seconds_count": 1,
        "ack_seconds_sum": 0.25,
    }


async def test_wrapped_attributes_exist_in_aiokafka() -> None:
    producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1")
    try:
        sender: Any = producer._sender
        original = sender._send_produce_req
        observe_batches(producer)
        assert sender._send_produce_req.args == (original,)
        created = producer.create_batch()
        created.append(key=None, value=b"x", timestamp=None)
        assert created.size() > 0
        assert created.record_count() == 1
    finally:
        await producer.stop()
