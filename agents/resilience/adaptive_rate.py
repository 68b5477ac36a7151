"""The rate of one platform, operation and egress: its row, and what is told of it. Pure.

All times are epoch seconds.
"""

from datetime import UTC, datetime

import msgspec

from agents.resilience.rate_window import RateWindow, latest, not_ahead
from schemas.attempts import Operation, Way
from schemas.errors import ErrorCode
from schemas.signals import RateState


class RateRules(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers; `streams.settings.LimitSettings` says what each of them means.

    Attributes:
        limit: requests per second that are allowed at most.
        floor: and at least.
        recovery_seconds: from nothing to the limit.
        pause_seconds_max: bound of what ``Retry-After`` can do.
        suspicious_videos: different videos that make a sign.
    """

    limit: float
    floor: float
    recovery_seconds: float
    pause_seconds_max: float
    suspicious_videos: int = 3


class AdaptiveRate(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The row of one rate.

    Attributes:
        since: when its reason came up, or went away.
        active_at: when something last happened to it.
        allowed: requests per second, None for the whole limit.
        knee: the rate that was too much.
        reason: code that it was cut for.
        until: nothing is asked before; None when there is no such moment.
        cut_at: when it was cut last.
        grown_at: up to when success was reckoned.
        well_at: when something succeeded last.
        latency: what is usual, seconds; None before the first answer.
        cuts: how often it was cut or reset.
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
    grown_at: float = 0.0
    well_at: float = 0.0
    latency: float | None = None
    window: RateWindow = ()
    cuts: int = 0


def new_rate(way: Way | AdaptiveRate, now: float, cuts: int = 0) -> AdaptiveRate:
    """Return a rate that has seen nothing yet."""
    return AdaptiveRate(
        platform=way.platform,
        operation=way.operation,
        egress=way.egress,
        since=now,
        active_at=now,
        cuts=cuts,
    )


def rate_of(row: AdaptiveRate, rules: RateRules) -> float:
    """Return the requests per second that are allowed, a pause aside."""
    return rules.limit if row.allowed is None else min(row.allowed, rules.limit)


def state_of(row: AdaptiveRate) -> RateState:
    """Return what workers must know of a rate; two digits of it, as small steps are no news."""
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
    """Return the requests per second below which nothing is cut."""
    return min(rules.floor, rules.limit)


def tidied(row: AdaptiveRate, rules: RateRules, now: float) -> AdaptiveRate:
    """Return the rate without what is over by now, nor what cannot have been yet."""
    row = _not_ahead(row, rules, now)
    row = msgspec.structs.replace(row, window=latest(row.window, now))
    if row.until is None or now < row.until:
        return row
    reason = None if row.allowed is None else row.reason
    return msgspec.structs.replace(row, until=None, reason=reason)


def _not_ahead(row: AdaptiveRate, rules: RateRules, now: float) -> AdaptiveRate:
    """Return the rate with nothing in it that is later than a clock set back permits.

    Otherwise it would neither grow nor be cut, nor a pause end, until now is there again.
    """
    ahead = row.until is not None and row.until > now + rules.pause_seconds_max
    return msgspec.structs.replace(
        row,
        active_at=min(row.active_at, now),
        until=now + rules.pause_seconds_max if ahead else row.until,
        cut_at=min(row.cut_at, now),
        grown_at=min(row.grown_at, now),
        well_at=min(row.well_at, now),
        window=not_ahead(row.window, now),
    )


def is_idle(row: AdaptiveRate, seconds: float, now: float) -> bool:
    """Return whether nothing happened to it for so long."""
    return now - row.active_at >= seconds
