"""How a rate follows what comes of the attempts: trouble cuts it, success restores it. Pure.

Additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the increase and decrease
algorithms for congestion avoidance in computer networks", Computer Networks and ISDN Systems 17,
1989), at most once per reaction time, as TCP does it (RFC 5681, section 3.1). The share of refused
attempts decides whether to cut and how deep, as in DCTCP (RFC 8257, section 3.3): some refusals
among many successes are no overload. Up to where it was cut last the rate climbs slowly, beyond
that faster. All times are epoch seconds of the monitor's clock.
"""

from math import sqrt

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
"""The platform says itself that it is too much."""

STRAINED = frozenset(
    {
        ErrorCode.RATE_LIMIT_IP_BLOCK,
        ErrorCode.RATE_LIMIT_ACCOUNT,
        ErrorCode.NETWORK_SERVER,
        ErrorCode.NETWORK_TIMEOUT,
    }
)
"""It may be too much."""

LIMITED_SHARE = 0.05
STRAINED_SHARE = 0.1
"""Shares of failed attempts that are tolerated: platforms refuse some at random."""

SIGMAS = 3.0
"""Standard deviations above the tolerated share that are no chance (the p-chart of Shewhart,
"Economic Control of Quality of Manufactured Product", 1931). Of 10 attempts 3 are an overload, of
100 attempts 12. With a plain share of 10 % instead, random refusals of 5 % halved the throughput in
a simulation."""

CUT_MIN = 0.5
"""Least part of the rate that one cut leaves."""

BACKOFF = 0.85
"""Part of what was admitted that is asked for after a cut; of the rate, after slow answers."""

REACTION_SECONDS = 1.0
"""Time between two cuts: every worker uses the new rate within it."""

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
    if is_well(attempt.code):
        return _slowed(row, attempt, rules, now) or _grown(row, rules, now)
    paused = _paused(row, attempt, rules, now)
    return _refused(paused, attempt, rules, now)


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
    return tuple(each for each in row.window if each.cuts >= row.cuts)


def _overload(window: RateWindow, code: ErrorCode | None, rules: RateRules) -> float:
    """Return the share of a window that was refused like this; 0 when that is no overload."""
    if code in LIMITED:
        codes, tolerated = LIMITED, LIMITED_SHARE
    elif code in STRAINED:
        codes, tolerated = STRAINED, STRAINED_SHARE
    else:
        return 0.0
    if subjects(window, codes) < rules.suspicious_videos:
        return 0.0
    share = share_of(window, codes)
    deviation = sqrt(tolerated * (1 - tolerated) / len(window))
    return share if share > tolerated + SIGMAS * deviation else 0.0


def _refused(
    row: AdaptiveRate, attempt: NetworkAttempt, rules: RateRules, now: float
) -> AdaptiveRate:
    """Return the rate cut, when the refused share of its attempts is an overload."""
    if attempt.cuts < row.cuts or now < row.cut_at + REACTION_SECONDS or attempt.code is None:
        return row
    share = _overload(_since_cut(row), attempt.code, rules)
    if share == 0.0:
        return row
    kept = max(CUT_MIN, BACKOFF * (1 - share))
    return _cut(row, kept * _made(row, rules, now), attempt.code, rules, now)


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
        cuts=row.cuts + 1,
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
    wanted = BACKOFF * rate_of(row, rules)
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
    """Return the rate with a pause, when an overload is answered with a time to come back."""
    asked = attempt.retry_after_seconds
    if asked is None or attempt.code not in LIMITED:
        return row
    if _overload(row.window, attempt.code, rules) == 0.0:
        return row
    until = now + min(asked, rules.pause_seconds_max)
    if row.until is not None and until < row.until + REACTION_SECONDS:
        return row
    return msgspec.structs.replace(row, until=until, reason=row.reason or attempt.code)
