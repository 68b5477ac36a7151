"""Plans jobs: counts what matches, and compares it with what the user has confirmed."""

import math

import msgspec

from schemas.commands import OptionChanges
from streams.console.commands import new_id
from streams.console.errors import CallError
from streams.console.jobs.job import BulkJob, JobCommand
from streams.console.jobs.selection import count_eligible
from streams.history.rows import Cursor, RequestFilter
from streams.history.store import HistoryStore


class Matches(msgspec.Struct, frozen=True):
    """The requests that match a filter.

    Attributes:
        until: time of the latest one that is counted, epoch seconds.
        total: their number.
        retry: those that can be retried.
        cancel: those that can be cancelled.
    """

    until: float
    total: int
    retry: int
    cancel: int

    def eligible(self, command: JobCommand) -> int:
        return self.retry if command == "retry" else self.cancel


class JobOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a user orders.

    Attributes:
        expected: number of requests that the user has confirmed; None for any.
        until: requests received later are left out; None: the latest one of the history.
    """

    command: JobCommand
    wanted: RequestFilter
    options: OptionChanges = OptionChanges()
    by: str
    expected: int | None = None
    until: float | None = None


def find_matches(
    history: HistoryStore, wanted: RequestFilter, until: float | None = None
) -> Matches:
    """Count the requests that match and were received up to a time."""
    if until is None:
        newest = history.requests(RequestFilter(), 1)
        # To the millisecond in which a page or a client passes it on.
        until = math.ceil(newest[0].received_at * 1_000) / 1_000 if newest else 0.0
    start = _start(until)
    counts = history.counts(wanted, start)
    open_batches = history.open_batches(wanted, start)
    return Matches(
        until,
        sum(counts.values()),
        count_eligible("retry", counts, open_batches),
        count_eligible("cancel", counts, open_batches),
    )


def plan_job(history: HistoryStore, order: JobOrder, now: float) -> tuple[BulkJob, int]:
    """Return the job of an order, and the number of requests that its command applies to.

    Raises:
        CallError: 409, it applies to no request, or to more than the user has confirmed.
    """
    origin = history.origin()
    matches = find_matches(history, order.wanted, order.until)
    number = matches.eligible(order.command)
    if not number:
        raise _conflict(f"{order.command} applies to none of {matches.total} matching requests")
    if order.expected is not None and number > order.expected:
        raise _conflict(
            f"{order.command} applies to {number} requests by now, and {order.expected} were "
            f"expected; confirm {number}"
        )
    job = BulkJob(
        id=new_id(),
        command=order.command,
        wanted=order.wanted,
        options=order.options,
        by=order.by,
        origin=origin,
        total=matches.total,
        cursor=_start(matches.until),
        created_at=now,
        updated_at=now,
    )
    return job, number


def _start(until: float) -> Cursor:
    """Return the cursor in front of the requests received up to a time."""
    return Cursor(math.nextafter(until, math.inf), "")


def _conflict(message: str) -> CallError:
    return CallError(409, "expected", message)
