"""State of the adaptive rate of one platform, operation and egress. Pure.

The monitor keeps it as a table row and publishes `RateState` of it; `aimd` changes it. All times
are epoch seconds.
"""

from datetime import UTC, datetime

import msgspec

from agents.resilience.rate_window import RateWindow, clamp_to_now, recent_samples
from schemas.attempts import EndpointRecord, Operation
from schemas.errors import ErrorCode
from schemas.signals import RateState


class RateRules(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters; `streams.settings.LimitSettings` documents them.

    Attributes:
        limit: maximum of requests per second.
        floor: minimum of requests per second.
        recovery_seconds: time to grow from 0 to the limit.
        pause_seconds_max: upper bound of a ``Retry-After``.
        suspicious_videos: different videos that must fail before an overload is assumed.
    """

    limit: float
    floor: float
    recovery_seconds: float
    pause_seconds_max: float
    suspicious_videos: int = 3


class AdaptiveRate(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The table row of one rate.

    Attributes:
        since: when its reason was set or cleared.
        active_at: time of the last attempt or reset.
        allowed: requests per second, None for the whole limit.
        knee: the observed rate at the last cut.
        reason: error code that caused the cut.
        until: end of a pause; None when there is none.
        cut_at: time of the last cut.
        increased_at: up to when successes have been credited.
        succeeded_at: time of the last success.
        latency: baseline latency in seconds; None before the first answer.
        cuts: number of cuts and resets.
    """

    platform: str
    operation: Operation
    egress: str
    since: float
    active_at: float
    allowed: float | None = None
    knee: float | None = None
    reason: ErrorCode | None = None
    until: float | None = None
    cut_at: float = 0.0
    increased_at: float = 0.0
    succeeded_at: float = 0.0
    latency: float | None = None
    window: RateWindow = ()
    cuts: int = 0


def new_rate(endpoint: EndpointRecord | AdaptiveRate, now: float, cuts: int = 0) -> AdaptiveRate:
    """Return a rate at its limit, without history."""
    return AdaptiveRate(
        platform=endpoint.platform,
        operation=endpoint.operation,
        egress=endpoint.egress,
        since=now,
        active_at=now,
        cuts=cuts,
    )


def rate_of(row: AdaptiveRate, rules: RateRules) -> float:
    """Return the allowed requests per second, a pause aside."""
    return rules.limit if row.allowed is None else min(row.allowed, rules.limit)


def state_of(row: AdaptiveRate) -> RateState:
    """Return the state to publish.

    The rate is rounded to two digits, so that small increases are not published.
    """
    return RateState(
        platform=row.platform,
        operation=row.operation,
        egress=row.egress,
        requests_per_second=None if row.allowed is None else float(f"{row.allowed:.2g}"),
        reason=row.reason,
        since=datetime.fromtimestamp(row.since, UTC),
        until=None if row.until is None else datetime.fromtimestamp(row.until, UTC),
        cuts=row.cuts,
    )


def floor_of(rules: RateRules) -> float:
    """Return the requests per second below which the rate is not cut."""
    return min(rules.floor, rules.limit)


def expire_outdated(row: AdaptiveRate, rules: RateRules, now: float) -> AdaptiveRate:
    """Return the rate without expired samples and pauses, nor times in the future."""
    row = _with_clamped_times(row, rules, now)
    row = msgspec.structs.replace(row, window=recent_samples(row.window, now))
    if row.until is None or now < row.until:
        return row
    reason = None if row.allowed is None else row.reason
    return msgspec.structs.replace(row, until=None, reason=reason)


def _with_clamped_times(row: AdaptiveRate, rules: RateRules, now: float) -> AdaptiveRate:
    """Return the rate without times in the future, as a clock that is set back leaves them.

    Otherwise it would neither grow nor be cut, nor a pause end, until the clock has caught up.
    """
    ahead = row.until is not None and row.until > now + rules.pause_seconds_max
    return msgspec.structs.replace(
        row,
        active_at=min(row.active_at, now),
        until=now + rules.pause_seconds_max if ahead else row.until,
        cut_at=min(row.cut_at, now),
        increased_at=min(row.increased_at, now),
        succeeded_at=min(row.succeeded_at, now),
        window=clamp_to_now(row.window, now),
    )


def is_idle(row: AdaptiveRate, seconds: float, now: float) -> bool:
    return now - row.active_at >= seconds
