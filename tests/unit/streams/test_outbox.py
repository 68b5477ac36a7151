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

from streams import outbox as module
from streams.outbox import RETRY_SECONDS, Outbox, RecordRefusedError, Write
from streams.settings import KafkaSettings
from streams.topics import MESSAGE_BYTES_MAX

AWAY = KafkaConnectionError("away")
LARGE = MessageSizeTooLargeError("large")


class FakeProducer:
    """Fails as often as the test says: when a record is offered, or when it is acknowledged."""

    def __init__(self, **options: Any) -> None:
        self.options = options
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
            sleep=sleep, gather=asyncio.gather, get_running_loop=asyncio.get_running_loop
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
def outbox(producer: FakeProducer) -> Outbox:
    assert producer.calls == []
    return Outbox(KafkaSettings())


def writes(*values: bytes) -> list[Write]:
    return [Write("t", b"k", value) for value in values]


async def test_a_record_counts_when_all_replicas_have_it(producer: FakeProducer) -> None:
    async with Outbox(KafkaSettings(bootstrap="127.0.0.1:1")):
        assert producer.options["acks"] == "all"
        assert producer.options["bootstrap_servers"] == ["127.0.0.1:1"]
        assert producer.options["max_request_size"] == MESSAGE_BYTES_MAX
    assert producer.stopped == 1


async def test_a_start_that_fails_closes_what_was_opened(producer: FakeProducer) -> None:
    producer.start_error = AWAY
    with pytest.raises(KafkaConnectionError):
        await Outbox(KafkaSettings()).__aenter__()
    assert producer.stopped == 1


async def test_everything_of_a_record_is_sent(outbox: Outbox, producer: FakeProducer) -> None:
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
async def test_all_are_sent_in_order(outbox: Outbox, producer: FakeProducer, count: int) -> None:
    values = [b"%d" % number for number in range(count)]
    await outbox.publish(writes(*values))
    assert producer.sent == values


@pytest.mark.parametrize(
    "error", [AWAY, KafkaTimeoutError(), NotEnoughReplicasError()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("when", ["offers", "outcomes"])
@pytest.mark.parametrize("count", [1, 3])
async def test_a_cluster_that_is_away_is_waited_for(
    outbox: Outbox,
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


async def test_only_what_failed_is_sent_again(outbox: Outbox, producer: FakeProducer) -> None:
    producer.outcomes = [None, AWAY, None, AWAY]
    await outbox.publish(writes(b"a", b"b", b"c"))
    assert producer.sent == [b"a", b"c", b"b"]


@pytest.mark.parametrize("error", [LARGE, RecordTooLargeError("large")])
@pytest.mark.parametrize("when", ["offers", "outcomes"])
@pytest.mark.parametrize("count", [1, 3])
async def test_a_record_that_is_too_large_is_refused_at_once(
    outbox: Outbox,
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
    outbox: Outbox, producer: FakeProducer
) -> None:
    producer.outcomes = [AWAY, LARGE]
    with pytest.raises(RecordRefusedError):
        await outbox.publish(writes(b"large"))


@pytest.mark.parametrize("when", ["offers", "outcomes"])
@pytest.mark.parametrize("count", [1, 3])
async def test_a_bug_is_not_waited_out(
    outbox: Outbox, producer: FakeProducer, waits: list[float], when: str, count: int
) -> None:
    getattr(producer, when).append(TypeError("headers must be bytes"))
    with pytest.raises(TypeError):
        await outbox.publish(writes(*[b"x"] * count))
    assert waits == []


async def test_publishing_can_be_cancelled_while_the_cluster_is_away(
    outbox: Outbox, producer: FakeProducer
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
