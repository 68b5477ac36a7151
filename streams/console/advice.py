"""What a user can do about a request: the error in words, recovery options and commands. Pure."""

import shlex
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from schemas.error_catalog import (
    MESSAGES,
    REQUEST,
    RETRY,
    RETRY_REFRESH,
    RETRY_SMALLER,
    is_typeable,
)
from schemas.errors import ErrorCode
from streams.client import BATCH_FINISHED
from streams.history.rows import RequestRow

REJECTED = "rejected"

SMALLER = "480p"
"""The quality of `RETRY_SMALLER`."""


class RetryAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """A retry that may resolve the error.

    Attributes:
        options: changed options, as the fields of the form that retries.
    """

    label: str
    options: Mapping[str, str] = MappingProxyType({})


RETRY_ADVICE: Mapping[str, RetryAdvice] = MappingProxyType(
    {
        RETRY: RetryAdvice(label="Retry as it is"),
        RETRY_REFRESH: RetryAdvice(
            label="Retry, and download it nevertheless",
            options=MappingProxyType({"refresh": "yes"}),
        ),
        RETRY_SMALLER: RetryAdvice(
            label=f"Retry at {SMALLER}", options=MappingProxyType({"quality": SMALLER})
        ),
    }
)
"""The retry of each command that the catalogue of errors offers."""

STATUS = f"clipmill status {REQUEST}"
WATCH = f"clipmill watch {REQUEST}"
CANCEL = f"clipmill cancel {REQUEST}"

NOT_RETRIED = frozenset({REJECTED, BATCH_FINISHED})
"""States of ended requests that have no job to retry."""


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an error.

    Attributes:
        code: None for one that the catalogue does not have.
        message: what happened, in a sentence.
        actions: what the user can do, a sentence each.
        recoveries: retries that apply to it.
    """

    code: ErrorCode | None
    message: str
    actions: tuple[str, ...] = ()
    recoveries: tuple[RetryAdvice, ...] = ()


def can_retry(row: RequestRow) -> bool:
    return row.is_final and row.state not in NOT_RETRIED


def advice_of(row: RequestRow) -> Advice | None:
    """Return the advice on the error of a request, None without an error."""
    if row.error is None:
        return None
    try:
        code = ErrorCode(row.error)
    except ValueError:
        return Advice(code=None, message=row.message or "")
    known = MESSAGES[code]
    return Advice(
        code=code,
        message=row.message or known.user_message,
        actions=known.suggested_actions if row.is_final else (),
        recoveries=tuple(RETRY_ADVICE[each] for each in known.recovery_options)
        if can_retry(row)
        else (),
    )


def commands_of(row: RequestRow) -> tuple[str, ...]:
    """Return the commands that apply to a request; none for an id that cannot be typed."""
    if not is_typeable(row.id):
        return ()
    templates: list[str] = [STATUS]
    if not row.is_final:
        templates += [WATCH, CANCEL]
    elif can_retry(row):
        advice = advice_of(row)
        code = None if advice is None else advice.code
        more = () if code is None else MESSAGES[code].recovery_options
        templates += dict.fromkeys((RETRY, *more))
    return tuple(each.replace(REQUEST, shlex.quote(row.id)) for each in templates)
