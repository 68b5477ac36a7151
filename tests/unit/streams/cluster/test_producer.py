"""The outbox, with a producer that fails as the test says."""

import asyncio
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

from streams.cluster import producer as module
from streams.cluster.producer import (
    PATIENCE_SECONDS,
    PROBE_SECONDS,
    RETRY_SECONDS,
    WATCH_SECONDS,
    OutageLines,
    RecordRefusedError,
    ReliableProducer,
    Write,
)
from streams.settings import KafkaSettings
from streams.topics import MESSAGE_BYTES_MAX

AWAY = KafkaConnectionError("away")
LARGE = MessageSizeTooLargeError("large")


class FakeProducer:
    """Fails as often as the test says: when a record is offered, or when it is acknowledged."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.client = self
        self._sender = SimpleNamespace(_send_produce_req=None)
        self.answers: list[bool] = []
        self.asked = 0
        self.sent: list[bytes] = []
        self.calls: list[dict[str, Any]] = []
        self.offers: list[BaseException | None] = []
        self.outcomes: list[BaseException | None] = []
        self.on_offer: Callable[[], None] = lambda: None
        self.start_error: BaseException | None = None
        self.stopped = 0

    async def start(self) -> None:
        if self.start_error:
            raise self.start_error

    async def stop(self) -> None:
        self.stopped += 1

    async def force_metadata_update(self) -> bool:
        self.asked += 1
        return self.answers.pop(0) if self.answers else True

    async def send(self, topic: str, **fields: Any) -> "asyncio.Future[None]":
        self.calls.append({"topic": topic} | fields)
        self.on_offer()
        if (error := self.offers.pop(0) if self.offers else None) is not None:
            raise error
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is None:
            self.sent.append(fields["value"])
            future.set_result(None)
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
def outbox(producer: FakeProducer) -> ReliableProducer:
    assert producer.calls == []
    return ReliableProducer(KafkaSettings())


def writes(*values: bytes) -> list[Write]:
    return [Write("t", b"k", value) for value in values]


async def test_a_record_counts_when_all_replicas_have_it(producer: FakeProducer) -> None:
    async with ReliableProducer(KafkaSettings(bootstrap="127.0.0.1:1")):
        assert producer.options["acks"] == "all"
        assert producer.options["bootstrap_servers"] == ["127.0.0.1:1"]
        assert producer.options["max_request_size"] == MESSAGE_BYTES_MAX
    assert producer.stopped == 1


async def test_a_start_that_fails_closes_what_was_opened(producer: FakeProducer) -> None:
    producer.start_error = AWAY
    with pytest.raises(KafkaConnectionError):
        await ReliableProducer(KafkaSettings()).__aenter__()
    assert producer.stopped == 1


async def test_everything_of_a_record_is_sent(
    outbox: ReliableProducer, producer: FakeProducer
) -> None:
    await outbox.publish([Write("t", b"k", None, (("a", b"1"), ("a", b"2")), 3)])
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
async def test_all_are_sent_in_order(
    outbox: ReliableProducer, producer: FakeProducer, count: int
) -> None:
    values = [b"%d" % number for number in range(count)]
    await outbox.publish(writes(*values))
    assert producer.sent == values


@pytest.mark.parametrize(
    "error", [AWAY, KafkaTimeoutError(), NotEnoughReplicasError()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("when", ["offers", "outcomes"])
@pytest.mark.parametrize("count", [1, 3])
async def test_a_cluster_that_is_away_is_waited_for(
    outbox: ReliableProducer,
    producer: FakeProducer,
    waits: list[float],
    *,
    when: str,
    error: KafkaError,
    count: int,
) -> None:
    getattr(producer, when).extend([error] * (count + 8))
    values = [b"%d" % number for number in range(count)]
    await outbox.publish(writes(*values))
    assert sorted(producer.sent) == values
    assert waits[: len(RETRY_SECONDS) + 2] == [*RETRY_SECONDS, RETRY_SECONDS[-1], RETRY_SECONDS[-1]]


async def test_only_what_failed_is_sent_again(
    outbox: ReliableProducer, producer: FakeProducer
) -> None:
    producer.outcomes = [None, AWAY, None, AWAY]
    await outbox.publish(writes(b"a", b"b", b"c"))
    assert producer.sent == [b"a", b"c", b"b"]


@pytest.mark.parametrize("error", [LARGE, RecordTooLargeError("large")])
@pytest.mark.parametrize("when", ["offers", "outcomes"])
@pytest.mark.parametrize("count", [1, 3])
async def test_a_record_that_is_too_large_is_refused_at_once(
    outbox: ReliableProducer,
    producer: FakeProducer,
    waits: list[float],
    *,
    when: str,
    error: KafkaError,
    count: int,
) -> None:
    getattr(producer, when).append(error)
    with pytest.raises(RecordRefusedError, match="a record of 5 bytes is too large for t"):
        await outbox.publish(writes(*[b"large"] * count))
    assert waits == []


async def test_a_record_that_turns_out_too_large_after_an_outage_is_refused(
    outbox: ReliableProducer, producer: FakeProducer
) -> None:
    producer.outcomes = [AWAY, LARGE]
    with pytest.raises(RecordRefusedError):
        await outbox.publish(writes(b"large"))


@pytest.mark.parametrize("when", ["offers", "outcomes"])
@pytest.mark.parametrize("count", [1, 3])
async def test_a_bug_is_not_waited_out(
    outbox: ReliableProducer, producer: FakeProducer, waits: list[float], when: str, count: int
) -> None:
    getattr(producer, when).append(TypeError("headers must be bytes"))
    with pytest.raises(TypeError):
        await outbox.publish(writes(*[b"x"] * count))
    assert waits == []


async def test_publishing_can_be_cancelled_while_the_cluster_is_away(
    outbox: ReliableProducer, producer: FakeProducer
) -> None:
    producer.outcomes = [AWAY] * 1_000
    task = asyncio.create_task(outbox.publish(writes(b"x")))

    def cancel_at_last() -> None:
        if len(producer.calls) > 5:
            task.cancel()

    producer.on_offer = cancel_at_last
    with pytest.raises(asyncio.CancelledError):
        await task
    assert producer.sent == []


# Health


class Time:
    """The clock of the outbox."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(module, "time", made)
    return made


