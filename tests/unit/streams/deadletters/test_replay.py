"""Rate limiter and marks of a replay; tests/integration covers the exchange with Kafka."""

import pytest

from schemas.codec import decode
from schemas.deadletters import DeadLetterStatus
from streams.deadletters.replay import ReplayRateLimiter, mark_record, to_write
from streams.topics import MARKS
from tests.unit.streams.deadletters.builders import FAILED_AT, stored_dead_letter


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("rate", "chunk"), [(0.5, 1), (1, 1), (7.9, 7), (100, 100), (10_000, 100)])
async def test_limiter_keeps_the_rate(rate: float, chunk: int) -> None:
    clock = FakeClock()
    limiter = ReplayRateLimiter(rate, clock, clock.sleep)
    assert limiter.chunk == chunk
    for _ in range(10):
        await limiter.acquire(chunk)
    assert clock.now - 100 == pytest.approx(9 * chunk / rate)


async def test_limiter_gives_no_credit_for_idle_time() -> None:
    clock = FakeClock()
    limiter = ReplayRateLimiter(1, clock, clock.sleep)
    await limiter.acquire(1)
    clock.now += 50
    await limiter.acquire(1)
    await limiter.acquire(1)
    assert clock.now == 151


def test_mark_is_keyed_by_its_dead_letter() -> None:
    mark = DeadLetterStatus(state="resolved", by="me", at=FAILED_AT, note="known")
    write = to_write(mark_record(stored_dead_letter(request_id="r1"), mark), "p.")
    assert (write.topic, write.key) == (MARKS.kafka_name("p."), b"0-1")
    assert decode(write.value or b"", DeadLetterStatus) == mark
    assert dict(write.headers)["ce_correlationid"] == b"r1"
