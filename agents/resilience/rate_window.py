"""What the rate of a platform is judged by: the latest attempts, as short as can be. Pure."""

from collections.abc import Collection
from statistics import median

import msgspec

from agents.resilience.breaker_rules import CONTENT
from agents.resilience.sliding_window import digest
from schemas.attempts import NetworkAttempt
from schemas.errors import ErrorCode

CALLS_MAX = 100
SECONDS_MAX = 10.0
"""No more attempts than this are looked at, and no older ones."""

SPAN_SECONDS_MIN = 0.25
"""Attempts that end together were not made in no time."""

LATENCIES = 20
"""Answers whose median is compared with what is usual."""


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """One attempt.

    Attributes:
        at: when the monitor received its report, epoch seconds.
        subject: digest of the video or link that it was about.
        seconds: how long it took.
        code: why it failed, None when it did not.
        cuts: number of cuts of the rate that it was made at.
    """

    at: float
    subject: str
    seconds: float
    code: ErrorCode | None = None
    cuts: int = 0


RateWindow = tuple[Seen, ...]
"""Attempts in the order in which they were heard of."""


def seen(attempt: NetworkAttempt, now: float) -> Seen:
    """Return an attempt as it is remembered.

    Its own time is some worker's clock, which can be minutes off: the attempts of a worker that is
    behind would be too old for the window.
    """
    return Seen(now, digest(attempt.subject), attempt.seconds, attempt.code, attempt.cuts)


def is_well(code: ErrorCode | None) -> bool:
    """Return whether the platform answered."""
    return code is None or code in CONTENT


def latest(window: RateWindow, now: float) -> RateWindow:
    """Return the attempts that still count."""
    return tuple(each for each in window if now - each.at <= SECONDS_MAX)[-CALLS_MAX:]


def not_ahead(window: RateWindow, now: float) -> RateWindow:
    """Return the attempts, none of them later than now."""
    return tuple(
        each if each.at <= now else msgspec.structs.replace(each, at=now) for each in window
    )


def subjects(window: RateWindow, codes: Collection[ErrorCode]) -> int:
    """Return how many different videos or links failed so."""
    return len({each.subject for each in window if each.code in codes})


def share_of(window: RateWindow, codes: Collection[ErrorCode]) -> float:
    """Return the share of all attempts that failed so, 0 to 1."""
    return sum(each.code in codes for each in window) / (len(window) or 1)


def per_second(window: RateWindow, now: float) -> float:
    """Return how many attempts were made a second."""
    if not window:
        return 0.0
    span = now - min(each.at for each in window)
    return len(window) / max(SPAN_SECONDS_MIN, span)


def usual_latency(window: RateWindow) -> float | None:
    """Return the median time of the latest answers, None as long as there are too few."""
    times = [each.seconds for each in window if each.code is None][-LATENCIES:]
    return median(times) if len(times) == LATENCIES else None
