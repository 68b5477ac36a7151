"""Creates and stops jobs for their users, whose orders are recorded.

A job is created when what matches is not more than what the user has confirmed.
"""

import asyncio
import math
import time

import msgspec

from schemas.commands import OptionChanges
from streams.console.commands import record_order, text_of
from streams.console.errors import CallError
from streams.console.jobs.job import BulkJob, JobCommand
from streams.console.jobs.selection import count_eligible
from streams.console.services import Services
from streams.history.rows import Cursor, RequestFilter
from streams.history.store import HistoryStore
from streams.new_requests import new_id


class Matches(msgspec.Struct, frozen=True):
    """The requests that match a filter.

    Attributes:
        until: time of the latest one that is counted, epoch seconds.
        total: their number.
        retry: number that can be retried.
        cancel: number that can be cancelled.
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
    """Count the requests that match and were received up to a time.

    Raises:
        CriterionError: the filter has an unknown error code.
    """
    history.check_error(wanted.error)
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
        CriterionError: the filter has an unknown error code.
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


async def create_job(services: Services, order: JobOrder) -> BulkJob:
    """Record an order, add its job, and return it.

    Raises:
        CallError: 409, it applies to no request, or to more than the user has confirmed.
        BrokerTimeoutError: Kafka did not acknowledge the record in time.
    """
    job, number = await asyncio.to_thread(plan_job, services.store, order, time.time())
    await record_order(
        services.producer,
        "retry_all" if job.command == "retry" else "cancel_all",
        job.by,
        subject=job.id,
        count=number,
        note=text_of({**job.filter_texts, **job.option_texts}),
    )
    await asyncio.to_thread(services.jobs.add, job)
    return job


async def stop_job(services: Services, job_id: str, by: str) -> BulkJob | None:
    """Record the order, and stop a job, unless it has ended; return it, None for an unknown id.

    Raises:
        BrokerTimeoutError: Kafka did not acknowledge the record in time.
    """
    job = await asyncio.to_thread(services.jobs.job, job_id)
    if job is None:
        return None
    left = max(job.total - job.processed, 0)
    await record_order(services.producer, "stop_job", by, subject=job_id, count=left)
    return await asyncio.to_thread(services.jobs.stop, job_id, time.time())
