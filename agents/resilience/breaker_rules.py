"""When a circuit breaker opens: what counts, and how much of it is too much. Pure."""

import msgspec

from agents.resilience.sliding_window import (
    Call,
    Matches,
    Window,
    digest,
    main_code,
    retries,
    share,
)
from schemas.attempts import NetworkAttempt
from schemas.errors import ErrorCode

SUSPICIOUS = frozenset({ErrorCode.RATE_LIMIT_IP_BLOCK, ErrorCode.PLATFORM_CHANGED})
"""What one strange video can look like too; believed when several videos say so."""

COUNTING = SUSPICIOUS | {
    ErrorCode.NETWORK_TIMEOUT,
    ErrorCode.NETWORK_DNS,
    ErrorCode.NETWORK_CONNECTION,
    ErrorCode.NETWORK_SERVER,
    ErrorCode.RATE_LIMIT_API,
    ErrorCode.RATE_LIMIT_ACCOUNT,
}
"""The platform, or the way to it, failed."""

CONTENT = frozenset(code for code in ErrorCode if code.startswith("content."))
"""The platform answered, which is a success. The codes that are left say nothing about it."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers; `streams.settings.BreakerSettings` says what each of them means."""

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


def says_something(code: ErrorCode | None) -> bool:
    """Return whether the outcome of an attempt tells how the platform is."""
    return code is None or code in COUNTING or code in CONTENT


def call_of(attempt: NetworkAttempt, rules: Rules, now: float) -> Call:
    """Return an attempt as it is counted. A file may take its time, pages and links may not.

    It counts from when its report arrived: by the clock of a worker that is minutes behind it
    would be too old.
    """
    return Call(
        at=now,
        subject=digest(attempt.subject),
        code=attempt.code,
        slow=attempt.operation != "download" and attempt.seconds > rules.slow_seconds,
        retry=attempt.retry,
    )


def is_good(call: Call) -> bool:
    """Return whether an attempt is one that a closed breaker is there for."""
    return not (_has_failed(call) or call.slow)


def reason_to_open(window: Window, rules: Rules) -> ErrorCode | None:
    """Return the code that opens a breaker with this window, None when it stays closed.

    It always takes several videos. Too many slow answers are ``network.timeout``.
    """
    if _is_high(window, _is_suspicious, rules.failure_ratio, rules):
        return main_code(window, COUNTING)
    if len(window) < min(rules.minimum_calls, rules.window_calls):
        return None
    if _is_high(window, _has_failed, rules.failure_ratio, rules):
        return main_code(window, COUNTING)
    slow = _is_high(window, _is_slow, rules.slow_ratio, rules)
    return ErrorCode.NETWORK_TIMEOUT if slow else None


def retries_too_much(window: Window, rules: Rules) -> bool:
    """Return whether too large a share of the attempts are retries."""
    count = retries(window)
    return count > rules.retry_floor and count > rules.retry_share * len(window)


def open_seconds(openings: int, rules: Rules) -> float:
    """Return how long it is open: twice as long each time it opens again, up to the cap."""
    return min(rules.open_seconds * 2.0 ** min(openings - 1, DOUBLINGS_MAX), rules.open_seconds_max)


DOUBLINGS_MAX = 32
"""The cap is reached long before; 2 to the power of every opening would overflow some day."""


def _is_high(window: Window, matches: Matches, ratio: float, rules: Rules) -> bool:
    found = share(window, matches)
    return found.subjects >= rules.suspicious_videos and found.ratio >= ratio


def _has_failed(call: Call) -> bool:
    return call.code in COUNTING


def _is_suspicious(call: Call) -> bool:
    return call.code in SUSPICIOUS


def _is_slow(call: Call) -> bool:
    return call.slow
