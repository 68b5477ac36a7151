"""AIMD congestion control of the request rate: failures cut it, successes restore it. Pure.

Additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the increase and decrease
algorithms for congestion avoidance in computer networks", Computer Networks and ISDN Systems 17,
1989), at most once per reaction time, as TCP does it (RFC 5681, section 3.1). The share of refused
attempts decides whether to cut and how deep, as in DCTCP (RFC 8257, section 3.3): some refusals
among many successes are no overload. Up to the knee, the rate at the last cut, the increase is
slow, beyond it faster. All times are epoch seconds of the monitor's clock.
"""

from math import sqrt

import msgspec

from agents.resilience.adaptive_rate import (
    WINDOW_CALLS_MAX,
    AdaptiveRate,
    RateRules,
    RateWindow,
    attempts_per_second,
    count_failed_subjects,
    expire_outdated,
    failure_ratio,
    floor_of,
    is_success,
    median_latency,
    rate_of,
    sample_of,
)
from schemas.attempts import NetworkAttempt
from schemas.errors import ErrorCode

EXPLICIT_OVERLOAD = frozenset({ErrorCode.RATE_LIMIT_API})
"""Codes by which the platform itself reports an overload."""

POSSIBLE_OVERLOAD = frozenset(
    {
        ErrorCode.RATE_LIMIT_IP_BLOCK,
        ErrorCode.RATE_LIMIT_ACCOUNT,
        ErrorCode.NETWORK_SERVER,
        ErrorCode.NETWORK_TIMEOUT,
    }
)
"""Codes that an overload may cause, among other causes."""

EXPLICIT_TOLERANCE = 0.05
POSSIBLE_TOLERANCE = 0.1
"""Tolerated shares of failed attempts: platforms refuse some at random."""

SIGMAS = 3.0
"""Standard deviations above the tolerated share that are significant (the p-chart of Shewhart,
"Economic Control of Quality of Manufactured Product", 1931). Of 10 attempts 3 are an overload, of
100 attempts 12. With a plain share of 10 % instead, random refusals of 5 % halved the throughput in
a simulation."""

CUT_FACTOR_MIN = 0.5
"""Smallest factor of one cut."""

CUT_FACTOR = 0.85
"""Factor of a cut: applied to the admitted rate after failures, to the allowed one after slow
answers."""

REACTION_SECONDS = 1.0
"""Minimum time between two cuts, in seconds: every worker applies the new rate within it."""

SLOW_FACTOR = 2.0
SLOW_SECONDS_MIN = 0.5
"""An answer is slow if it takes this many times the baseline, and this many seconds longer."""

BASELINE_WEIGHT = 1 / 200
"""Weight of one answer in the moving average of the latency: it adapts within some 200 answers."""

OBSERVED_SHARE_MIN = 0.1
"""Smallest observed rate, as a share of the limit. At low load one 429 must not stop all traffic: a
cut leaves at least half of it."""

GROWTH_SECONDS_MAX = 10.0
"""Longest time, in seconds, that the rate grows by from one success to the next."""

RECENT_SUCCESS_SECONDS = 5.0
"""Age of the last success, in seconds, up to which a lower rate is expected to help."""


def adapt(row: AdaptiveRate, attempt: NetworkAttempt, rules: RateRules, now: float) -> AdaptiveRate:
    """Return the rate after an attempt."""
    row = _with_sample(expire_outdated(row, rules, now), attempt, now)
    if is_success(attempt.code):
        return _after_slow_answer(row, attempt, rules, now) or _after_success(row, rules, now)
    paused = _with_pause(row, attempt, rules, now)
    return _after_failure(paused, attempt, rules, now)


def handles_limits(row: AdaptiveRate, rules: RateRules, now: float) -> bool:
    """Return whether a lower rate still helps against 429: above the floor, some succeed."""
    is_above = rate_of(row, rules) > floor_of(rules)
    return is_above and now - row.succeeded_at <= RECENT_SUCCESS_SECONDS


def _with_sample(row: AdaptiveRate, attempt: NetworkAttempt, now: float) -> AdaptiveRate:
    latency = row.latency
    if attempt.code is None:
        baseline = attempt.seconds if latency is None else latency
        latency = baseline + BASELINE_WEIGHT * (attempt.seconds - baseline)
    return msgspec.structs.replace(
        row,
        active_at=now,
        succeeded_at=now if is_success(attempt.code) else row.succeeded_at,
        latency=latency,
        window=(*row.window, sample_of(attempt, now))[-WINDOW_CALLS_MAX:],
    )


