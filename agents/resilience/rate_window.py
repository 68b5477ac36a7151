"""Sliding window of attempts that a rate adapts to. Pure."""

from collections.abc import Collection
from statistics import median

import msgspec

from agents.resilience.breaker_rules import CONTENT
from agents.resilience.sliding_window import digest
from schemas.attempts import NetworkAttempt
from schemas.errors import ErrorCode

CALLS_MAX = 100
SECONDS_MAX = 10.0
"""Bounds of the window: number and age, in seconds, of its attempts."""

SPAN_SECONDS_MIN = 0.25
"""Shortest span that a rate is computed over, in seconds: attempts that end together did not take
no time."""

LATENCY_SAMPLES = 20
"""Answers whose median latency is compared with the baseline."""


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
    return tuple(each for each in window if now - each.at <= SECONDS_MAX)[-CALLS_MAX:]


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
