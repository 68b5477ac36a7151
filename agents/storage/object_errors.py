"""Maps errors of object stores to `ClipmillError`: the only place that does.

The client's text quotes the request and the answer, and with them signatures and access keys. A
message of clipmill contains only the row's reason and the service's error name and status.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from obstore.exceptions import BaseError

from schemas.errors import ClipmillError, ErrorCode

_STATUS = re.compile(r"status code: (\d{3})")
_ERROR_NAME = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_TEXT_CHARACTERS_MAX = 20_000
"""Searched part of a client's text: it nests the causes, and quotes the answer twice."""


class ObjectErrorRow(msgspec.Struct, frozen=True):
    """A class of errors: how to recognise it, the error code, the reason, and advice.

    Attributes:
        pattern: regular expression that is searched in the client's text.
    """

    name: str
    pattern: re.Pattern[str]
    code: ErrorCode
    reason: str
    advice: str


def _row(
    name: str, pattern: str, reason: str, advice: str, *, full: bool = False
) -> ObjectErrorRow:
    code = ErrorCode.SYSTEM_DISK_FULL if full else ErrorCode.SYSTEM_STORAGE
    return ObjectErrorRow(name, re.compile(pattern), code, reason, advice)


TABLE = (
    _row(
        "credentials_missing",
        r"/latest/(?:api|meta-data)|169\.254\.169\.254|metadata\.google|/metadata/identity"
        r"|[Mm]issing (?:credential|access key|secret)",
        "no credentials were found",
        "set the cloud's variables, such as AWS_ACCESS_KEY_ID, or give the machine a role",
    ),
    _row(
        "bucket_missing",
        r"NoSuchBucket|ContainerNotFound|[Bb]ucket does not exist",
        "the bucket does not exist",
        "create it, or correct storage.url",
    ),
    _row(
        "full",
        r"QuotaExceeded|StorageFull|InsufficientCapacity|status code: 507|AccountLimitExceeded",
        "the quota is used up or the store is full",
        "free space or raise the quota",
        full=True,
    ),
    _row(
        "clock",
        r"RequestTimeTooSkewed|RequestExpired",
        "the clock of this host differs from the store's",
        "synchronise the clock",
    ),
    _row(
        "credentials_rejected",
        r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|TokenRefreshRequired"
        r"|AuthenticationFailed|InvalidAuthenticationInfo|UnauthenticatedError|status code: 401",
        "the credentials are rejected",
        "renew the cloud's credentials of this host",
    ),
    _row(
        "denied",
        r"AccessDenied|AuthorizationPermissionMismatch|PermissionDenied|status code: 403",
        "access is denied",
        "check the credentials, and allow them to put, get, list and delete below storage.url",
    ),
    _row(
        "throttled",
        r"SlowDown|ServerBusy|TooManyRequests|RequestLimitExceeded|status code: 429",
        "the store throttles the requests",
        "lower storage.uploads, or raise the limit of the bucket",
    ),
    _row(
        "region",
        r"PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint"
        r"|[Rr]eceived redirect",
        "the bucket is in another region",
        "correct storage.region",
    ),
    _row(
        "certificate",
        r"certificate|InvalidContentType|UnknownIssuer",
        "the certificate of the store is not trusted, or it speaks no TLS",
        "set storage.ca_file to the root certificate, or correct storage.endpoint",
    ),
    _row(
        "name",
        r"dns error|failed to lookup address",
        "the name of the store cannot be resolved",
        "correct storage.endpoint, or check the DNS",
    ),
    _row(
        "timeout",
        r"TimedOut|timed out|deadline has elapsed",
        "the store did not answer in time",
        "check the network, or raise storage.request_timeout_seconds",
    ),
    _row(
        "unreachable",
        r"error sending request|Connect(?:ion|Error)|IncompleteMessage|BrokenPipe",
        "no connection to the store is possible",
        "check the store and the network",
    ),
    _row(
        "server",
        r"status code: 5\d\d",
        "the store has an internal error",
        "check the store",
    ),
)
OTHER = _row("other", "", "the request failed", "check the store and its log")
"""Default for every other text."""


@contextmanager
def map_object_errors(url: str) -> Iterator[None]:
    """Turn an error of the client into `ClipmillError`. Only calls of the store belong in it.

    Args:
        url: of the store, for the message.
    """
    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        raise from_object_error(error, url) from None


def from_object_error(error: BaseException, url: str) -> ClipmillError:
    """Return the error as ``system.disk_full`` or ``system.storage``."""
    text = f"{type(error).__name__} {error}"[:_TEXT_CHARACTERS_MAX]
    row = find_object_row(text)
    facts: dict[str, str] = {}
    if status := _STATUS.search(text):
        facts["status"] = status[1]
    if name := _ERROR_NAME.search(text):
        facts["error"] = name[1]
    shown = f" ({', '.join(facts.values())})" if facts else ""
    message = f"cannot use {url}: {row.reason}{shown}; {row.advice}"
    mapped = ClipmillError(row.code, message, cause=row.name)
    mapped.details |= facts
    return mapped


def find_object_row(text: str) -> ObjectErrorRow:
    """Return the first row whose pattern is in a text."""
    return next((row for row in TABLE if row.pattern.search(text)), OTHER)
