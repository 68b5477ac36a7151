"""The pace and the plan; what happens on Kafka is shown in tests/integration."""

import pytest

from schemas.codec import decode
from schemas.deadletters import Mark
from streams.deadletters.filters import Filter
from streams.deadletters.replay import Pace, Plan, Totals, mark_record, to_write
from streams.topics import MARKS
from tests.unit.streams.deadletters.letters import FAILED_AT, make_letter


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("rate", "chunk"), [(0.5, 1), (1, 1), (7.9, 7), (100, 100), (10_000, 100)])
async def test_no_more_go_than_may(rate: float, chunk: int) -> None:
    time = Time()
    pace = Pace(rate, time, time.sleep)
    assert pace.chunk == chunk
    for _ in range(10):
        await pace.turn(chunk)
    assert time.now - 100 == pytest.approx(9 * chunk / rate)


async def test_time_that_passed_is_not_made_up_for() -> None:
    time = Time()
    pace = Pace(1, time, time.sleep)
    await pace.turn(1)
    time.now += 50
    await pace.turn(1)
    await pace.turn(1)
    assert time.now == 151


def test_what_is_meant_and_not_put_back_is_counted() -> None:
    plan, totals = Plan(Filter(step="download")), Totals()
    letters = [
        make_letter(name="0-1", step="download"),
        make_letter(name="0-2", step="download", replays=1),
        make_letter(name="0-3", step="extraction"),
    ]
    assert [plan.takes(each, totals) for each in letters] == [True, False, False]
    assert totals.seen == {"0-1", "0-2"}
    assert totals.skipped == {"parked, only with --force": 1}


def test_a_mark_is_keyed_by_its_letter() -> None:
    mark = Mark(state="resolved", by="me", at=FAILED_AT, note="known")
    write = to_write(mark_record(make_letter(request_id="r1"), mark), "p.")
    assert (write.topic, write.key) == (MARKS.kafka_name("p."), b"0-1")
    assert decode(write.value or b"", Mark) == mark
    assert dict(write.headers)["ce_correlationid"] == b"r1"
