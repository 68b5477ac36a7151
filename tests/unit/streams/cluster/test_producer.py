"""Reliable producer over a fake aiokafka producer with given failures."""

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    RecordTooLargeError,
)
from aiokafka.structs import RecordMetadata, TopicPartition

from streams.cluster import producer as module
from streams.cluster.producer import (
    PROBE_SECONDS,
    RETRY_SECONDS,
    UNAVAILABLE_SECONDS,
    WATCH_SECONDS,
    OutageLog,
    RecordRefusedError,
    ReliableProducer,
    Write,
)
from streams.settings import KafkaSettings
from streams.topics import MESSAGE_BYTES_MAX

UNAVAILABLE = KafkaConnectionError("away")
TOO_LARGE = MessageSizeTooLargeError("large")


class FakeProducer:
    """aiokafka producer that raises given errors on send, or on acknowledgement."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.client = self
        # Without metadata every record is sent by `send`.
        self.cluster = SimpleNamespace(_partitions={})
        self._sender = SimpleNamespace(_send_produce_req=None)
        self.probe_results: list[bool] = []
        self.probes = 0
        self.sent: list[bytes] = []
        self.calls: list[dict[str, Any]] = []
        self.send_errors: list[BaseException | None] = []
        self.ack_errors: list[BaseException | None] = []
        self.on_send: Callable[[], None] = lambda: None
        self.start_error: BaseException | None = None
        self.stopped = 0

    async def start(self) -> None:
        if self.start_error:
            raise self.start_error

    async def stop(self) -> None:
        self.stopped += 1

    async def force_metadata_update(self) -> bool:
        self.probes += 1
        return self.probe_results.pop(0) if self.probe_results else True

    async def send(self, topic: str, **fields: Any) -> "asyncio.Future[RecordMetadata]":
        self.calls.append({"topic": topic} | fields)
        self.on_send()
        if (error := self.send_errors.pop(0) if self.send_errors else None) is not None:
            raise error
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        outcome = self.ack_errors.pop(0) if self.ack_errors else None
        if outcome is None:
            self.sent.append(fields["value"])
            place = TopicPartition(topic, 0)
            future.set_result(RecordMetadata(topic, 0, place, len(self.sent), None, None, None))
        else:
            future.set_exception(outcome)
        return future


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(
        module,
        "asyncio",
        SimpleNamespace(
            sleep=sleep,
            gather=asyncio.gather,
            wait=asyncio.wait,
            get_running_loop=asyncio.get_running_loop,
            create_task=asyncio.create_task,
        ),
    )
    return found


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> FakeProducer:
    assert waits == []
    made = FakeProducer()

    def make(**options: Any) -> FakeProducer:
        made.options = options
        return made

    monkeypatch.setattr(module, "AIOKafkaProducer", make)
    return made


@pytest.fixture
def reliable_producer(producer: FakeProducer) -> ReliableProducer:
    assert producer.calls == []
    return ReliableProducer(KafkaSettings())


def writes(*values: bytes) -> list[Write]:
    return [Write("t", value, value) for value in values]


async def test_producer_requires_acks_of_all_replicas(producer: FakeProducer) -> None:
    async with ReliableProducer(KafkaSettings(bootstrap="127.0.0.1:1")):
        assert producer.options["acks"] == "all"
        assert producer.options["bootstrap_servers"] == ["127.0.0.1:1"]
        assert producer.options["max_request_size"] == MESSAGE_BYTES_MAX
    assert producer.stopped == 1


async def test_failed_start_stops_the_producer(producer: FakeProducer) -> None:
    producer.start_error = UNAVAILABLE
    with pytest.raises(KafkaConnectionError):
        await ReliableProducer(KafkaSettings()).__aenter__()
    assert producer.stopped == 1


async def test_all_fields_of_a_record_are_sent(
    reliable_producer: ReliableProducer, producer: FakeProducer
) -> None:
    started = time.time()
    await reliable_producer.publish([Write("t", b"k", None, (("a", b"1"), ("a", b"2")), 3)])
    assert started - 0.001 <= producer.calls[0].pop("timestamp_ms") / 1_000 <= time.time()
    assert producer.calls == [
        {
            "topic": "t",
            "key": b"k",
            "value": None,
            "headers": [("a", b"1"), ("a", b"2")],
            "partition": 3,
        }
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 50])
async def test_records_are_sent_in_order(
    reliable_producer: ReliableProducer, producer: FakeProducer, count: int
) -> None:
    values = [b"%d" % number for number in range(count)]
    await reliable_producer.publish(writes(*values))
    assert producer.sent == values


@pytest.mark.parametrize(
    "error",
    [UNAVAILABLE, KafkaTimeoutError(), NotEnoughReplicasError()],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("when", ["send_errors", "ack_errors"])
@pytest.mark.parametrize("count", [1, 3])
async def test_send_is_retried_with_backoff_while_the_cluster_is_unavailable(
    reliable_producer: ReliableProducer,
    producer: FakeProducer,
    waits: list[float],
    *,
    when: str,
    error: KafkaError,
    count: int,
) -> None:
    getattr(producer, when).extend([error] * (count * 7 + 1))
    values = [b"%d" % number for number in range(count)]
    await reliable_producer.publish(writes(*values))
    assert sorted(producer.sent) == values
    assert waits[: len(RETRY_SECONDS) + 2] == [*RETRY_SECONDS, RETRY_SECONDS[-1], RETRY_SECONDS[-1]]


async def test_only_failed_records_are_retried(
    reliable_producer: ReliableProducer, producer: FakeProducer
) -> None:
    producer.ack_errors = [None, UNAVAILABLE, None, UNAVAILABLE]
    await reliable_producer.publish(writes(b"a", b"b", b"c"))
    assert producer.sent == [b"a", b"c", b"b"]


async def test_records_behind_a_failed_one_of_their_key_are_sent_again_in_order(
    reliable_producer: ReliableProducer, producer: FakeProducer
) -> None:
    producer.ack_errors = [None, UNAVAILABLE]
    keys = (b"k", b"k", b"other", b"k", None)
    values = [b"%d" % number for number in range(5)]
    await reliable_producer.publish(
        [Write("t", key, value) for key, value in zip(keys, values, strict=True)]
    )
    assert producer.sent == [b"0", b"2", b"3", b"4", b"1", b"3"]


async def test_all_failed_records_share_one_backoff(
    reliable_producer: ReliableProducer, producer: FakeProducer, waits: list[float]
) -> None:
    producer.ack_errors = [UNAVAILABLE] * 64
    values = [b"%d" % number for number in range(64)]
    await reliable_producer.publish(writes(*values))
    assert (producer.sent, waits) == (values, [RETRY_SECONDS[0]])


@pytest.mark.parametrize("error", [TOO_LARGE, RecordTooLargeError("large")])
@pytest.mark.parametrize("when", ["send_errors", "ack_errors"])
@pytest.mark.parametrize("count", [1, 3])
async def test_too_large_record_raises_without_retry(
    reliable_producer: ReliableProducer,
    producer: FakeProducer,
    waits: list[float],
    *,
    when: str,
    error: KafkaError,
    count: int,
) -> None:
    getattr(producer, when).append(error)
    with pytest.raises(RecordRefusedError, match="a record of 5 bytes is too large for t"):
        await reliable_producer.publish(writes(*[b"large"] * count))
    assert waits == []


async def test_refused_record_names_the_acknowledged_ones_of_its_publish(
    reliable_producer: ReliableProducer, producer: FakeProducer
) -> None:
    producer.ack_errors = [TOO_LARGE]
    with pytest.raises(RecordRefusedError) as refused:
        await reliable_producer.publish(writes(b"large", b"small"))
    first, second = refused.value.acknowledged
    assert first is None
    assert second is not None


async def test_record_found_too_large_after_an_outage_raises(
    reliable_producer: ReliableProducer, producer: FakeProducer
) -> None:
    producer.ack_errors = [UNAVAILABLE, TOO_LARGE]
    with pytest.raises(RecordRefusedError):
        await reliable_producer.publish(writes(b"large"))


@pytest.mark.parametrize("when", ["send_errors", "ack_errors"])
@pytest.mark.parametrize("count", [1, 3])
async def test_programming_error_is_not_retried(
    reliable_producer: ReliableProducer,
    producer: FakeProducer,
    waits: list[float],
    when: str,
    count: int,
) -> None:
    getattr(producer, when).append(TypeError("headers must be bytes"))
    with pytest.raises(TypeError):
        await reliable_producer.publish(writes(*[b"x"] * count))
    assert waits == []


async def test_publish_can_be_cancelled_while_the_cluster_is_unavailable(
    reliable_producer: ReliableProducer, producer: FakeProducer
) -> None:
    producer.ack_errors = [UNAVAILABLE] * 1_000
    task = asyncio.create_task(reliable_producer.publish(writes(b"x")))

    def cancel_after_retries() -> None:
        if len(producer.calls) > 5:
            task.cancel()

    producer.on_send = cancel_after_retries
    with pytest.raises(asyncio.CancelledError):
        await task
    assert producer.sent == []


# Health


class FakeTime:
    """Fake of the `time` module."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    made = FakeTime()
    monkeypatch.setattr(module, "time", made)
    return made


