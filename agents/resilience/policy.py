"""The policy table: what is done about each kind of failure, in which order, how often."""

from collections.abc import Mapping

import msgspec

from schemas.errors import ErrorCode
from schemas.job import Strategy


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What a failure of one code leads to: first what helps at once, then waits, then the end.

    Attributes:
        at_once: strategies without a wait, in this order; they use up no retry.
        changes: how often, at most, something is changed because of this code at one step.
        waits: seconds before each retry; as many retries as there are waits.
        on_repeat: strategies that go along with every retry but the first.
        outage: it is not the request's fault: wait on until the total time is over, using up no
            retry; the last wait repeats.
        keep: in the end the event also goes to the dead letters, for an operator to replay.
    """

    at_once: tuple[Strategy, ...] = ()
    changes: int = 1
    waits: tuple[float, ...] = ()
    on_repeat: tuple[Strategy, ...] = ()
    outage: bool = False
    keep: bool = False


MINUTE = 60.0
HOUR = 3_600.0

NETWORK_WAITS = (5, 30, 2 * MINUTE, 10 * MINUTE)

EGRESSES_TRIED = 5
"""Other ways out for one request at one step. When that many are refused, more will be too."""

ACCOUNTS_TRIED = 3
"""Accounts for one request: what as many are refused is refused for another reason."""

LINKS_TRIED = 3
"""Fresh links for one file. yt-dlp's users find that a refused link works on the second try."""

_NEVER = Policy()
_NETWORK = Policy(waits=NETWORK_WAITS)
_LOCAL_FAULT = Policy(waits=(10 * MINUTE,), outage=True)
_AUTHENTICATE = Policy(at_once=("authenticate", "other_account"), changes=ACCOUNTS_TRIED)

POLICIES: Mapping[ErrorCode, Policy] = {
    ErrorCode.NETWORK_TIMEOUT: Policy(
        waits=NETWORK_WAITS, on_repeat=("lower_quality",), changes=len(NETWORK_WAITS)
    ),
    ErrorCode.NETWORK_DNS: _NETWORK,
    ErrorCode.NETWORK_CONNECTION: _NETWORK,
    ErrorCode.NETWORK_SERVER: _NETWORK,
    ErrorCode.RATE_LIMIT_API: Policy(
        at_once=("other_egress",),
        changes=EGRESSES_TRIED,
        waits=(2 * MINUTE, 10 * MINUTE, HOUR),
    ),
    ErrorCode.RATE_LIMIT_IP_BLOCK: Policy(
        at_once=("other_egress",),
        changes=EGRESSES_TRIED,
        waits=(10 * MINUTE, HOUR),
    ),
    ErrorCode.RATE_LIMIT_ACCOUNT: Policy(
        at_once=("other_account",), changes=ACCOUNTS_TRIED, waits=(10 * MINUTE,)
    ),
    ErrorCode.CONTENT_NOT_FOUND: _NEVER,
    ErrorCode.CONTENT_PRIVATE: _NEVER,
    ErrorCode.CONTENT_UNSUPPORTED: _NEVER,
    ErrorCode.CONTENT_LIVE_ENDED: _NEVER,
    ErrorCode.CONTENT_GEO_BLOCKED: Policy(at_once=("other_egress",)),
    ErrorCode.CONTENT_LOGIN_REQUIRED: _AUTHENTICATE,
    ErrorCode.CONTENT_AGE_RESTRICTED: _AUTHENTICATE,
    # Codec, then container. A lower quality is no remedy: selection takes the nearest size by
    # itself, unless `Options.degrade` is off, and then no other one is wanted.
    ErrorCode.CONTENT_NO_FORMATS: Policy(at_once=("other_format",), changes=2),
    ErrorCode.CONTENT_LINK_EXPIRED: Policy(
        at_once=("other_format", "fresh_extraction"), changes=LINKS_TRIED
    ),
    ErrorCode.CONTENT_DAMAGED: Policy(
        at_once=("other_format", "fresh_extraction"), changes=LINKS_TRIED
    ),
    ErrorCode.PLATFORM_CHANGED: Policy(waits=(10 * MINUTE, HOUR), outage=True),
    ErrorCode.SYSTEM_DISK_FULL: _LOCAL_FAULT,
    ErrorCode.SYSTEM_STORAGE: _LOCAL_FAULT,
    ErrorCode.SYSTEM_CONFIG: Policy(keep=True),
    ErrorCode.SYSTEM_ENGINE_CRASH: Policy(waits=(5, 30), keep=True),
    ErrorCode.INTERNAL_BUG: Policy(waits=(30,), keep=True),
    ErrorCode.REQUEST_INVALID: _NEVER,
    ErrorCode.REQUEST_TOO_LARGE: _NEVER,
    ErrorCode.REQUEST_EXPIRED: _NEVER,
    ErrorCode.REQUEST_CANCELLED: _NEVER,
}
"""Every code has a row."""


def with_waits(waits: Mapping[ErrorCode, tuple[float, ...]]) -> dict[ErrorCode, Policy]:
    """Return the table with other waits for some codes; without any wait there is no retry."""
    changed = {
        code: msgspec.structs.replace(
            POLICIES[code], waits=seconds, outage=POLICIES[code].outage and bool(seconds)
        )
        for code, seconds in waits.items()
    }
    return {**POLICIES, **changed}
