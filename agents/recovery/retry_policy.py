"""Retry policies, a table by error code: immediate changes, backoff of retries, dead-lettering.

Also the waits that depend on state: of a circuit breaker, of the retry budget, of the deadline.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from schemas.errors import ErrorCode
from schemas.job import Job, Strategy
from schemas.signals import BreakerState


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Reaction to failures of one code: immediate changes, then retries with waits, then the end.

    Attributes:
        immediate: strategies without a wait, in this order; they use up no retry.
        changes: maximum of changes because of this code at one step.
        waits: seconds before each retry; as many retries as there are waits.
        on_repeat: strategies that go along with every retry but the first.
        outage: the request is not the cause: park until the total time is over, without using up a
            retry; the last wait repeats.
        dead_letter: in the end the event also becomes a dead letter, which an operator can replay.
    """

    immediate: tuple[Strategy, ...] = ()
    changes: int = 1
    waits: tuple[float, ...] = ()
    on_repeat: tuple[Strategy, ...] = ()
    outage: bool = False
    dead_letter: bool = False


MINUTE = 60.0
HOUR = 3_600.0

NETWORK_WAITS = (5, 30, 2 * MINUTE, 10 * MINUTE)

EGRESSES_MAX = 5
"""Other egresses for one request at one step. If that many refuse, more will too."""

ACCOUNTS_MAX = 3
"""Accounts for one request: if that many are refused, the account is not the cause."""

PAGE_READS_MAX = 4
"""Page reads of one request after which another of its files is no longer tried. A fresh page is
requested once; the others are for a cache that stores none."""

FORMATS_MAX = 40
"""Formats of one post, each once. Real posts have two dozen, and pages of 200 are possible."""

_NO_RETRY = RetryPolicy()
# While a host is unreachable, another one may have the same file.
_NETWORK = RetryPolicy(waits=NETWORK_WAITS, on_repeat=("other_format",))
# The first wait is short: when many downloads compete for the last free space, one can fail five
# times in its stage although space is freed in between. Only a file larger than the disk reaches
# the last wait.
_LOCAL_FAULT = RetryPolicy(waits=(30, 2 * MINUTE, 10 * MINUTE), outage=True)
_OTHER_FILE = RetryPolicy(immediate=("fresh_extraction", "other_format"), changes=FORMATS_MAX)
_AUTHENTICATE = RetryPolicy(immediate=("authenticate", "other_account"), changes=ACCOUNTS_MAX)

POLICIES: Mapping[ErrorCode, RetryPolicy] = {
    ErrorCode.NETWORK_TIMEOUT: RetryPolicy(
        waits=NETWORK_WAITS, on_repeat=("lower_quality",), changes=len(NETWORK_WAITS)
    ),
    ErrorCode.NETWORK_DNS: _NETWORK,
    ErrorCode.NETWORK_CONNECTION: _NETWORK,
    ErrorCode.NETWORK_SERVER: _NETWORK,
    ErrorCode.RATE_LIMIT_API: RetryPolicy(
        immediate=("other_egress",),
        changes=EGRESSES_MAX,
        # The first waits are short: most refusals are random, and an overload cuts the rate
        # meanwhile.
        waits=(5, 30, 2 * MINUTE, 10 * MINUTE, HOUR),
    ),
    ErrorCode.RATE_LIMIT_IP_BLOCK: RetryPolicy(
        immediate=("other_egress",),
        changes=EGRESSES_MAX,
        waits=(10 * MINUTE, HOUR),
    ),
    ErrorCode.RATE_LIMIT_ACCOUNT: RetryPolicy(
        immediate=("other_account",), changes=ACCOUNTS_MAX, waits=(10 * MINUTE,)
    ),
    ErrorCode.CONTENT_NOT_FOUND: _NO_RETRY,
    # Another account is refused as well, unless it is a friend's.
    ErrorCode.CONTENT_PRIVATE: RetryPolicy(immediate=("authenticate",)),
    # Permanent for a page; for one file, other formats of the post may be remuxable.
    ErrorCode.CONTENT_UNSUPPORTED: RetryPolicy(immediate=("other_format",), changes=FORMATS_MAX),
    ErrorCode.CONTENT_LIVE_ENDED: _NO_RETRY,
    ErrorCode.CONTENT_GEO_BLOCKED: RetryPolicy(
        immediate=("other_egress", "other_format"), changes=FORMATS_MAX
    ),
    ErrorCode.CONTENT_LOGIN_REQUIRED: _AUTHENTICATE,
    ErrorCode.CONTENT_AGE_RESTRICTED: _AUTHENTICATE,
    # Codec, then container. A lower quality does not help: selection takes the nearest size
    # itself, unless `Options.degrade` is off, and then no other one is wanted.
    ErrorCode.CONTENT_NO_FORMATS: RetryPolicy(immediate=("other_format",), changes=2),
    ErrorCode.CONTENT_LINK_EXPIRED: _OTHER_FILE,
    ErrorCode.CONTENT_DAMAGED: _OTHER_FILE,
    # A fresh link leads to the same silent file.
    ErrorCode.CONTENT_NO_SOUND: RetryPolicy(immediate=("other_format",), changes=FORMATS_MAX),
    ErrorCode.CONTENT_WITHHELD: _NO_RETRY,
    # For a file: its host is not the platform's, but those of other formats may be. For a page: a
    # single odd page fails after its retries. If all pages changed, their breaker is open, and
    # requests are parked without using up a retry.
    ErrorCode.PLATFORM_CHANGED: RetryPolicy(
        immediate=("other_format",), changes=FORMATS_MAX, waits=(10 * MINUTE, HOUR)
    ),
    ErrorCode.SYSTEM_DISK_FULL: _LOCAL_FAULT,
    ErrorCode.SYSTEM_STORAGE: _LOCAL_FAULT,
    # A proxy that refuses its login, or the connection, is one of several egresses.
    ErrorCode.SYSTEM_CONFIG: RetryPolicy(
        immediate=("other_egress",), changes=EGRESSES_MAX, dead_letter=True
    ),
    ErrorCode.SYSTEM_ENGINE_CRASH: RetryPolicy(waits=(5, 30), dead_letter=True),
    ErrorCode.INTERNAL_BUG: RetryPolicy(waits=(30,), dead_letter=True),
    ErrorCode.REQUEST_INVALID: _NO_RETRY,
    # The page did not state the size of the file.
    ErrorCode.REQUEST_TOO_LARGE: RetryPolicy(immediate=("other_format",), changes=FORMATS_MAX),
    ErrorCode.REQUEST_EXPIRED: _NO_RETRY,
    ErrorCode.REQUEST_CANCELLED: _NO_RETRY,
}
"""Complete: every code has a row."""


