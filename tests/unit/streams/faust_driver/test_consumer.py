import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP

from streams.faust_driver.app import build_app
from streams.faust_driver.consumer import DirectConsumer
from streams.faust_driver.static_member import MemberConsumer, PollLimits, StaticMember
from streams.settings import Settings

pytestmark = pytest.mark.usefixtures("own_settings")

REQUESTS = TP("requests", 0)
COMMANDS = TP("commands", 0)
HEARTBEATS = TP("heartbeats", 0)


class Thread:
    """Faust's consumer thread on polls that a test scripts.

    Attributes:
        polls: what the next polls do: the records that they return, after a call.
        seeks: offsets that were sought, in order.
    """

    def __init__(self) -> None:
        self.polls: list[Any] = []
        self.seeks: list[tuple[TopicPartition, int]] = []
        self.commits: dict[TP, int] = {}
        self.limits: PollLimits | None = None
        self.starts: dict[TP, int] = {}
        self.kafka = SimpleNamespace(
            seek=lambda tp, offset: self.seeks.append((tp, offset)), position=self._position
        )

    def _ensure_consumer(self) -> Any:
        return self.kafka

    async def _position(self, tp: TP) -> int:
        return self.starts[tp]

    def limit_polls(self, limits: PollLimits) -> None:
        self.limits = limits

    def assignment(self) -> set[TP]:
        return {REQUESTS, COMMANDS}

    async def committed(self, tps: set[TP]) -> dict[TP, int | None]:
        return {tp: self.commits.get(tp) for tp in tps}

    async def seek_to_beginning(self, *tps: TP) -> None:
        self.seeks += [(tp, self.starts[tp]) for tp in tps]

    async def getmany(self, _active: Any, _timeout: float) -> Any:
        await asyncio.sleep(0)
        poll = self.polls.pop(0)
        if isinstance(poll, Exception):
            raise poll
        call, records = poll
        call()
        return {TopicPartition(*tp): found for tp, found in records.items()}


@pytest_asyncio.fixture
async def consumer() -> Any:
    app = build_app("toy", Settings(), StaticMember())
    listeners = {"on_partitions_revoked": Mock(), "on_partitions_assigned": Mock()}
    consumer: Any = DirectConsumer(app.transport, callback=Mock(), **listeners)
    consumer._thread = Thread()
    consumer._set_active_tps({REQUESTS, COMMANDS})
    return consumer


def records(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=offset) for offset in offsets]


def test_unknown_position_of_a_partition_does_not_stop_the_consumer() -> None:
    consumer = DirectConsumer.__new__(DirectConsumer)
    consumer._thread = Mock()
    consumer._thread.verify_event_path.side_effect = AssertionError
    consumer.verify_event_path(60.0, TP("requests", 0))


async def test_records_of_a_poll_that_ends_during_a_rebalance_are_read_again(consumer: Any) -> None:
    poll = {REQUESTS: records(81, 82)}

    def rebalance() -> None:
        consumer.stop_flow()
        asyncio.get_running_loop().call_later(0.01, consumer.resume_flow)

    consumer._thread.polls = [(rebalance, poll), (lambda: None, poll)]
    assert (await consumer._wait_next_records(1.0))[0] == poll
    # At once: the recovery seeks next.
    assert consumer._thread.seeks == [(TopicPartition(*REQUESTS), 81)]


async def test_gaps_of_a_poll_that_ends_during_a_rebalance_are_observed_again(
    consumer: Any,
) -> None:
    gaps: list[Any] = []
    consumer.on_gap = lambda *gap: gaps.append(gap)
    consumer._committed_offset[COMMANDS] = 9

    def rebalance() -> None:
        consumer.observer.on_gap(TopicPartition(*REQUESTS), 80, 81)
        consumer.observer.on_gap(TopicPartition(*COMMANDS), 5, 12)
        consumer.stop_flow()
        asyncio.get_running_loop().call_soon(consumer.resume_flow)

    read_again = lambda: consumer.observer.on_gap(REQUESTS, 70, 81)  # noqa: E731
    consumer._thread.polls = [(rebalance, {REQUESTS: records(81)}), (read_again, {})]
    await consumer._wait_next_records(1.0)
    assert gaps == [(REQUESTS, 70, 81)]
    # To the gap, but not before the committed offset.
    assert dict(consumer._thread.seeks) == {REQUESTS: 80, COMMANDS: 9}


async def test_stopped_consumer_does_not_wait_for_the_end_of_a_rebalance(consumer: Any) -> None:
    consumer._thread.polls = [(consumer.stop_flow, {}), (lambda: None, {})]
    asyncio.get_running_loop().call_later(0.01, consumer._stopped.set)
    async with asyncio.timeout(5):
        assert (await consumer._wait_next_records(1.0))[0] == {}


