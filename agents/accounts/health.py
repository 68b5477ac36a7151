"""Account health after each use, and selection of the account for the next request. Pure.

Health is per process: another process observes for itself, at the cost of a page or two. All times
are epoch seconds.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from agents.accounts.interface import AccountUse
from schemas.errors import ErrorCode

COOLDOWN_SECONDS = 600.0
"""Cooldown of a rate-limited account, as long as the retry policy's wait for it; it doubles with
each further limit until a request succeeds."""

COOLDOWN_SECONDS_MAX = 6 * 3_600.0

REFUSALS_MAX = 3
"""Distinct posts that must be refused before the login counts as ended: a login wall in front of
one post says more about the post. Circuit breakers count subjects for the same reason."""

REFUSED_RETRY_SECONDS = 6 * 3_600.0
"""An account whose login seemed to have ended gets a trial use after this time: TikTok's login wall
may apply to a whole network for a while. A new cookie file resets the health at once."""

OLD_FILE_SECONDS = 30 * 86_400.0
"""An account with an older file and no success yet is ``doubtful``."""

REFUSED = frozenset({ErrorCode.CONTENT_LOGIN_REQUIRED, ErrorCode.CONTENT_AGE_RESTRICTED})
"""Answers to a client that is not logged in."""

AccountStanding = Literal["trusted", "doubtful", "resting", "refused", "expired"]
"""``trusted`` and ``doubtful`` accounts are usable."""


class AccountHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Observed use of an account.

    Attributes:
        used_at: last lease; 0 for never.
        success_at: last success with a page that requires a login.
        failure_at: last failure.
        code: of that failure.
        limit_count: rate limits since the last success.
        cooldown_until: end of the cooldown.
        cooldown_seconds: its length.
        refused_for: distinct subjects refused since ``success_at``, at most `REFUSALS_MAX`.
    """

    used_at: float = 0.0
    success_at: float | None = None
    failure_at: float | None = None
    code: ErrorCode | None = None
    limit_count: int = 0
    cooldown_until: float = 0.0
    cooldown_seconds: float = 0.0
    refused_for: tuple[str, ...] = ()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An account to select from.

    Attributes:
        name: of the account.
        health: of the account.
        written_at: mtime of its file.
        expires_at: expiry of its login; None when that is not known.
    """

    name: str
    health: AccountHealth = AccountHealth()
    written_at: float = 0.0
    expires_at: float | None = None


def state_of(candidate: Candidate, now: float) -> AccountStanding:
    health = candidate.health
    if candidate.expires_at is not None and candidate.expires_at <= now:
        return "expired"
    if len(health.refused_for) >= REFUSALS_MAX and now < _trial_at(health):
        return "refused"
    if now < health.cooldown_until:
        return "resting"
    is_old = health.success_at is None and now - candidate.written_at > OLD_FILE_SECONDS
    return "doubtful" if health.refused_for or is_old else "trusted"


def is_usable(candidate: Candidate, now: float) -> bool:
    return state_of(candidate, now) in {"trusted", "doubtful"}


def choose(candidates: Sequence[Candidate], now: float) -> Candidate | None:
    """Return the account to use, None when none is usable.

    Trusted ones come before doubtful ones, then the least recently used one, which spreads the
    load over all of them.
    """
    usable = [each for each in candidates if is_usable(each, now)]
    return min(usable, key=lambda each: _rank(each, now), default=None)


def next_available_at(candidates: Sequence[Candidate], now: float) -> float | None:
    """Return the earliest end of a cooldown, None when no account is in one."""
    resting = [each for each in candidates if state_of(each, now) == "resting"]
    return min((each.health.cooldown_until for each in resting), default=None)


def without_future_times(health: AccountHealth, now: float) -> AccountHealth:
    """Clamp the times to now, so that a clock set back does not extend a cooldown."""
    return msgspec.structs.replace(
        health,
        used_at=min(health.used_at, now),
        success_at=None if health.success_at is None else min(health.success_at, now),
        failure_at=None if health.failure_at is None else min(health.failure_at, now),
        cooldown_until=min(health.cooldown_until, now + health.cooldown_seconds),
    )


def after_use(health: AccountHealth, use: AccountUse, now: float) -> AccountHealth:
    if use.code is None:
        return _after_success(health, use, now)
    failed = msgspec.structs.replace(health, failure_at=now, code=use.code)
    if use.code is ErrorCode.RATE_LIMIT_ACCOUNT:
        return _after_limit(failed, use, now)
    return _after_refusal(failed, use.subject) if use.code in REFUSED else failed


def _after_success(health: AccountHealth, use: AccountUse, now: float) -> AccountHealth:
    # A page that requires no login proves nothing about the login.
    if not use.login_required:
        return msgspec.structs.replace(health, limit_count=0)
    return msgspec.structs.replace(health, limit_count=0, success_at=now, refused_for=())


def _after_limit(health: AccountHealth, use: AccountUse, now: float) -> AccountHealth:
    """Start a cooldown; limits of requests that were in flight at its start do not double it."""
    requested_until = now + (use.retry_after or 0.0)
    if now < health.cooldown_until:
        until = max(health.cooldown_until, requested_until)
        return msgspec.structs.replace(health, cooldown_until=until, cooldown_seconds=until - now)
    cooldown = min(COOLDOWN_SECONDS * 2.0**health.limit_count, COOLDOWN_SECONDS_MAX)
    until = max(now + cooldown, requested_until)
    return msgspec.structs.replace(
        health,
        limit_count=min(health.limit_count + 1, _LIMIT_COUNT_MAX),
        cooldown_until=until,
        cooldown_seconds=until - now,
    )


_LIMIT_COUNT_MAX = 16
"""Keeps the exponent small; `COOLDOWN_SECONDS_MAX` is reached at 6."""


def _after_refusal(health: AccountHealth, subject: str) -> AccountHealth:
    others = tuple(each for each in health.refused_for if each != subject)
    return msgspec.structs.replace(health, refused_for=(*others, subject)[-REFUSALS_MAX:])


def _trial_at(health: AccountHealth) -> float:
    # A lease is the trial: no second one starts before its outcome.
    return max(health.failure_at or 0.0, health.used_at) + REFUSED_RETRY_SECONDS


def _rank(candidate: Candidate, now: float) -> tuple[bool, float, str]:
    doubtful = state_of(candidate, now) == "doubtful"
    return doubtful, candidate.health.used_at, candidate.name
