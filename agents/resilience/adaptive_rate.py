"""State of the adaptive rate of one platform, operation and egress. Pure.

The monitor keeps it, with a sliding window of attempts, as a table row and publishes `RateState` of
it; `aimd` changes it. All times are epoch seconds.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from statistics import median

import msgspec

from agents.resilience.breaker_rules import CONTENT
from agents.resilience.sliding_window import digest
from schemas.attempts import EndpointRecord, NetworkAttempt, Operation
from schemas.errors import ErrorCode
from schemas.signals import RateState

WINDOW_CALLS_MAX = 100
WINDOW_SECONDS_MAX = 10.0
"""Bounds of the window: number and age, in seconds, of its attempts."""

SPAN_SECONDS_MIN = 0.25
"""Shortest span that a rate is computed over, in seconds. Without it, reports that arrive together
would yield an unbounded rate."""

LATENCY_SAMPLES = 20
"""Answers whose median latency is compared with the baseline."""


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


class AttemptSample(msgspec.Struct, frozen=True, array_like=True):
    """One attempt.

    Attributes:
        at: when the monitor received its report, epoch seconds.
        subject: digest of the video key or link.
        seconds: duration.
        code: error code, None on success.
        cuts: number of cuts of the rate that it was made at.
    """

    at: float
    subject: str
    seconds: float
    code: ErrorCode | None = None
    cuts: int = 0


RateWindow = tuple[AttemptSample, ...]
"""Attempts in the order in which their reports arrived."""


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


def sample_of(attempt: NetworkAttempt, now: float) -> AttemptSample:
    """Return the sample of an attempt, timed by the arrival of its report.

    The attempt's own time is by a worker's clock, which can be minutes off: attempts of a worker
    that is behind would be too old for the window.
    """
    subject = digest(attempt.subject)
    return AttemptSample(now, subject, attempt.seconds, attempt.code, attempt.cuts)


def is_success(code: ErrorCode | None) -> bool:
    """Return whether the platform answered, be it with a refusal of the content."""
    return code is None or code in CONTENT


def recent_samples(window: RateWindow, now: float) -> RateWindow:
    return tuple(each for each in window if now - each.at <= WINDOW_SECONDS_MAX)[-WINDOW_CALLS_MAX:]


def clamp_to_now(window: RateWindow, now: float) -> RateWindow:
    """Return the window without times in the future, as a clock that is set back leaves them."""
    return tuple(
        each if each.at <= now else msgspec.structs.replace(each, at=now) for each in window
    )


def count_failed_subjects(window: RateWindow, codes: Collection[ErrorCode]) -> int:
    return len({each.subject for each in window if each.code in codes})


def failure_ratio(window: RateWindow, codes: Collection[ErrorCode]) -> float:
    """Return the share of all attempts that failed with one of the codes, 0 to 1."""
    return sum(each.code in codes for each in window) / (len(window) or 1)


def attempts_per_second(window: RateWindow, now: float) -> float:
    if not window:
        return 0.0
    span = now - min(each.at for each in window)
    return len(window) / max(SPAN_SECONDS_MIN, span)


def median_latency(window: RateWindow) -> float | None:
    """Return the median over the last `LATENCY_SAMPLES` answers, None when there are fewer."""
    times = [each.seconds for each in window if each.code is None][-LATENCY_SAMPLES:]
    return median(times) if len(times) == LATENCY_SAMPLES else None
