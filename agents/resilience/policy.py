"""The policy table: which failures are tried again, and after how long."""

from collections.abc import Mapping

import msgspec

from schemas.errors import ErrorCode


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What a failure of one code leads to.

    Attributes:
        waits: seconds before each retry; as many retries as there are waits.
        repeat_last: go on with the last wait until the total time is over, using up no retry:
            for outages that are not the request's fault.
        keep: in the end the event also goes to the dead letters, for an operator to replay.
        fresh: the retry starts with a new extraction, because what was read before is no use.
    """

    waits: tuple[float, ...] = ()
    repeat_last: bool = False
    keep: bool = False
    fresh: bool = False


MINUTE = 60.0
HOUR = 3_600.0

_NEVER = Policy()
_NETWORK = Policy(waits=(5, 30, 2 * MINUTE, 10 * MINUTE))
_OUTAGE = Policy(waits=(10 * MINUTE, HOUR), repeat_last=True)
_LOCAL_FAULT = Policy(waits=(10 * MINUTE,), repeat_last=True)
_ONCE = Policy(waits=(10 * MINUTE,))

POLICIES: dict[ErrorCode, Policy] = {
    ErrorCode.NETWORK_TIMEOUT: _NETWORK,
    ErrorCode.NETWORK_DNS: _NETWORK,
    ErrorCode.NETWORK_CONNECTION: _NETWORK,
    ErrorCode.NETWORK_SERVER: _NETWORK,
    ErrorCode.RATE_LIMIT_API: Policy(waits=(2 * MINUTE, 10 * MINUTE, HOUR)),
    ErrorCode.RATE_LIMIT_IP_BLOCK: Policy(waits=(10 * MINUTE, HOUR)),
    ErrorCode.RATE_LIMIT_ACCOUNT: _ONCE,
    ErrorCode.CONTENT_NOT_FOUND: _NEVER,
    ErrorCode.CONTENT_PRIVATE: _NEVER,
    ErrorCode.CONTENT_UNSUPPORTED: _NEVER,
    ErrorCode.CONTENT_LIVE_ENDED: _NEVER,
    ErrorCode.CONTENT_GEO_BLOCKED: _NEVER,
    ErrorCode.CONTENT_LOGIN_REQUIRED: _NEVER,
    ErrorCode.CONTENT_AGE_RESTRICTED: _NEVER,
    ErrorCode.CONTENT_NO_FORMATS: _NEVER,
    ErrorCode.CONTENT_LINK_EXPIRED: Policy(waits=(0, 0, 5), fresh=True),
    ErrorCode.PLATFORM_CHANGED: _OUTAGE,
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
    """Return the table with other waits for some codes; no waits at all mean no retry."""
    changed = {
        code: msgspec.structs.replace(
            POLICIES[code],
            waits=seconds,
            repeat_last=POLICIES[code].repeat_last and bool(seconds),
        )
        for code, seconds in waits.items()
    }
    return POLICIES | changed
