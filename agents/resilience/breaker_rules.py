"""Rules by which a circuit breaker opens: what is a failure, and which thresholds hold. Pure."""

import msgspec

from agents.resilience.sliding_window import (
    Call,
    CallPredicate,
    Window,
    count_retries,
    digest,
    dominant_code,
    subject_ratio,
)
from schemas.attempts import NetworkAttempt
from schemas.errors import ErrorCode

SUSPICIOUS = frozenset({ErrorCode.RATE_LIMIT_IP_BLOCK, ErrorCode.PLATFORM_CHANGED})
"""Failure codes that open a breaker before the minimum of calls. One odd video can cause them too,
so several videos must fail."""

FAILURES = SUSPICIOUS | {
    ErrorCode.NETWORK_TIMEOUT,
    ErrorCode.NETWORK_DNS,
    ErrorCode.NETWORK_CONNECTION,
    ErrorCode.NETWORK_SERVER,
    ErrorCode.RATE_LIMIT_API,
    ErrorCode.RATE_LIMIT_ACCOUNT,
}
"""Codes that count as failures: of the platform, or of the network to it."""

CONTENT = frozenset(code for code in ErrorCode if code.startswith("content."))
"""Codes that count as successes: the platform answered. All other codes are ignored."""


class BreakerRules(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters; `streams.settings.BreakerSettings` documents them."""

    window_calls: int
    window_seconds: float
    minimum_calls: int
    failure_ratio: float
    slow_ratio: float
    slow_seconds: float
    suspicious_videos: int
    open_seconds: float
    open_seconds_max: float
    trials: int
    trial_seconds: float
    retry_share: float
    retry_floor: int


def is_conclusive(code: ErrorCode | None) -> bool:
    """Return whether an outcome counts as a success or a failure of the platform."""
    return code is None or code in FAILURES or code in CONTENT


def call_of(attempt: NetworkAttempt, rules: BreakerRules, now: float) -> Call:
    """Return the call of an attempt, timed by the arrival of its report.

    By the clock of a worker that is minutes behind it would be too old for the window. A download
    is never slow: its duration depends on the file.
    """
    return Call(
        at=now,
        subject=digest(attempt.subject),
        code=attempt.code,
        slow=attempt.operation != "download" and attempt.seconds > rules.slow_seconds,
        retry=attempt.retry,
    )


def is_healthy(call: Call) -> bool:
    """Return whether a trial with this call passes: neither failed nor slow."""
    return not (_has_failed(call) or call.slow)


def reason_to_open(window: Window, rules: BreakerRules) -> ErrorCode | None:
    """Return the code that opens a breaker with this window, None when it stays closed.

    Several videos must be affected. Too many slow calls count as ``network.timeout``.
    """
    if _exceeds(window, _is_suspicious, rules.failure_ratio, rules):
        return dominant_code(window, FAILURES)
    if len(window) < min(rules.minimum_calls, rules.window_calls):
        return None
    if _exceeds(window, _has_failed, rules.failure_ratio, rules):
        return dominant_code(window, FAILURES)
    slow = _exceeds(window, _is_slow, rules.slow_ratio, rules)
    return ErrorCode.NETWORK_TIMEOUT if slow else None


def exceeds_retry_budget(window: Window, rules: BreakerRules) -> bool:
    count = count_retries(window)
    return count > rules.retry_floor and count > rules.retry_share * len(window)


def open_seconds(openings: int, rules: BreakerRules) -> float:
    """Return the open time: doubled with each opening in a row, up to the cap."""
    return min(rules.open_seconds * 2.0 ** min(openings - 1, DOUBLINGS_MAX), rules.open_seconds_max)


DOUBLINGS_MAX = 32
"""Bound of the exponent, against overflow; the cap of the open time is reached long before."""


def _exceeds(window: Window, matches: CallPredicate, ratio: float, rules: BreakerRules) -> bool:
    found = subject_ratio(window, matches)
    return found.subjects >= rules.suspicious_videos and found.ratio >= ratio


def _has_failed(call: Call) -> bool:
    return call.code in FAILURES


def _is_suspicious(call: Call) -> bool:
    return call.code in SUSPICIOUS


def _is_slow(call: Call) -> bool:
    return call.slow