def _since_cut(row: AdaptiveRate) -> RateWindow:
    """Return the attempts made at the present rate, recognised by its number of cuts."""
    return tuple(each for each in row.window if each.cuts >= row.cuts)


def _overload_ratio(window: RateWindow, code: ErrorCode | None, rules: RateRules) -> float:
    """Return the failure ratio of the code's class; 0 when it is not significant."""
    if code in EXPLICIT_OVERLOAD:
        codes, tolerated = EXPLICIT_OVERLOAD, EXPLICIT_TOLERANCE
    elif code in POSSIBLE_OVERLOAD:
        codes, tolerated = POSSIBLE_OVERLOAD, POSSIBLE_TOLERANCE
    else:
        return 0.0
    if count_failed_subjects(window, codes) < rules.suspicious_videos:
        return 0.0
    ratio = failure_ratio(window, codes)
    deviation = sqrt(tolerated * (1 - tolerated) / len(window))
    return ratio if ratio > tolerated + SIGMAS * deviation else 0.0


def _after_failure(
    row: AdaptiveRate, attempt: NetworkAttempt, rules: RateRules, now: float
) -> AdaptiveRate:
    # An attempt made before the last cut says nothing about the present rate.
    if attempt.cuts < row.cuts or now < row.cut_at + REACTION_SECONDS or attempt.code is None:
        return row
    ratio = _overload_ratio(_since_cut(row), attempt.code, rules)
    if ratio == 0.0:
        return row
    factor = max(CUT_FACTOR_MIN, CUT_FACTOR * (1 - ratio))
    return _cut_to(row, factor * _observed_rate(row, rules, now), attempt.code, rules, now)


def _observed_rate(row: AdaptiveRate, rules: RateRules, now: float) -> float:
    """Return the rate that caused an overload: the one in use, if a higher one is allowed."""
    observed = max(attempts_per_second(row.window, now), OBSERVED_SHARE_MIN * rules.limit)
    return min(rate_of(row, rules), observed)


def _cut_to(
    row: AdaptiveRate, wanted: float, reason: ErrorCode, rules: RateRules, now: float
) -> AdaptiveRate:
    allowed = max(floor_of(rules), wanted)
    if allowed >= rate_of(row, rules):
        return row
    return msgspec.structs.replace(
        row,
        allowed=allowed,
        knee=_observed_rate(row, rules, now),
        reason=reason,
        since=now,
        cut_at=now,
        increased_at=now,
        cuts=row.cuts + 1,
    )


def _after_slow_answer(
    row: AdaptiveRate, attempt: NetworkAttempt, rules: RateRules, now: float
) -> AdaptiveRate | None:
    """Return the rate after a small cut, None when the median latency is not slow."""
    if row.latency is None or not _is_slow(attempt.seconds, row.latency):
        return None
    median = median_latency(_since_cut(row))
    if median is None or not _is_slow(median, row.latency):
        return None
    wanted = CUT_FACTOR * rate_of(row, rules)
    return _cut_to(row, wanted, ErrorCode.NETWORK_TIMEOUT, rules, now)


def _is_slow(seconds: float, baseline: float) -> bool:
    return seconds > SLOW_FACTOR * baseline and seconds - baseline >= SLOW_SECONDS_MIN


def _after_success(row: AdaptiveRate, rules: RateRules, now: float) -> AdaptiveRate:
    if row.allowed is None:
        return row
    present = rate_of(row, rules)
    began = max(row.increased_at, row.cut_at + REACTION_SECONDS, now - GROWTH_SECONDS_MAX)
    if now <= began:
        return row
    is_below = row.knee is not None and present < row.knee
    goal = row.knee if is_below and row.knee is not None else rules.limit
    allowed = present + (now - began) * goal / rules.recovery_seconds
    if allowed >= rules.limit:
        return msgspec.structs.replace(
            row, allowed=None, knee=None, reason=None, since=now, increased_at=now
        )
    return msgspec.structs.replace(row, allowed=allowed, increased_at=now)


def _with_pause(
    row: AdaptiveRate, attempt: NetworkAttempt, rules: RateRules, now: float
) -> AdaptiveRate:
    """Return the rate paused as ``Retry-After`` asks, if there is an explicit overload."""
    asked = attempt.retry_after_seconds
    if asked is None or attempt.code not in EXPLICIT_OVERLOAD:
        return row
    if _overload_ratio(row.window, attempt.code, rules) == 0.0:
        return row
    until = now + min(asked, rules.pause_seconds_max)
    if row.until is not None and until < row.until + REACTION_SECONDS:
        return row
    return msgspec.structs.replace(row, until=until, reason=row.reason or attempt.code)
