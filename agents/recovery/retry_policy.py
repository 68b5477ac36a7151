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

PAGES_READ = 4
"""Pages read for one request before another of its files is no longer tried. A fresh page is asked
for once; the others are for a cache that keeps none."""

FORMATS_TRIED = 40
"""Formats of one post, each once. Real posts have two dozen, and pages of 200 are possible."""

_NEVER = Policy()
# A host that is away has the same file at another one.
_NETWORK = Policy(waits=NETWORK_WAITS, on_repeat=("other_format",))
_LOCAL_FAULT = Policy(waits=(10 * MINUTE,), outage=True)
_OTHER_FILE = Policy(at_once=("fresh_extraction", "other_format"), changes=FORMATS_TRIED)
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
        # The first ones are short: most refusals are chance, and what is asked too often is paced
        # by the rate, which is cut meanwhile.
        waits=(5, 30, 2 * MINUTE, 10 * MINUTE, HOUR),
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
    # Another account would be refused as well, unless it is a friend's.
    ErrorCode.CONTENT_PRIVATE: Policy(at_once=("authenticate",)),
    # Of a page that is for ever; of one file, others may be made of what can be joined.
    ErrorCode.CONTENT_UNSUPPORTED: Policy(at_once=("other_format",), changes=FORMATS_TRIED),
    ErrorCode.CONTENT_LIVE_ENDED: _NEVER,
    ErrorCode.CONTENT_GEO_BLOCKED: Policy(
        at_once=("other_egress", "other_format"), changes=FORMATS_TRIED
    ),
    ErrorCode.CONTENT_LOGIN_REQUIRED: _AUTHENTICATE,
    ErrorCode.CONTENT_AGE_RESTRICTED: _AUTHENTICATE,
    # Codec, then container. A lower quality is no remedy: selection takes the nearest size by
    # itself, unless `Options.degrade` is off, and then no other one is wanted.
    ErrorCode.CONTENT_NO_FORMATS: Policy(at_once=("other_format",), changes=2),
    ErrorCode.CONTENT_LINK_EXPIRED: _OTHER_FILE,
    ErrorCode.CONTENT_DAMAGED: _OTHER_FILE,
    # A fresh link leads to the same file, without sound.
    ErrorCode.CONTENT_NO_SOUND: Policy(at_once=("other_format",), changes=FORMATS_TRIED),
    # Of one file its host is not the platform's: those of other formats may be. A page that is odd
    # by itself ends with its retries. What all pages are is an outage: their breaker is open then,
    # and requests wait for it without using up a retry.
    ErrorCode.PLATFORM_CHANGED: Policy(
        at_once=("other_format",), changes=FORMATS_TRIED, waits=(10 * MINUTE, HOUR)
    ),
    ErrorCode.SYSTEM_DISK_FULL: _LOCAL_FAULT,
    ErrorCode.SYSTEM_STORAGE: _LOCAL_FAULT,
    # A proxy that refuses its login, or denies the way, is one of several egresses.
    ErrorCode.SYSTEM_CONFIG: Policy(at_once=("other_egress",), changes=EGRESSES_TRIED, keep=True),
    ErrorCode.SYSTEM_ENGINE_CRASH: Policy(waits=(5, 30), keep=True),
    ErrorCode.INTERNAL_BUG: Policy(waits=(30,), keep=True),
    ErrorCode.REQUEST_INVALID: _NEVER,
    # The page did not tell how large the file is.
    ErrorCode.REQUEST_TOO_LARGE: Policy(at_once=("other_format",), changes=FORMATS_TRIED),
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
