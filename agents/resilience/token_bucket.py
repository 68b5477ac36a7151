"""Token bucket with a variable rate. Pure; times are seconds of any one clock.

The classic one (Turner, "New directions in communications", IEEE Communications Magazine 24(10),
1986, section III), with a rate that may change at any time. https://doi.org/10.1109/MCOM.1986.1092946
It also holds the reservations of callers that the rate limiter rejected with a retry-after.
"""

from dataclasses import dataclass, replace

TOKEN_TOLERANCE = 1e-9
"""Tokens by which a level may fall short: waits are computed in floating point."""

HORIZON_SECONDS = 60.0
"""Seconds ahead within which retry-afters are given out. A longer backlog stays queued, in Kafka:
the rate may have changed before a later retry-after is due."""

RETRY_AFTER_SECONDS_MAX = 120.0
"""Upper bound of a retry-after, in seconds: by then the rate may have changed."""


@dataclass(frozen=True, slots=True)
class Rate:
    """The refill rate in force.

    Attributes:
        per_second: tokens a second; 0 while nothing is admitted.
        burst: capacity of the bucket in tokens, 1 or more.
        paused_seconds: rest of a pause, in which nothing is admitted but tokens accrue.
    """

    per_second: float
    burst: float = 1.0
    paused_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """The bucket at one moment.

    Attributes:
        at: time of the last refill.
        level: tokens available; negative while the bucket is in debt.
        reserved: estimate of the requests that were rejected with a retry-after and are not back.
        per_second: rate at the last refill.
    """

    at: float
    level: float = 1.0
    reserved: float = 0.0
    per_second: float = 0.0


def refilled(bucket: TokenBucket, rate: Rate, now: float) -> TokenBucket:
    """Return the bucket with the tokens accrued until ``now``.

    The moment of a rate change is unknown: the lower of the old and the new rate applies to the
    whole interval.
    """
    accrued = max(0.0, now - bucket.at) * min(bucket.per_second, rate.per_second)
    served = 0.0 if rate.paused_seconds > 0 else accrued
    return TokenBucket(
        at=max(now, bucket.at),
        level=min(rate.burst, bucket.level + accrued),
        reserved=max(0.0, bucket.reserved - served),
        per_second=rate.per_second,
    )


def seconds_until(bucket: TokenBucket, rate: Rate, tokens: float) -> float:
    """Return the seconds from the last refill until ``tokens`` have accrued in all.

    Infinite while the rate is 0. ``tokens`` may exceed the burst.
    """
    paused = max(0.0, rate.paused_seconds)
    level = min(rate.burst, bucket.level + paused * rate.per_second)
    missing = tokens - level
    if missing <= TOKEN_TOLERANCE:
        return paused
    return paused + missing / rate.per_second if rate.per_second > 0 else float("inf")


def after_consuming(bucket: TokenBucket, requests: float = 1.0) -> TokenBucket:
    """Return the bucket with one token less per request; its level may become a debt."""
    return replace(bucket, level=bucket.level - requests)


def can_reserve(bucket: TokenBucket, rate: Rate) -> bool:
    """Return whether one more retry-after fits into the horizon, a pause aside."""
    position = bucket.reserved + 1
    return seconds_until(bucket, replace(rate, paused_seconds=0.0), position) <= HORIZON_SECONDS


def reserve(
    bucket: TokenBucket, rate: Rate, queued: float, requests: float = 1.0
) -> tuple[TokenBucket, float]:
    """Return the bucket with a rejected caller's reservation, and its retry-after in seconds.

    The reservation comes behind the queued callers and the earlier reservations, so that a backlog
    returns one by one, not all at once.
    """
    before = max(queued, bucket.reserved)
    seconds = min(RETRY_AFTER_SECONDS_MAX, seconds_until(bucket, rate, before + 1))
    return replace(bucket, reserved=before + requests), seconds
