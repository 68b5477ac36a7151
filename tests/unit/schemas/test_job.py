from datetime import UTC, datetime

import pytest

from schemas.errors import ErrorCode
from schemas.job import Attempt, Job
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
    ids=["first", "second", "of another step", "in between"],
)
def test_attempts_are_counted_per_step(failed: list[str], step: str, number: int) -> None:
    job = JOB
    for each in failed:
        job = job.failed(attempt(each))
    assert job.attempt_number(step) == number


def test_attempts_that_use_up_nothing_are_attempts_as_well() -> None:
    assert JOB.failed(attempt("download", counted=False)).attempt_number("download") == 2


def test_failures_are_kept_oldest_first() -> None:
    job = JOB.failed(attempt("a")).failed(attempt("b"))
    assert [each.step for each in job.attempts] == ["a", "b"]
    assert JOB.attempts == ()


def test_time_spent_adds_up_per_step() -> None:
    job = JOB.spent("a", 0.1).spent("b", 1.0).spent("a", 0.2)
    assert job.timings == {"a": 0.3, "b": 1.0}
    assert JOB.timings == {}