async def test_available_cluster_is_no_problem(
    reliable_producer: ReliableProducer, clock: FakeTime
) -> None:
    await reliable_producer.publish(writes(b"x"))
    clock.now += 3_600
    assert reliable_producer.problem() is None


@pytest.mark.parametrize("count", [1, 3])
async def test_problem_names_the_duration_of_the_outage(
    reliable_producer: ReliableProducer, producer: FakeProducer, clock: FakeTime, count: int
) -> None:
    problems: list[str | None] = []

    def record_problem() -> None:
        problems.append(reliable_producer.problem())
        clock.now += 4

    producer.send_errors = [UNAVAILABLE] * (count + 3)
    producer.on_send = record_problem
    await reliable_producer.publish(writes(*[b"x"] * count))
    assert problems[:2] == [None, None]
    assert problems[3] == "the cluster at 127.0.0.1:9092 has not accepted records for 12 s"
    assert reliable_producer.problem() is None


async def test_available_returns_when_no_write_is_pending(
    reliable_producer: ReliableProducer, producer: FakeProducer, clock: FakeTime
) -> None:
    await reliable_producer.available()
    response = asyncio.Event()

    async def send(topic: str, **_: Any) -> "asyncio.Future[None]":
        assert topic == "t"
        await response.wait()
        raise UNAVAILABLE

    producer.send = send  # type: ignore[method-assign]
    publishing = asyncio.create_task(reliable_producer.publish(writes(b"x")))
    await asyncio.sleep(0)
    clock.now += UNAVAILABLE_SECONDS
    available = asyncio.create_task(reliable_producer.available())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not available.done()
    publishing.cancel()
    await asyncio.wait([publishing])
    await available


