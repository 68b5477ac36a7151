"""The failure table common to all platforms, and the errors of the failures that match a row.

Its rows map engine and yt-dlp failures to error codes. A platform adds rows for its own messages;
the rows of libcurl, requests and the operating system are in `transport_failures`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus

from agents.engine.interface import EngineFailure
from agents.network.errors import parse_retry_after
from agents.platforms.failure_predicates import (
    FailureRow,
    any_of,
    exception_type,
    http_status,
    message_contains,
)
from agents.platforms.transport_failures import ADDRESS_ROWS, proxy_rows, transport_rows
from schemas.errors import ClipmillError
from schemas.errors import ErrorCode as Code
from schemas.listing import ListingRef
from schemas.redaction import redact
from schemas.video import VideoRef

PAGE_STATUSES: Mapping[int, Code] = {
    HTTPStatus.UNAUTHORIZED: Code.CONTENT_LOGIN_REQUIRED,
    HTTPStatus.FORBIDDEN: Code.RATE_LIMIT_IP_BLOCK,
    HTTPStatus.NOT_FOUND: Code.CONTENT_NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: Code.NETWORK_TIMEOUT,
    HTTPStatus.GONE: Code.CONTENT_NOT_FOUND,
    HTTPStatus.TOO_EARLY: Code.RATE_LIMIT_API,
    HTTPStatus.TOO_MANY_REQUESTS: Code.RATE_LIMIT_API,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: Code.CONTENT_GEO_BLOCKED,
}
"""Of pages and short links; media hosts have another table. 403 is a block of the client's address,
not a property of the video."""

MAX_DETAIL_CHARACTERS = 300
MAX_FACTS = 8

# First in every table: a process that died left no other trustworthy detail.
ENGINE_ROWS = (
    FailureRow(
        "engine_timeout",
        Code.NETWORK_TIMEOUT,
        exception_type("EngineTimeout"),
        "its page could not be read within the deadline",
    ),
    FailureRow(
        "engine_crash",
        Code.SYSTEM_ENGINE_CRASH,
        exception_type("EngineCrash", "MemoryError"),
        "the extraction process died",
    ),
    FailureRow(
        "engine_closed",
        Code.SYSTEM_ENGINE_CRASH,
        exception_type("EngineClosed"),
        "the extraction engine was stopped",
    ),
    FailureRow(
        "job_too_large",
        Code.SYSTEM_CONFIG,
        exception_type("JobTooLarge"),
        "its account has more cookies than can be sent; export its cookie file again",
    ),
    FailureRow(
        "answer_too_large",
        Code.CONTENT_UNSUPPORTED,
        exception_type("ResultTooLargeError"),
        "its metadata is larger than the maximum",
    ),
    FailureRow(
        "unknown_extractor",
        Code.SYSTEM_CONFIG,
        exception_type("UnknownExtractorError"),
        "the extractor that the settings name for its platform cannot be used",
    ),
)

LIVE_ENDED = FailureRow(
    "live_ended",
    Code.CONTENT_LIVE_ENDED,
    exception_type("UserNotLive"),
    "the live stream is over",
)
NO_FORMATS = FailureRow(
    "no_formats",
    Code.CONTENT_NO_FORMATS,
    message_contains("No video formats found", "Requested format is not available"),
    "its page has no file",
)
UNSUPPORTED = FailureRow(
    "unsupported",
    Code.CONTENT_UNSUPPORTED,
    exception_type("UnsupportedError"),
    "the extractor does not know this kind of page",
)

# Messages of `yt_dlp.extractor.common`, and messages that its extractors share.
_MESSAGE_ROWS = (
    FailureRow(
        "region_locked",
        Code.CONTENT_GEO_BLOCKED,
        exception_type("GeoRestrictedError"),
        "it is not available in the region that it was requested from",
    ),
    LIVE_ENDED,
    FailureRow(
        "login",
        Code.CONTENT_LOGIN_REQUIRED,
        message_contains(
            "only available for registered users", "Use --cookies", "--username and --password"
        ),
        "a login is required",
    ),
    FailureRow(
        "protected",
        Code.CONTENT_UNSUPPORTED,
        message_contains("DRM protected", "DRM-protected"),
        "it is protected by DRM, which only its player can decrypt",
    ),
    NO_FORMATS,
    FailureRow(
        "private",
        Code.CONTENT_PRIVATE,
        message_contains("video is private", "is a private video"),
        "its author restricts who can see it",
    ),
    FailureRow(
        "gone",
        Code.CONTENT_NOT_FOUND,
        message_contains(
            "has been removed", "has been deleted", "does not exist", "no longer available"
        ),
        "it was deleted or never existed",
    ),
)

_PAGE_ROWS = (
    UNSUPPORTED,
    # An extraction error of yt-dlp is an unreadable page. So are these Python errors: the extractor
    # raises them when the page's data has another shape than it expects.
    FailureRow(
        "unreadable",
        Code.PLATFORM_CHANGED,
        any_of(
            exception_type("ExtractorError", "RegexNotFoundError", "NotAResultError"),
            exception_type("AssertionError", "AttributeError", "TypeError", "ValueError"),
        ),
        "its page could not be parsed",
    ),
)

BUG = FailureRow(
    "bug",
    Code.INTERNAL_BUG,
    lambda failure: bool(failure.types),
    "reading its page failed with an internal error",
)
"""Default row, for a failure that no row of a table matches."""


def failure_table(site: str, platform_rows: tuple[FailureRow, ...] = ()) -> tuple[FailureRow, ...]:
    """Return the failure table of a platform in priority order: the first match applies.

    Args:
        site: display name of the platform, for the texts.
        platform_rows: rows of the platform's own messages.
    """
    return (
        *ENGINE_ROWS,
        *ADDRESS_ROWS,
        *proxy_rows(site),
        *platform_rows,
        *status_rows(site),
        *transport_rows(site),
        *_MESSAGE_ROWS,
        *_PAGE_ROWS,
    )


def status_rows(site: str) -> tuple[FailureRow, ...]:
    """Return the rows of HTTP error statuses, with the site's name in their texts."""
    return (
        *(
            FailureRow(f"http_{number:d}", code, http_status(number), f"{site} answered {number:d}")
            for number, code in PAGE_STATUSES.items()
        ),
        FailureRow(
            "http_5xx",
            Code.NETWORK_SERVER,
            http_status(range(500, 600)),
            f"{site}'s servers failed to answer",
        ),
        FailureRow(
            "http_other",
            Code.PLATFORM_CHANGED,
            http_status(range(100, 1000)),
            f"{site} answered with an unexpected status",
        ),
    )


