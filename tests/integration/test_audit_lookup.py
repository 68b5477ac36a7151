"""History of a request: which records are found, and how many are read for it."""

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin.new_partitions import NewPartitions

from schemas.codec import encode
from streams.cluster.connection import ClusterUnavailableError
from streams.cluster.producer import ReliableProducer, Write
from streams.history.audit_lookup import AuditReader, find_records, history_start, read_history
from streams.settings import KafkaSettings
from streams.topics import AUDIT
from tests.integration.kafka_client import admin, closed_port, create_topics, produce

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARTITIONS = 16
NOISE = 4_000
NOW = int(time.time() * 1000)
HOUR = 3_600_000


def entry(request_id: str, second: int = 0, **fields: Any) -> dict[str, Any]:
    return {"request_id": request_id, "at": f"2030-01-01T00:00:{second:02d}Z", **fields}


def batch(request_id: str, size: int) -> dict[str, Any]:
    return {"job": {"batch": {"id": request_id, "index": 0, "size": size}}}


@pytest.fixture
def kafka(kafka: KafkaSettings) -> KafkaSettings:
    return kafka.model_copy(update={"partitions": PARTITIONS})


@pytest_asyncio.fixture(loop_scope="session")
async def audit_topic(kafka: KafkaSettings) -> str:
    """The audit topic with five-day-old records of thousands of other requests."""
    await create_topics(kafka, AUDIT)
    name = AUDIT.kafka_name(kafka.topic_prefix)
    await write_aged(kafka, [(f"x{number}", b"{}", 120) for number in range(NOISE)])
    return name


async def write_aged(kafka: KafkaSettings, records: Iterable[tuple[str, bytes, float]]) -> None:
    """Publish (key, value, age in hours) with the producer's default partitioner."""
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        for key, value, hours in records:
            await producer.send(
                AUDIT.kafka_name(kafka.topic_prefix),
                key=key.encode(),
                value=value,
                timestamp_ms=NOW - int(hours * HOUR),
            )
        await producer.flush()


async def publish(kafka: KafkaSettings, *entries: dict[str, Any]) -> None:
    """Publish records like the stages do."""
    name = AUDIT.kafka_name(kafka.topic_prefix)
    async with ReliableProducer(kafka) as producer:
        await producer.publish([Write(name, e["request_id"].encode(), encode(e)) for e in entries])


async def find_and_count(kafka: KafkaSettings, request_id: str) -> tuple[list[str], int]:
    """Return the ids of the found records, and the number of records read."""
    async with AuditReader(kafka) as reader:
        found = await find_records(reader, request_id)
        return sorted(record.key.decode() for record in found), reader.records_read


@pytest.mark.usefixtures("audit_topic")
async def test_history_of_a_request_reads_one_partition(kafka: KafkaSettings) -> None:
    await publish(kafka, entry("r1"), entry("r1", 1), entry("r10"))
    found, read = await find_and_count(kafka, "r1")
    assert found == ["r1", "r1"]
    assert NOISE / PARTITIONS / 2 < read < NOISE / PARTITIONS * 2


@pytest.mark.usefixtures("audit_topic")
async def test_history_of_a_default_id_reads_from_its_timestamp(kafka: KafkaSettings) -> None:
    name = f"requests-0-7-{NOW}"
    await publish(kafka, entry(name), entry(f"{name}/replay-1"))
    found, read = await find_and_count(kafka, name)
    assert found == [name, f"{name}/replay-1"]
    assert read == 2


@pytest.mark.usefixtures("audit_topic")
async def test_members_and_replays_are_found_in_their_partitions(kafka: KafkaSettings) -> None:
    names = ["b/0", "b/1", "b/0/replay-1", "b/0/replay-2", "b/replay-1", "b/1/0", "b/1/1"]
    members = [entry(each, outcome={"members": 2} if each == "b/1" else None) for each in names]
    await publish(kafka, entry("b", **batch("b", 2)), entry("bb"), entry("c/b"), *members)
    found, read = await find_and_count(kafka, "b")
    assert found == sorted(["b", *names])
    # Five days of other requests are read in the batch's partition only.
    assert read < NOISE / PARTITIONS * 2


@pytest.mark.usefixtures("audit_topic")
async def test_wrong_timestamp_in_an_id_hides_no_record(kafka: KafkaSettings) -> None:
    name = f"requests-0-7-{NOW}"
    await write_aged(kafka, [(name, encode(entry(name)), 5)])
    assert (await find_and_count(kafka, name))[0] == [name]


async def test_records_older_than_added_partitions_are_found(kafka: KafkaSettings) -> None:
    await create_topics(kafka, AUDIT, partitions=1)
    await publish(kafka, *(entry(f"r{number}") for number in range(20)))
    name = AUDIT.kafka_name(kafka.topic_prefix)
    async with admin(kafka) as client:
        await client.create_partitions({name: NewPartitions(total_count=PARTITIONS)})
    found = [(await find_and_count(kafka, f"r{number}"))[0] for number in range(20)]
    assert found == [[f"r{number}"] for number in range(20)]


@pytest.mark.usefixtures("audit_topic")
async def test_history_starts_an_hour_before_its_first_record(kafka: KafkaSettings) -> None:
    await write_aged(kafka, [("r1", b"{}", 48), ("r1", b"{}", 50), ("r10", b"{}", 90)])
    begin = await history_start(kafka, "r1")
    assert begin == datetime.fromtimestamp((NOW - 51 * HOUR) / 1000, UTC)
    assert await history_start(kafka, "unknown") is None


@pytest.mark.usefixtures("audit_topic")
async def test_history_is_sorted_and_skips_undecodable_records(kafka: KafkaSettings) -> None:
    seconds = [(3, "b"), (1, "b/0"), (2, "b/1"), (0, "b2"), (4, "x"), (5, "b")]
    await publish(kafka, *(entry(name, second, **batch("b", 2)) for second, name in seconds))
    garbage = [b"\xff", None, b"[1]", b"{}", json.dumps(entry("b", 6, job=1)).encode()]
    await produce(kafka, AUDIT, [(b"b", value, (), None) for value in garbage])
    found = await read_history(kafka, "b")
    assert [record["at"][17:19] for record in found] == ["01", "02", "03", "05", "06"]
    assert await read_history(kafka, "unknown") == []


async def test_records_published_while_reading_do_not_delay_the_end(kafka: KafkaSettings) -> None:
    await create_topics(kafka, AUDIT)
    await publish(kafka, entry("r1"))
    async with AuditReader(kafka) as reader:
        await publish(kafka, *(entry(f"r{number}") for number in range(500)))
        assert [record.key for record in await find_records(reader, "r1")][:1] == [b"r1"]


async def test_missing_topic_or_broker_is_named_with_the_fix(kafka: KafkaSettings) -> None:
    for settings, text in (
        (kafka, "clipmill topics apply"),
        (KafkaSettings(bootstrap=closed_port()), "--bootstrap HOST:PORT"),
    ):
        with pytest.raises(ClusterUnavailableError, match=text):
            await read_history(settings, "r1")
