from pathlib import Path

import pytest

from streams.console.errors import CallError
from streams.console.jobs.planning import find_matches
from streams.history.rows import RequestFilter
from tests.unit.streams.console.jobs.harness import failed, job_harness, request


def test_matches_are_counted_by_command(tmp_path: Path) -> None:
    requests = [
        *failed(3),
        request("open", 4.0, "parked"),
        request("open-batch", 5.0, "accepted", url=None),
        request("invalid", 5.5, "rejected"),
        request("batch", 6.0004, "batch_finished"),
    ]
    with job_harness(tmp_path, *requests) as harness:
        every = find_matches(harness.history, RequestFilter())
        some = find_matches(harness.history, RequestFilter(state="failed"), until=2.0)
    assert (every.until, every.total, every.retry, every.cancel) == (6.001, 7, 3, 1)
    assert (some.total, some.retry, some.cancel) == (2, 2, 0)


@pytest.mark.parametrize(
    ("expected", "until", "message"),
    [
        (2, None, "retry applies to 3 requests by now, and 2 were expected; confirm 3"),
        (1, 2.0, "retry applies to 2 requests by now, and 1 were expected; confirm 2"),
        (9, 0.5, "retry applies to none of 0 matching requests"),
    ],
)
def test_job_for_more_requests_than_expected_is_refused(
    tmp_path: Path, expected: int, until: float | None, message: str
) -> None:
    with job_harness(tmp_path, *failed(3)) as harness:
        with pytest.raises(CallError, match=message) as refused:
            harness.create("retry", expected=expected, until=until)
        assert harness.jobs.latest(1) == []
    assert (refused.value.status, refused.value.field) == (409, "expected")


@pytest.mark.parametrize(
    ("expected", "until", "total"), [(None, None, 3), (3, None, 3), (9, None, 3), (2, 2.0, 2)]
)
def test_requests_that_arrive_after_the_count_are_left_out(
    tmp_path: Path, expected: int | None, until: float | None, total: int
) -> None:
    with job_harness(tmp_path, *failed(3)) as harness:
        assert harness.create("retry", expected=expected, until=until).total == total