async def test_flow_of_a_worker_without_partitions_stops_at_an_assignment(
    consumer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows: list[bool] = []

    async def assigned(*_: Any) -> None:
        flows.append(consumer.flow_active)

    monkeypatch.setattr(DirectConsumer.__base__, "on_partitions_assigned", assigned)
    assert consumer.flow_active
    await consumer.on_partitions_assigned({REQUESTS}, 1)
    assert flows == [False]


async def test_coordinator_waits_for_no_handler_of_a_crashed_app(
    consumer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebalance after a crash: the coordinator is closed when its task has ended."""
    calls: list[str] = []

    async def revoked(*_: Any) -> None:
        calls.append("revoked")

    async def assigned(*_: Any) -> None:
        calls.append("assigned")

    monkeypatch.setattr(consumer, "on_partitions_revoked", revoked)
    monkeypatch.setattr(consumer, "on_partitions_assigned", assigned)
    consumer._crash(ValueError("oops"))
    async with asyncio.timeout(1):
        await consumer.threadsafe_partitions_revoked(None, {REQUESTS})
        await consumer.threadsafe_partitions_assigned(None, {REQUESTS}, 2)
    assert calls == ["revoked", "assigned"]


async def test_lost_partition_is_not_reset(consumer: Any) -> None:
    async def lost(*_: Any) -> Any:
        raise IllegalStateError("Partition is not assigned")

    consumer._reset_offset = lost
    consumer._thread.polls = [OffsetOutOfRangeError({TopicPartition(*REQUESTS): 9})]
    assert (await consumer._wait_next_records(1.0))[0] == {}


async def test_seek_continues_at_commits_and_begins_at_the_log_without_one(consumer: Any) -> None:
    consumer._thread.commits = {REQUESTS: 82}
    consumer._thread.starts = {COMMANDS: 5}
    await consumer.perform_seek()
    assert set(consumer._thread.seeks) == {(REQUESTS, 82), (COMMANDS, 5)}
    assert consumer._committed_offset == {REQUESTS: 82, COMMANDS: None}
    assert consumer._read_offset == {REQUESTS: 82, COMMANDS: None}
    assert (consumer.start_offset(REQUESTS), consumer.start_offset(COMMANDS)) == (82, 5)


async def test_committed_offsets_are_fetched_in_one_request() -> None:
    calls: list[Any] = []

    async def fetch(partitions: Any) -> Any:
        calls.append(partitions)
        return {TopicPartition(*REQUESTS): OffsetAndMetadata(82, "")}

    member = MemberConsumer.__new__(MemberConsumer)
    coordinator = SimpleNamespace(fetch_committed_offsets=fetch)
    member._consumer = SimpleNamespace(_coordinator=coordinator)
    assert await member.committed([REQUESTS, COMMANDS]) == {REQUESTS: 82, COMMANDS: None}
    assert calls == [[TopicPartition(*REQUESTS), TopicPartition(*COMMANDS)]]


# Delivery


async def delivered(consumer: Any) -> list[dict[TP, list[int]]]:
    return [
        {tp: [each.offset for each in found] for tp, found in polled.partitions.items()}
        async for _, polled in consumer.getmany(1.0)
    ]


async def test_records_of_a_topic_are_one_message(consumer: Any) -> None:
    other = TP("requests", 1)
    poll = {REQUESTS: records(5, 6, 7), COMMANDS: records(2), other: records(9)}
    consumer._thread.polls = [(lambda: None, poll)]
    assert await delivered(consumer) == [
        {REQUESTS: [5, 6, 7], other: [9]},
        {COMMANDS: [2]},
    ]


async def test_message_has_the_last_offset_and_the_generation(consumer: Any) -> None:
    consumer.app.consumer_generation_id = 4
    consumer._thread.polls = [(lambda: None, {REQUESTS: records(5, 6)})]
    ((_, message),) = [each async for each in consumer.getmany(1.0)]
    assert (message.tp, message.topic, message.partition) == (REQUESTS, "requests", 0)
    assert (message.offset, message.generation_id, message.value) == (6, 4, None)


async def test_faust_drops_no_record_that_is_read_again(consumer: Any) -> None:
    """A poll that a rebalance has ended may leave its last offset."""
    consumer._read_offset[REQUESTS] = 99
    consumer._thread.polls = [(lambda: None, {REQUESTS: records(5, 6)})]
    assert await delivered(consumer) == [{REQUESTS: [5, 6]}]
    assert consumer._read_offset[REQUESTS] is None


@pytest.mark.parametrize("event", ["flow", "generation"])
async def test_delivery_ends_when_a_rebalance_begins(consumer: Any, event: str) -> None:
    poll = {REQUESTS: records(5), COMMANDS: records(2)}
    consumer._thread.polls = [(lambda: None, poll)]
    seen = []
    async for tp, _ in consumer.getmany(1.0):
        seen.append(tp)
        if event == "flow":
            consumer.stop_flow()
        else:
            consumer.app.consumer_generation_id += 1
    assert seen == [REQUESTS]


async def test_stopped_consumer_delivers_nothing(consumer: Any) -> None:
    consumer._thread.polls = [(consumer._stopped.set, {REQUESTS: records(5)})]
    assert await delivered(consumer) == []


# Commits


@pytest.mark.parametrize("flow_active", [True, False])
async def test_start_offset_is_not_committed_during_a_rebalance(
    consumer: Any, *, flow_active: bool
) -> None:
    """The revocation drops the committed offset, and keeps the older start offset."""
    consumer._thread.commits = {REQUESTS: 100, COMMANDS: 7}
    await consumer.perform_seek()
    consumer._committed_offset.pop(REQUESTS)
    consumer.finished_ahead = lambda tp: 3 if tp == REQUESTS else 0
    if not flow_active:
        consumer.stop_flow()
    committable = consumer._filter_committable_offsets([REQUESTS])
    assert committable == ({REQUESTS: 100} if flow_active else {})


async def test_sleep_of_no_time_lets_others_run_without_a_task(consumer: Any) -> None:
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    tasks = len(asyncio.all_tasks())
    sleeping = consumer.sleep(0)
    sleeping.send(None)
    assert len(asyncio.all_tasks()) == tasks
    with pytest.raises(StopIteration):
        sleeping.send(None)
    await consumer.sleep(0)
    assert ran.is_set()


async def test_sleep_ends_when_the_consumer_stops(consumer: Any) -> None:
    sleeping = asyncio.create_task(consumer.sleep(3_600))
    await asyncio.sleep(0)
    consumer._stopped.set()
    await sleeping