def from_page_status(status: int, retry_after: str | None, host: str) -> ClipmillError:
    """Return the error of an HTTP error status from a page or short-link host.

    An unknown status below 500 is ``platform.changed``.

    Args:
        status: HTTP status.
        retry_after: the ``Retry-After`` header, unparsed.
        host: host that sent the response.
    """
    default = (
        Code.NETWORK_SERVER if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Code.PLATFORM_CHANGED
    )
    return ClipmillError(
        PAGE_STATUSES.get(status, default),
        f"{host} answered {status}",
        retry_after=parse_retry_after(retry_after, datetime.now(UTC)),
        status=str(status),
    )


def to_clipmill_error(
    failure: EngineFailure,
    subject: VideoRef | ListingRef,
    *,
    site: str,
    table: Sequence[FailureRow],
) -> ClipmillError:
    """Return the error of a failed extraction.

    Args:
        failure: failure that the engine reported.
        subject: the post or listing whose page was read.
        site: display name of the platform.
        table: failure table of the platform, see `agents.platforms.failures.failure_table`.
    """
    row = find_row(failure, table)
    return error_from_row(row, failure, subject=subject, site=site)


def error_from_row(
    row: FailureRow, failure: EngineFailure, *, subject: VideoRef | ListingRef, site: str
) -> ClipmillError:
    """Return the error of a failure that matches a row, which supplies code and text."""
    kind = subject.kind if isinstance(subject, ListingRef) else "video"
    stated = failure.retry_after
    return ClipmillError(
        row.code,
        f"{site} {kind} {subject.id}: {row.text}.",
        retry_after=parse_retry_after(stated, datetime.now(UTC)) if stated else None,
        **_details(row, failure, subject.platform),
    )


def find_row(failure: EngineFailure, table: Sequence[FailureRow]) -> FailureRow:
    """Return the first row of the table that matches, `BUG` when none does."""
    return next((row for row in table if row.predicate(failure)), BUG)


def _details(row: FailureRow, failure: EngineFailure, platform: str) -> dict[str, str]:
    numbers = {"status": failure.status, "curl_code": failure.curl_code, "errno": failure.errno}
    codes = {name: str(number) for name, number in numbers.items() if number is not None}
    recorded = sorted(failure.facts.items())[:MAX_FACTS]
    facts = {f"{platform}_{name}": sanitize(fact) for name, fact in recorded}
    types = sanitize(" < ".join(failure.types))
    said = sanitize(failure.message)
    return {**facts, **codes, "failure": row.name, "types": types, "said": said}


def sanitize(text: str) -> str:
    """Return untrusted text as one bounded line, without URL secrets and yt-dlp's bug advice."""
    message = text[: 4 * MAX_DETAIL_CHARACTERS].partition("; please report this issue")[0]
    return " ".join(redact(message).split())[:MAX_DETAIL_CHARACTERS]
