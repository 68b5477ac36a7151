"""Maps HTTP statuses of pages and short links to error codes; media hosts have another table."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from agents.network.errors import parse_retry_after
from schemas.errors import ClipmillError, ErrorCode

PAGE_STATUSES: Mapping[int, ErrorCode] = {
    HTTPStatus.UNAUTHORIZED: ErrorCode.CONTENT_LOGIN_REQUIRED,
    HTTPStatus.FORBIDDEN: ErrorCode.RATE_LIMIT_IP_BLOCK,
    HTTPStatus.NOT_FOUND: ErrorCode.CONTENT_NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: ErrorCode.NETWORK_TIMEOUT,
    HTTPStatus.GONE: ErrorCode.CONTENT_NOT_FOUND,
    HTTPStatus.TOO_EARLY: ErrorCode.RATE_LIMIT_API,
    HTTPStatus.TOO_MANY_REQUESTS: ErrorCode.RATE_LIMIT_API,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: ErrorCode.CONTENT_GEO_BLOCKED,
}
"""403 is a block of the client's IP address, not a property of the video."""


def page_status_code(status: int) -> ErrorCode:
    """Return the code of an error status; an unknown one below 500 is ``platform.changed``."""
    default = ErrorCode.NETWORK_SERVER if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
    return PAGE_STATUSES.get(status, default or ErrorCode.PLATFORM_CHANGED)


def from_page_status(status: int, retry_after: str | None, host: str) -> ClipmillError:
    """Return the error of an HTTP error status from a page or short-link host.

    Args:
        status: HTTP status.
        retry_after: the ``Retry-After`` header, unparsed.
        host: host that sent the response.
    """
    return ClipmillError(
        page_status_code(status),
        f"{host} answered {status}",
        retry_after=parse_retry_after(retry_after, datetime.now(UTC)),
        status=str(status),
    )
