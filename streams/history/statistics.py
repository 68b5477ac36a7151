"""Statistics of the history: results of a time, their errors, and what waits.

Each query reads an index that has all it needs, so that it takes milliseconds with 100,000
requests.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from schemas.codec import encode
from streams.client import BATCH_FINISHED
from streams.history.statements import FAILED, OPEN_BATCH, PARKED
from streams.history.store import HistoryStore

DURATIONS_MAX = 10_000
"""Latest completed requests of which the percentiles are computed: 8 ms."""

TREND_HOURS = 24

HOUR_SECONDS = 3_600.0

NOT_DELAYED = ("accepted", "extracted", "selected")
"""States of undecided requests that wait for no retry."""


_FAILURES = f"FROM request INDEXED BY request_by_failure WHERE {FAILED}"
"""Without statistics of its indexes SQLite chooses another one, and takes five times as long."""

_GROUPS = f"""
SELECT error, platform, count(*), sum(state <> 'rejected'), min(state_at), max(state_at)
{_FAILURES} GROUP BY error, platform
"""

# A range of the index for each group and hour: grouping all rows by hour takes four times as long.
# The last hour has no end: the clock of a worker may be ahead.
_HOURS = f"""
WITH RECURSIVE hour(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM hour WHERE n < {TREND_HOURS - 1})
SELECT key, n, (
    SELECT count(*) {_FAILURES}
    AND error IS json_extract(value, '$[0]') AND platform IS json_extract(value, '$[1]')
    AND state_at >= :start + n * {HOUR_SECONDS}
    AND state_at < iif(n = {TREND_HOURS - 1}, 9e999, :start + (n + 1) * {HOUR_SECONDS})
) FROM json_each(:groups), hour
"""  # noqa: S608  (constants)


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a time span.

    Attributes:
        seconds: its length.
        states: number of results by status, without the ends of batches.
        per_minute: results per minute.
        success_ratio: completed requests, as a share of all but rejected and cancelled ones; None
            without any.
        median_seconds: from reception to result, of completed requests; None without any.
        p99_seconds: the same, 99th percentile.
    """

    seconds: float
    states: dict[str, int]
    per_minute: float
    success_ratio: float | None
    median_seconds: float | None
    p99_seconds: float | None


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The undecided requests.

    Attributes:
        parked: number of requests that wait for a breaker or an outage.
        parked_since: reception of the oldest of them.
        next_due: the earliest next attempt of them.
        oldest: reception of the oldest request that is neither delayed nor a batch.
        oldest_state: its state.
    """

    parked: int
    parked_since: datetime | None
    next_due: datetime | None
    oldest: datetime | None
    oldest_state: str | None


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The failed, rejected and expired requests of one error code and platform.

    Attributes:
        error: the code; None for a result without one.
        platform: None where it is unknown.
        retryable: number that a retry applies to: all but rejected ones.
        first_at: time of the first one.
        last_at: time of the last one.
        share: of all failures, 0 to 1.
        hours: number in each of the last `TREND_HOURS` hours, the present one at the end.
    """

    error: str | None
    platform: str | None
    count: int
    retryable: int
    first_at: datetime
    last_at: datetime
    share: float
    hours: tuple[int, ...]


def read_results(store: HistoryStore, seconds: float, now: float) -> Results:
    """Return the results of the last seconds."""
    counts = store.select(
        "SELECT state, count(*) FROM request INDEXED BY request_by_result "
        "WHERE is_final AND state_at >= ? GROUP BY state",
        (now - seconds,),
    )
    durations = store.select(
        "SELECT state_at - received_at FROM request INDEXED BY request_by_result "
        "WHERE is_final AND state_at >= ? AND state = 'completed' ORDER BY state_at DESC LIMIT ?",
        (now - seconds, DURATIONS_MAX),
    )
    ordered = sorted(max(each, 0.0) for (each,) in durations)
    states = {state: number for state, number in counts if state != BATCH_FINISHED}
    return Results(
        seconds=seconds,
        states=states,
        per_minute=sum(states.values()) * 60 / seconds,
        success_ratio=success_ratio(states),
        median_seconds=percentile(ordered, 0.5),
        p99_seconds=percentile(ordered, 0.99),
    )


def success_ratio(states: Mapping[str, int]) -> float | None:
    """Return the completed results, as a share of those not rejected or cancelled."""
    counted = sum(states.get(each, 0) for each in ("completed", "failed", "expired"))
    return states.get("completed", 0) / counted if counted else None


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that is not below a share of the values; None without any."""
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1] if ordered else None


def read_waiting(store: HistoryStore) -> Waiting:
    """Return what is known of the undecided requests."""
    parked = "SELECT count(*), min(received_at) FROM request WHERE state = 'parked'"
    ((count, since),) = store.select(parked)
    due = "SELECT min(due) FROM request INDEXED BY request_by_due WHERE"
    ((next_due,),) = store.select(f"{due} {PARKED}")
    oldest = [
        (at, state)
        for state in NOT_DELAYED
        for (at,) in store.select(
            f"SELECT received_at FROM request WHERE state = ? AND NOT ({OPEN_BATCH}) "  # noqa: S608  (a constant)
            "ORDER BY received_at LIMIT 1",
            (state,),
        )
    ]
    at, state = min(oldest, default=(None, None))
    return Waiting(
        parked=count,
        parked_since=_moment(since),
        next_due=_moment(next_due),
        oldest=_moment(at),
        oldest_state=state,
    )


def read_failures(store: HistoryStore, now: float) -> list[FailureGroup]:
    """Return the groups of failures, the largest first."""
    rows = store.select(_GROUPS)
    start = now - TREND_HOURS * HOUR_SECONDS
    recent = [(error, platform) for error, platform, *_, last in rows if last >= start]
    hours = {each: [0] * TREND_HOURS for each in recent}
    values = {"start": start, "groups": encode(recent).decode()}
    for index, hour, count in store.select(_HOURS, values):
        hours[recent[index]][hour] = count
    total = sum(count for _, _, count, *_ in rows)
    groups = [
        FailureGroup(
            error=error,
            platform=platform,
            count=count,
            retryable=retryable,
            first_at=datetime.fromtimestamp(first, UTC),
            last_at=datetime.fromtimestamp(last, UTC),
            share=count / total,
            hours=tuple(hours.get((error, platform), [0] * TREND_HOURS)),
        )
        for error, platform, count, retryable, first, last in rows
    ]
    return sorted(groups, key=lambda each: (-each.count, each.error or "", each.platform or ""))


def count_retryable(group: FailureGroup, groups: Sequence[FailureGroup]) -> int:
    """Return how many failures a retry by error and platform of a group applies to.

    Without a platform the filter matches those of all platforms. 0 if none of the group matches.
    """
    if group.platform is not None or not group.retryable:
        return group.retryable
    return sum(each.retryable for each in groups if each.error == group.error)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