def with_waits(waits: Mapping[ErrorCode, tuple[float, ...]]) -> dict[ErrorCode, RetryPolicy]:
    """Return the table with other waits for some codes; a code without waits is not retried."""
    changed = {
        code: msgspec.structs.replace(
            POLICIES[code], waits=seconds, outage=POLICIES[code].outage and bool(seconds)
        )
        for code, seconds in waits.items()
    }
    return {**POLICIES, **changed}


SPREAD_SECONDS = 1.0
"""Jitter, in seconds, of events that wait for the same moment: they do not return all at once."""

SHORT_PARK_SECONDS = 1.0
"""Wait, in seconds, when a breaker's state is about to change: its trials take about as long."""

TRIAL_PARK_SECONDS_MAX = 8.0
"""Longest wait for trials, in seconds, before jitter. The wait equals the time that they have taken
so far, so it doubles with each return of an event: events that return each second keep a worker
busy. 300 parked events on an overloaded machine: done 16 s after the breaker closed."""

UNKNOWN_END_PARK_SECONDS = 30.0
"""Wait, in seconds, for a breaker without a known end of its open time. A reset takes effect that
late."""


def breaker_seconds(breaker: BreakerState | None, now: datetime, uniform: float) -> float:
    """Return the wait for a breaker, with jitter by ``uniform`` from 0 to 1."""
    if breaker is None or breaker.state == "closed":
        wait = SHORT_PARK_SECONDS
    elif breaker.state == "half_open":
        return _trial_seconds(breaker.since, now, uniform)
    elif breaker.state == "forced_open" or breaker.until is None:
        wait = UNKNOWN_END_PARK_SECONDS
    elif breaker.until > now:
        wait = (breaker.until - now).total_seconds()
    else:
        return _trial_seconds(breaker.until, now, uniform)
    return wait + SPREAD_SECONDS * uniform


def _trial_seconds(began: datetime, now: datetime, uniform: float) -> float:
    """Return the wait for trials, times a jitter of 0.5 to 2, which disperses a burst."""
    taken = (now - began).total_seconds()
    return min(max(taken, SHORT_PARK_SECONDS), TRIAL_PARK_SECONDS_MAX) * (0.5 + 1.5 * uniform)


def budget_seconds(breaker: BreakerState | None, now: datetime, uniform: float) -> float:
    """Return the wait of a retry while the retry budget is exhausted, 0 otherwise."""
    until = breaker.budget_until if breaker is not None else None
    if until is None or until <= now:
        return 0.0
    return (until - now).total_seconds() + SPREAD_SECONDS * uniform


def seconds_left(job: Job, now: datetime, total: timedelta) -> float:
    """Return the rest of the total time; all of it if ``received_at`` is in the future."""
    return min(total, total - (now - job.received_at)).total_seconds()


def due_after(seconds: float, job: Job, now: datetime, total: timedelta) -> datetime:
    """Return the due time of a wait, bounded by the total time and the deadline.

    At the deadline the step ends the job in time.
    """
    last = max(0.0, seconds_left(job, now, total))
    due = now + timedelta(seconds=max(0.0, min(seconds, last)))
    return due if job.deadline is None else min(due, max(job.deadline, now))
