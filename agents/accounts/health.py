"""How accounts fare, and which one is the best to use. Pure: facts in, an answer out.

What is known is of this process: another one finds out for itself, at the cost of a page or two.
All times are epoch seconds.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from agents.accounts.interface import Use
from schemas.errors import ErrorCode

REST_SECONDS = 600.0
"""Rest of an account that the platform limits, as long as the policy's wait for it; it doubles
each time that the account is limited again before it has been of use."""

REST_SECONDS_MAX = 6 * 3_600.0

REFUSALS_MAX = 3
"""Different posts that an account must be refused for before its login is taken for ended: a wall
in front of one post says more about the post, as with breakers."""

REFUSED_SECONDS = 6 * 3_600.0
"""After this an account whose login seemed to have ended is tried once more: TikTok's login wall
may stand before a whole network for a while. A new file ends it at once."""

OLD_SECONDS = 30 * 86_400.0
"""An account of an older file that has not been of use yet comes after the others."""

REFUSED = frozenset({ErrorCode.CONTENT_LOGIN_REQUIRED, ErrorCode.CONTENT_AGE_RESTRICTED})
"""What those see who are not logged in."""

State = Literal["trusted", "doubtful", "resting", "refused", "expired"]
"""``trusted`` and ``doubtful`` accounts may be used."""


class AccountHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an account.

    Attributes:
        used_at: when it was lent last; 0 for never.
        success_at: when a page that needs a login was read with it.
        failure_at: when a page failed that was read with it.
        code: why that failed.
        limits: how often it was limited since it was of use.
        resting_until: it is not used before.
        rest: seconds of that rest.
        refused_for: different posts that it was refused for since it was of use, `REFUSALS_MAX`
            at most.
    """

    used_at: float = 0.0
    success_at: float | None = None
    failure_at: float | None = None
    code: ErrorCode | None = None
    limits: int = 0
    resting_until: float = 0.0
    rest: float = 0.0
    refused_for: tuple[str, ...] = ()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An account that could be used.

    Attributes:
        name: of the account.
        health: how it fared.
        written_at: when its file was written.
        expires_at: when its login ends; None when that is not known.
    """

    name: str
    health: AccountHealth = AccountHealth()
    written_at: float = 0.0
    expires_at: float | None = None


def state_of(candidate: Candidate, now: float) -> State:
    """Return whether an account may be used."""
    health = candidate.health
    if candidate.expires_at is not None and candidate.expires_at <= now:
        return "expired"
    if len(health.refused_for) >= REFUSALS_MAX and now < _tried_again_at(health):
        return "refused"
    if now < health.resting_until:
        return "resting"
    is_old = health.success_at is None and now - candidate.written_at > OLD_SECONDS
    return "doubtful" if health.refused_for or is_old else "trusted"


def may_be_used(candidate: Candidate, now: float) -> bool:
    """Return whether nothing speaks against an account."""
    return state_of(candidate, now) in {"trusted", "doubtful"}


def choose(candidates: Sequence[Candidate], now: float) -> Candidate | None:
    """Return the account to use, None when none may be.

    Trusted ones come before doubtful ones, then the one that was not used for longest: so the
    pages are spread over all.
    """
    usable = [each for each in candidates if may_be_used(each, now)]
    return min(usable, key=lambda each: _rank(each, now), default=None)


def rested_at(candidates: Sequence[Candidate], now: float) -> float | None:
    """Return when the first of the accounts that are resting may be used, None when none is."""
    resting = [each for each in candidates if state_of(each, now) == "resting"]
    return min((each.health.resting_until for each in resting), default=None)


def not_ahead(health: AccountHealth, now: float) -> AccountHealth:
    """Return the health with no time in it that a clock which was set back does not permit."""
    return msgspec.structs.replace(
        health,
        used_at=min(health.used_at, now),
        success_at=None if health.success_at is None else min(health.success_at, now),
        failure_at=None if health.failure_at is None else min(health.failure_at, now),
        resting_until=min(health.resting_until, now + health.rest),
    )


def after_use(health: AccountHealth, use: Use, now: float) -> AccountHealth:
    """Return the health of an account after a request with it."""
    if use.code is None:
        return _after_success(health, use, now)
    failed = msgspec.structs.replace(health, failure_at=now, code=use.code)
    if use.code is ErrorCode.RATE_LIMIT_ACCOUNT:
        return _after_limit(failed, use, now)
    return _after_refusal(failed, use.subject) if use.code in REFUSED else failed


def _after_success(health: AccountHealth, use: Use, now: float) -> AccountHealth:
    # A page that needs no login is shown to those whose login has ended too.
    if not use.needed:
        return msgspec.structs.replace(health, limits=0)
    return msgspec.structs.replace(health, limits=0, success_at=now, refused_for=())


def _after_limit(health: AccountHealth, use: Use, now: float) -> AccountHealth:
    """Return the health with a rest; pages under way when it began do not make it longer."""
    asked_until = now + (use.retry_after or 0.0)
    if now < health.resting_until:
        until = max(health.resting_until, asked_until)
        return msgspec.structs.replace(health, resting_until=until, rest=until - now)
    rest = min(REST_SECONDS * 2.0**health.limits, REST_SECONDS_MAX)
    until = max(now + rest, asked_until)
    limits = min(health.limits + 1, _LIMITS_COUNTED)
    return msgspec.structs.replace(health, limits=limits, resting_until=until, rest=until - now)


_LIMITS_COUNTED = 16
"""The longest rest is reached long before."""


def _after_refusal(health: AccountHealth, subject: str) -> AccountHealth:
    others = tuple(each for each in health.refused_for if each != subject)
    return msgspec.structs.replace(health, refused_for=(*others, subject)[-REFUSALS_MAX:])


def _tried_again_at(health: AccountHealth) -> float:
    # Lent is tried: the others wait for what comes of it.
    return max(health.failure_at or 0.0, health.used_at) + REFUSED_SECONDS


def _rank(candidate: Candidate, now: float) -> tuple[bool, float, str]:
    doubtful = state_of(candidate, now) == "doubtful"
    return doubtful, candidate.health.used_at, candidate.name
