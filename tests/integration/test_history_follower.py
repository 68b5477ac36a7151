"""The history that is read from the audit and results topics of a real cluster."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.new_partitions import NewPartitions
from aiokafka.structs import TopicPartition

from schemas.codec import encode
from streams.cluster.connection import ClusterUnavailableError
from streams.cluster.topic_admin import cluster_id
from streams.history.changes import RequestChange
from streams.history.follower import HistoryFollower
from streams.history.order_list import OrderFilter, find_orders
from streams.history.rows import RequestFilter
from streams.history.statements import FoldedRecord
from streams.history.store import HistoryStore, ReadPosition
from streams.settings import KafkaSettings
from streams.settings.console import HistorySettings
from streams.topics import AUDIT, COMMANDS, RESULTS
from tests.integration.kafka_client import admin, closed_port, create_topics, produce, wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARTITIONS = 2
AT = "2030-01-01T00:00:00Z"
ALL = RequestFilter()


class CountingStore(HistoryStore):
    """A store that counts the records that it is given."""

    applied = 0

    def apply(self, topic: str, records: Any, positions: Any, generation: int) -> None:
        self.applied += len(records)
        super().apply(topic, records, positions, generation)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CountingStore]:
    with CountingStore(tmp_path / "history.db") as store:
        yield store


@pytest_asyncio.fixture(loop_scope="session")
async def topics(kafka: KafkaSettings) -> None:
    await create_topics(kafka, AUDIT, RESULTS, COMMANDS, partitions=PARTITIONS)


@asynccontextmanager
async def following(
    kafka: KafkaSettings, store: HistoryStore, **bounds: int
) -> AsyncIterator[HistoryFollower]:
    async with HistoryFollower(kafka, store, HistorySettings(**bounds)) as follower:
        yield follower


async def catch_up(kafka: KafkaSettings, store: HistoryStore, **bounds: int) -> dict[str, str]:
    """Return the states of all requests."""
    async with following(kafka, store, **bounds) as follower:
        await follower.catch_up()
    return {row.id: row.state for row in store.requests(ALL, 1_000)}


async def audit(kafka: KafkaSettings, *names: str, transition: str = "accepted") -> None:
    await produce(
        kafka,
        AUDIT,
        [
            (name.encode(), entry_of(name, transition), (), sum(name.encode()) % PARTITIONS)
            for name in names
        ],
    )


def entry_of(name: str, transition: str = "accepted") -> bytes:
    """Return an audit record."""
    job = {"request_id": name, "url": "u", "action": "info", "received_at": AT}
    return encode(
        {
            "request_id": name,
            "step": "s",
            "transition": transition,
            "at": AT,
            "job": job if transition == "accepted" else None,
        }
    )


async def decide(kafka: KafkaSettings, *names: str, status: str = "completed") -> None:
    results = {
        name: {"request_id": name, "status": status, "received_at": AT, "finished_at": AT}
        for name in names
    }
    await produce(
        kafka, RESULTS, [(name.encode(), encode(each), (), 0) for name, each in results.items()]
    )


@pytest.mark.usefixtures("topics")
async def test_requests_have_their_transitions_and_results(
    kafka: KafkaSettings, store: CountingStore
) -> None:
    await audit(kafka, "a", "b", "c")
    await audit(kafka, "b", transition="parked")
    await decide(kafka, "c")
    await produce(kafka, AUDIT, [(b"x", b"{", (), 0), (b"x", None, (), 1)])
    assert await catch_up(kafka, store) == {"a": "accepted", "b": "parked", "c": "completed"}
    assert [each.transition for each in store.events("b")] == ["accepted", "parked"]


@pytest.mark.usefixtures("topics")
async def test_further_run_reads_what_is_new(kafka: KafkaSettings, store: CountingStore) -> None:
    await audit(kafka, *map("r{}".format, range(100)))
    await catch_up(kafka, store)
    store.applied = 0
    await decide(kafka, "r7", status="failed")
    states = await catch_up(kafka, store)
    assert (states["r7"], len(states)) == ("failed", 100)
    # The last record of each partition is read again.
    assert store.applied <= 1 + PARTITIONS
    assert await catch_up(kafka, store) == states


@pytest.mark.usefixtures("topics")
async def test_new_records_are_followed(kafka: KafkaSettings, store: CountingStore) -> None:
    async with following(kafka, store) as follower:
        await follower.catch_up()
        task = asyncio.create_task(follower.follow())
        await audit(kafka, "a")
        await wait_until(lambda: store.counts(ALL) == {"accepted": 1})
        await decide(kafka, "a")
        await wait_until(lambda: store.counts(ALL) == {"completed": 1})
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_recreated_topic_is_read_anew(
    kafka: KafkaSettings, store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    await create_topics(kafka, AUDIT, RESULTS, COMMANDS, partitions=PARTITIONS)
    await audit(kafka, "old")
    await catch_up(kafka, store)
    async with admin(kafka) as client:
        await client.delete_topics([AUDIT.kafka_name(kafka.topic_prefix)])
    await asyncio.sleep(0.5)
    await create_topics(kafka, AUDIT, partitions=PARTITIONS)
    # As many records as before: only their content tells the logs apart.
    await audit(kafka, "new")
    assert await catch_up(kafka, store) == {"new": "accepted"}
    assert "it is read again" in caplog.text


async def test_topic_that_is_recreated_while_it_is_followed_is_read_anew(
    kafka: KafkaSettings, store: CountingStore
) -> None:
    await create_topics(kafka, AUDIT, RESULTS, COMMANDS, partitions=PARTITIONS)
    await audit(kafka, "old")
    async with following(kafka, store) as follower:
        await follower.catch_up()
        task = asyncio.create_task(follower.follow())
        client = follower._consumer._client
        async with admin(kafka) as administrator:
            await administrator.delete_topics([AUDIT.kafka_name(kafka.topic_prefix)])
        async with asyncio.timeout(10):
            while len(follower._consumer.assignment()) > 2 * PARTITIONS:
                await client.force_metadata_update()
                await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)
        assert store.request("old"), "its history stays while the topic is away"
        await create_topics(kafka, AUDIT, partitions=PARTITIONS)
        await audit(kafka, "new")
        await client.force_metadata_update()
        await wait_until(lambda: store.request("new") and not store.request("old"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.usefixtures("topics")
async def test_history_of_another_cluster_is_read_anew(
    kafka: KafkaSettings, store: CountingStore
) -> None:
    foreign = RequestChange(request_id="there", at=1.0, introduces=True)
    generation = store.open_generation("another")
    store.apply(AUDIT.name, [FoldedRecord(0, 6, foreign)], {0: ReadPosition(1, 7)}, generation)
    await audit(kafka, "here")
    assert await catch_up(kafka, store) == {"here": "accepted"}


@pytest.mark.usefixtures("topics")
async def test_position_beyond_the_end_is_of_another_log(
    kafka: KafkaSettings, store: CountingStore
) -> None:
    await audit(kafka, "here")
    await catch_up(kafka, store)
    generation = store.open_generation(await cluster_id(kafka))
    store.apply(AUDIT.name, [], {0: ReadPosition(1_000, 7)}, generation)
    assert await catch_up(kafka, store) == {"here": "accepted"}
    assert all(each.next_offset < 1_000 for each in store.positions(AUDIT.name).values())


@pytest.mark.usefixtures("topics")
async def test_followers_of_one_file_fill_it_again_after_one_has_emptied_it(
    kafka: KafkaSettings, store: CountingStore
) -> None:
    await audit(kafka, "a", "b")
    async with following(kafka, store) as follower:
        await follower.catch_up()
        store.clear(await cluster_id(kafka))
        await audit(kafka, "c")
        await follower.catch_up()
        await follower.catch_up()
    assert store.counts(ALL) == {"accepted": 3}


@pytest.mark.usefixtures("topics")
async def test_added_partitions_are_followed(kafka: KafkaSettings, store: CountingStore) -> None:
    await audit(kafka, *map("r{}".format, range(100)))
    name = AUDIT.kafka_name(kafka.topic_prefix)
    async with following(kafka, store) as follower:
        await follower.catch_up()
        async with admin(kafka) as client:
            await client.create_partitions({name: NewPartitions(PARTITIONS + 1)})
        await produce(kafka, AUDIT, [(b"new", entry_of("new"), (), PARTITIONS)])
        task = asyncio.create_task(follower.follow())
        await follower._consumer._client.force_metadata_update()
        await wait_until(lambda: store.request("new"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(store.requests(ALL, 1_000)) == 101


@pytest.mark.usefixtures("topics")
async def test_expired_records_are_passed_over(kafka: KafkaSettings, store: CountingStore) -> None:
    await audit(kafka, "a")
    await catch_up(kafka, store)
    await audit(kafka, "b", "c", "d", "e")
    name = AUDIT.kafka_name(kafka.topic_prefix)
    async with admin(kafka) as client:
        await client.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=1)})
    states = await catch_up(kafka, store)
    assert states.keys() == {"a", "c", "d", "e"}


@pytest.mark.usefixtures("topics")
async def test_history_is_bounded(kafka: KafkaSettings, store: CountingStore) -> None:
    await audit(kafka, *map("r{}".format, range(20)))
    states = await catch_up(kafka, store, requests=5)
    assert len(states) == 5


async def test_missing_topic_is_named(kafka: KafkaSettings, store: CountingStore) -> None:
    with pytest.raises(ClusterUnavailableError, match="there is no topic"):
        await catch_up(kafka, store)


async def test_absent_cluster_is_named(kafka: KafkaSettings, store: CountingStore) -> None:
    away = kafka.model_copy(update={"bootstrap": closed_port()})
    started = time.monotonic()
    with pytest.raises(ClusterUnavailableError):
        await catch_up(away, store)
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("topics")
async def test_orders_are_those_of_the_commands(kafka: KafkaSettings, store: CountingStore) -> None:
    commands = [
        encode({"command": "cancel", "request_id": "a", "by": "ann"}),
        b"{",
        None,
        encode({"command": "record_order", "order": "submit", "count": 3, "by": "eve"}),
    ]
    await produce(kafka, COMMANDS, [(b"a", each, (), 1) for each in commands])
    for _ in range(2):
        await catch_up(kafka, store)
        orders = find_orders(store, OrderFilter(), 10)
        assert [(each.order, each.by, each.count) for each in orders] == [
            ("submit", "eve", 3),
            ("cancel", "ann", 1),
        ]
        assert time.time() - orders[0].at < 60