async def test_unresponsive_cluster_is_a_problem(
    reliable_producer: ReliableProducer, producer: FakeProducer, clock: FakeTime
) -> None:
    response = asyncio.Event()

    async def send(topic: str, **_: Any) -> "asyncio.Future[None]":
        assert topic == "t"
        await response.wait()
        raise UNAVAILABLE

    producer.send = send  # type: ignore[method-assign]
    task = asyncio.create_task(reliable_producer.publish(writes(b"x")))
    await asyncio.sleep(0)
    clock.now += UNAVAILABLE_SECONDS
    assert reliable_producer.problem() is not None
    task.cancel()
    await asyncio.wait([task])
    assert reliable_producer.problem() is None


async def test_outage_is_detected_without_writes(
    producer: FakeProducer, waits: list[float], clock: FakeTime
) -> None:
    producer.probe_results = [False] * 3
    problems: list[str | None] = []
    async with ReliableProducer(KafkaSettings()) as reliable_producer:
        while producer.probes < 5:
            await asyncio.sleep(0)
            problems.append(reliable_producer.problem())
            clock.now += 3 if 0 < producer.probes < 4 else 0
    assert any(problems), waits
    assert problems[-1] is None
    assert [each for each in waits if each != WATCH_SECONDS][:2] == [
        PROBE_SECONDS,
        RETRY_SECONDS[-1],
    ]


def test_outage_is_logged_at_start_every_minute_and_at_end() -> None:
    lines = OutageLog("it answers again")
    written = [
        (now, line)
        for now in range(200)
        if (line := lines.observe("away" if 10 <= now < 150 else None, float(now)))
    ]
    assert written == [
        (10, "away"),
        (70, "away"),
        (130, "away"),
        (150, "it answers again after 140 s"),
    ]


def test_a_second_outage_is_logged_at_once() -> None:
    lines = OutageLog("it answers again")
    lines.observe("away", 1.0)
    lines.observe(None, 2.0)
    assert lines.observe("away again", 3.0) == "away again"


async def test_waiting_records_are_logged_in_one_line_with_count_and_latest_error(
    producer: FakeProducer, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    producer.send_errors = [UNAVAILABLE] * 10_000
    async with ReliableProducer(KafkaSettings()) as reliable_producer:
        waiting = [asyncio.create_task(reliable_producer.publish(writes(b"x"))) for _ in range(50)]
        for _ in range(100):
            await asyncio.sleep(0)
            clock.now += UNAVAILABLE_SECONDS / 80
        (line,) = caplog.messages
        assert line.endswith(
            "accepted records for 5 s, 50 wait; latest error: t: KafkaConnectionError('away')"
        )
        producer.send_errors.clear()
        await asyncio.gather(*waiting)
        for _ in range(5):
            await asyncio.sleep(0)
        assert "accepts records again" in caplog.messages[1]


async def test_records_are_delivered_locally_by_the_attempt_that_published_all(
    reliable_producer: ReliableProducer, producer: FakeProducer
) -> None:
    delivered: list[Any] = []
    reader: Any = SimpleNamespace(offer=delivered.extend)
    with reliable_producer.local_delivery.registered(["t"], reader):
        await reliable_producer.publish([*writes(b"a", b"b"), Write("other", b"c", b"c")])
        # The second one is published again, alone.
        producer.ack_errors = [None, UNAVAILABLE, None]
        await reliable_producer.publish(writes(b"d", b"e"))
    await reliable_producer.publish(writes(b"f"))
    assert [(each.offset, each.key, each.value) for each in delivered] == [
        (1, b"a", b"a"),
        (2, b"b", b"b"),
        (5, b"e", b"e"),
    ]
