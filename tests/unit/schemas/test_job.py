from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from schemas.errors import ErrorCode
from schemas.job import Attempt, Job, Parking
from schemas.request import Options

NOW = datetime(2026, 11, 2, tzinfo=UTC)
JOB = Job(
    request_id="1", url="u", action="info", options=Options(), received_at=NOW, trace_id="0" * 32
)


def attempt(step: str, *, counted: bool = True) -> Attempt:
    return Attempt(step=step, code=ErrorCode.NETWORK_DNS, at=NOW, counted=counted)


@pytest.mark.parametrize(
    ("failed", "step", "number"),
    [
        ([], "extraction", 1),
        (["extraction"], "extraction", 2),
        (["extraction"], "download", 1),
        (["download", "extraction", "download"], "download", 3),
    ],
    ids=["first", "second", "another step", "interleaved"],
)
def test_attempts_are_counted_per_step(failed: list[str], step: str, number: int) -> None:
    job = JOB
    for each in failed:
        job = job.with_attempt(attempt(each))
    assert job.attempt_number(step) == number


def test_uncounted_attempt_increases_the_attempt_number() -> None:
    assert JOB.with_attempt(attempt("download", counted=False)).attempt_number("download") == 2


def test_attempts_are_kept_oldest_first() -> None:
    job = JOB.with_attempt(attempt("a")).with_attempt(attempt("b"))
    assert [each.step for each in job.attempts] == ["a", "b"]
    assert JOB.attempts == ()


def test_timings_are_summed_per_step() -> None:
    job = JOB.with_timing("a", 0.1).with_timing("b", 1.0).with_timing("a", 0.2)
    assert job.timings == {"a": 0.3, "b": 1.0}
    assert JOB.timings == {}


def test_replay_is_a_new_request_with_reset_attempts() -> None:
    spent = msgspec.structs.replace(
        JOB,
        deadline=NOW,
        attempts=(attempt("extraction"),),
        timings={"extraction": 1.0},
        avoid_egress=("a",),
        avoid_formats=("f",),
        authenticate=True,
    )
    later = NOW + timedelta(days=2)
    replay = spent.with_parking(ErrorCode.NETWORK_DNS, NOW).as_replay(1, later)
    assert (replay.request_id, replay.retry_of, replay.replays) == ("1/replay-1", "1", 1)
    assert (replay.received_at, replay.deadline) == (later, None)
    assert (replay.attempts, replay.parked, replay.try_number) == ((), None, 1)
    assert (replay.avoid_egress, replay.avoid_formats, replay.authenticate) == ((), (), False)
    assert (replay.url, replay.options) == (spent.url, spent.options)


def test_replay_of_a_replay_has_an_id_of_the_first_request() -> None:
    again = JOB.as_replay(1, NOW).as_replay(2, NOW)
    assert (again.request_id, again.retry_of, again.replays) == ("1/replay-2", "1", 2)


def test_repeated_parking_is_counted_in_one_entry() -> None:
    later = NOW + timedelta(seconds=5)
    job = JOB.with_parking(ErrorCode.NETWORK_DNS, NOW).with_parking(ErrorCode.NETWORK_SERVER, later)
    assert job.parked == Parking(times=2, since=NOW, code=ErrorCode.NETWORK_SERVER)
    assert (job.try_number, job.attempts) == (3, ())
