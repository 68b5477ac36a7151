"""How a rate follows what comes of the attempts: trouble cuts it, success restores it. Pure.

Additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the increase and decrease
algorithms for congestion avoidance in computer networks", Computer Networks and ISDN Systems 17,
1989), once per time that a cut takes to be felt, as TCP does it (RFC 5681, section 3.1). Up to
where it was cut last the rate climbs slowly, beyond that faster. All times are epoch seconds.
"""

import msgspec

from agents.resilience.adaptive_rate import AdaptiveRate, RateRules, floor_of, rate_of, tidied
from agents.resilience.rate_window import (
    CALLS_MAX,
    RateWindow,
    is_well,
    per_second,
    seen,
    share_of,
    subjects,
    usual_latency,
)
from schemas.attempts import NetworkAttempt
from schemas.errors import ErrorCode

LIMITED = frozenset({ErrorCode.RATE_LIMIT_API})
"""The platform says itself that it is too much: one such answer is enough."""

STRAINED = frozenset(
    {
        ErrorCode.RATE_LIMIT_IP_BLOCK,
        ErrorCode.RATE_LIMIT_ACCOUNT,
        ErrorCode.NETWORK_SERVER,
        ErrorCode.NETWORK_TIMEOUT,
    }
)
"""It may be too much: believed when several videos say so, and not only a few of many."""

STRAINED_SHARE = 0.2

CUT = 0.5
SLOW_CUT = 0.85
"""What is left of the rate after trouble, and after answers that come slowly."""

REACTION_SECONDS = 1.0
"""Every worker knows of a cut after this time: attempts that began before say nothing about it."""

SLOW_FACTOR = 2.0
SLOW_SECONDS_MIN = 0.5
"""Answers are slow that take so many times as long as usual, and so much longer."""

BASELINE_WEIGHT = 1 / 200
"""Weight of one answer in the moving average of what is usual: it follows in some 200 answers."""

STEP_MIN = 0.1
"""At low load one 429 must not stop all: a cut leaves at least half of this share of the limit."""

GROWTH_SECONDS_MAX = 10.0
"""The rate grows by no more than this much time from one success to the next."""

HANDLED_SECONDS = 5.0
"""As long as something succeeded within this time, a lower rate helps."""


def adapt(row: AdaptiveRate, attempt: NetworkAttempt, rules: RateRules, now: float) -> AdaptiveRate:
    """Return the rate after an attempt."""
    row = _noted(tidied(row, rules, now), attempt, now)
    reason = _reason_to_cut(row, attempt, rules, now)
    if reason is not None:
        row = _cut(row, CUT * _made(row, rules, now), reason, rules, now)
    elif is_well(attempt.code):
        row = _slowed(row, attempt, rules, now) or _grown(row, rules, now)
    return _paused(row, attempt, rules, now)


def handles_limits(row: AdaptiveRate, rules: RateRules, now: float) -> bool:
    """Return whether 429 is the rate's business: it can go lower, and something does succeed."""
    return rate_of(row, rules) > floor_of(rules) and now - row.well_at <= HANDLED_SECONDS


def _noted(row: AdaptiveRate, attempt: NetworkAttempt, now: float) -> AdaptiveRate:
    latency = row.latency
    if attempt.code is None:
        usual = attempt.seconds if latency is None else latency
        latency = usual + BASELINE_WEIGHT * (attempt.seconds - usual)
    return msgspec.structs.replace(
        row,
        active_at=now,
        well_at=now if is_well(attempt.code) else row.well_at,
        latency=latency,
        window=(*row.window, seen(attempt, now))[-CALLS_MAX:],
    )


def _since_cut(row: AdaptiveRate) -> RateWindow:
    """Return the attempts that were made at the present rate."""
    return tuple(each for each in row.window if each.began >= row.cut_at + REACTION_SECONDS)


def _reason_to_cut(
    row: AdaptiveRate, attempt: NetworkAttempt, rules: RateRules, now: float
) -> ErrorCode | None:
    if seen(attempt, now).began < row.cut_at + REACTION_SECONDS:
        return None
    if attempt.code in LIMITED:
        return attempt.code
    if attempt.code not in STRAINED:
        return None
    window = _since_cut(row)
    is_sign = subjects(window, STRAINED) >= rules.suspicious_videos
    return attempt.code if is_sign and share_of(window, STRAINED) >= STRAINED_SHARE else None


def _made(row: AdaptiveRate, rules: RateRules, now: float) -> float:
    """Return the rate that was too much: what was really made, if much more was allowed."""
    made = max(per_second(row.window, now), STEP_MIN * rules.limit)
    return min(rate_of(row, rules), made)


def _cut(
    row: AdaptiveRate, wanted: float, reason: ErrorCode, rules: RateRules, now: float
) -> AdaptiveRate:
    allowed = max(floor_of(rules), wanted)
    if allowed >= rate_of(row, rules):
        return row
    return msgspec.structs.replace(
        row,
        allowed=allowed,
        knee=_made(row, rules, now),
        reason=reason,
        since=now,
        cut_at=now,
        grown_at=now,
    )


def _slowed(
    row: AdaptiveRate, attempt: NetworkAttempt, rules: RateRules, now: float
) -> AdaptiveRate | None:
    """Return the rate cut a little, when answers take much longer than usual; else None."""
    if row.latency is None or not _is_slow(attempt.seconds, row.latency):
        return None
    median = usual_latency(_since_cut(row))
    if median is None or not _is_slow(median, row.latency):
        return None
    wanted = SLOW_CUT * rate_of(row, rules)
    return _cut(row, wanted, ErrorCode.NETWORK_TIMEOUT, rules, now)


def _is_slow(seconds: float, usual: float) -> bool:
    return seconds > SLOW_FACTOR * usual and seconds - usual >= SLOW_SECONDS_MIN


def _grown(row: AdaptiveRate, rules: RateRules, now: float) -> AdaptiveRate:
    if row.allowed is None:
        return row
    present = rate_of(row, rules)
    began = max(row.grown_at, row.cut_at + REACTION_SECONDS, now - GROWTH_SECONDS_MAX)
    if now <= began:
        return row
    is_below = row.knee is not None and present < row.knee
    goal = row.knee if is_below and row.knee is not None else rules.limit
    allowed = present + (now - began) * goal / rules.recovery_seconds
    if allowed >= rules.limit:
        return msgspec.structs.replace(
            row, allowed=None, knee=None, reason=None, since=now, grown_at=now
        )
    return msgspec.structs.replace(row, allowed=allowed, grown_at=now)


def _paused(
    row: AdaptiveRate, attempt: NetworkAttempt, rules: RateRules, now: float
) -> AdaptiveRate:
    """Return the rate with a pause, when several videos are told to come back later."""
    asked = attempt.retry_after_seconds
    if asked is None or attempt.code not in LIMITED:
        return row
    if subjects(row.window, LIMITED) < rules.suspicious_videos:
        return row
    until = now + min(asked, rules.pause_seconds_max)
    if row.until is not None and until < row.until + REACTION_SECONDS:
        return row
    return msgspec.structs.replace(row, until=until, reason=row.reason or attempt.code)
