"""Token bucket: how many requests may be made by now. Pure; times are seconds of any one clock.

The classic one (Turner, "New directions in communications", IEEE Communications Magazine 24(10),
1986, section III), with a rate that may change at any time. https://doi.org/10.1109/MCOM.1986.1092946
"""

from dataclasses import dataclass, replace

ENOUGH = 1e-9
"""Tokens by which a level may be short: what is waited for is reckoned in floating point."""

HORIZON_SECONDS = 60.0
"""Only so far ahead is promised at once: a backlog had better stay where it is, in Kafka, than be
told when to come back at a rate that may soon be another."""

PROMISE_SECONDS_MAX = 120.0
"""Who is sent away comes back after this time at the latest: by then the rate may be another."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it may go at present.

    Attributes:
        per_second: tokens a second; 0 while nothing may go.
        burst: tokens that are kept at most, 1 or more.
        paused_seconds: until then nothing goes, though tokens come.
    """

    per_second: float
    burst: float = 1.0
    paused_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Tokens at a moment.

    Attributes:
        at: the moment.
        level: tokens that may be taken; below 0 as many are owed.
        promised: requests that were sent away and told when to come back: those that are still
            to come, as well as may be known.
        per_second: the rate that held at that moment.
    """

    at: float
    level: float = 1.0
    promised: float = 0.0
    per_second: float = 0.0


def settled(bucket: TokenBucket, pace: Pace, now: float) -> TokenBucket:
    """Return the bucket as it is now.

    When the rate has changed since, nobody knows when: the lower one of both is reckoned with.
    """
    come = max(0.0, now - bucket.at) * min(bucket.per_second, pace.per_second)
    served = 0.0 if pace.paused_seconds > 0 else come
    return TokenBucket(
        at=max(now, bucket.at),
        level=min(pace.burst, bucket.level + come),
        promised=max(0.0, bucket.promised - served),
        per_second=pace.per_second,
    )


def seconds_until(bucket: TokenBucket, pace: Pace, tokens: float) -> float:
    """Return how long it takes until so many tokens were there in all, from when it is settled.

    Infinite while the rate is 0.
    """
    paused = max(0.0, pace.paused_seconds)
    level = min(pace.burst, bucket.level + paused * pace.per_second)
    missing = tokens - level
    if missing <= ENOUGH:
        return paused
    return paused + missing / pace.per_second if pace.per_second > 0 else float("inf")


def taken(bucket: TokenBucket, requests: float = 1.0) -> TokenBucket:
    """Return the bucket with so many tokens less; those that it has not yet are owed."""
    return replace(bucket, level=bucket.level - requests)


def has_room(bucket: TokenBucket, pace: Pace) -> bool:
    """Return whether one more can be sent away to come back within the horizon."""
    place = bucket.promised + 1
    return seconds_until(bucket, replace(pace, paused_seconds=0.0), place) <= HORIZON_SECONDS


def promise(
    bucket: TokenBucket, pace: Pace, waiting: float, requests: float = 1.0
) -> tuple[TokenBucket, float]:
    """Return the bucket with one more who is sent away, and in how many seconds it is due.

    It is due behind those who wait and those who were sent away before: a backlog comes back one
    by one, not all at once.
    """
    before = max(waiting, bucket.promised)
    seconds = min(PROMISE_SECONDS_MAX, seconds_until(bucket, pace, before + 1))
    return replace(bucket, promised=before + requests), seconds