async def test_a_cluster_that_answers_is_no_problem(outbox: ReliableProducer, clock: Time) -> None:
    await outbox.publish(writes(b"x"))
    clock.now += 3_600
    assert outbox.problem() is None


@pytest.mark.parametrize("count", [1, 3])
async def test_health_says_for_how_long_no_record_was_taken(
    outbox: ReliableProducer, producer: FakeProducer, clock: Time, count: int
) -> None:
    said: list[str | None] = []

    def look() -> None:
        said.append(outbox.problem())
        clock.now += 4

    producer.offers = [AWAY] * (count + 3)
    producer.on_offer = look
    await outbox.publish(writes(*[b"x"] * count))
    assert said[:2] == [None, None]
    assert said[3] == "the cluster at 127.0.0.1:9092 does not take records for 12 s"
    assert outbox.problem() is None


async def test_the_outbox_is_available_again_when_nothing_waits_any_more(
    outbox: ReliableProducer, producer: FakeProducer, clock: Time
) -> None:
    await outbox.available()
    silent = asyncio.Event()

    async def send(topic: str, **_: Any) -> "asyncio.Future[None]":
        assert topic == "t"
        await silent.wait()
        raise AWAY

    producer.send = send  # type: ignore[method-assign]
    publishing = asyncio.create_task(outbox.publish(writes(b"x")))
    await asyncio.sleep(0)
    clock.now += PATIENCE_SECONDS
    available = asyncio.create_task(outbox.available())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not available.done()
    publishing.cancel()
    await asyncio.wait([publishing])
    await available


async def test_a_cluster_that_is_silent_is_a_problem_too(
    outbox: ReliableProducer, producer: FakeProducer, clock: Time
) -> None:
    silent = asyncio.Event()

    async def send(topic: str, **_: Any) -> "asyncio.Future[None]":
        assert topic == "t"
        await silent.wait()
        raise AWAY

    producer.send = send  # type: ignore[method-assign]
    task = asyncio.create_task(outbox.publish(writes(b"x")))
    await asyncio.sleep(0)
    clock.now += PATIENCE_SECONDS
    assert outbox.problem() is not None
    task.cancel()
    await asyncio.wait([task])
    assert outbox.problem() is None


async def test_the_cluster_is_missed_also_when_nothing_is_written(
    producer: FakeProducer, waits: list[float], clock: Time
) -> None:
    producer.answers = [False] * 3
    said: list[str | None] = []
    async with ReliableProducer(KafkaSettings()) as outbox:
        while producer.asked < 5:
            await asyncio.sleep(0)
            said.append(outbox.problem())
            clock.now += 3 if 0 < producer.asked < 4 else 0
    assert any(said), waits
    assert said[-1] is None
    assert [each for each in waits if each != WATCH_SECONDS][:2] == [
        PROBE_SECONDS,
        RETRY_SECONDS[-1],
    ]


def test_an_outage_writes_a_line_at_its_begin_every_minute_and_at_its_end() -> None:
    lines = OutageLines("it answers again")
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
    lines = OutageLines("it answers again")
    lines.observe("away", 1.0)
    lines.observe(None, 2.0)
    assert lines.observe("away again", 3.0) == "away again"


async def test_records_that_wait_write_one_line_with_their_number_and_the_latest_error(
    producer: FakeProducer, clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    producer.offers = [AWAY] * 10_000
    async with ReliableProducer(KafkaSettings()) as outbox:
        waiting = [asyncio.create_task(outbox.publish(writes(b"x"))) for _ in range(50)]
        for _ in range(100):
            await asyncio.sleep(0)
            clock.now += PATIENCE_SECONDS / 80
        (line,) = caplog.messages
        assert line.endswith(
            "does not take records for 5 s, 50 wait; latest error: t: KafkaConnectionError('away')"
        )
        producer.offers.clear()
        await asyncio.gather(*waiting)
        for _ in range(5):
            await asyncio.sleep(0)
        assert "takes records again" in caplog.messages[1]
