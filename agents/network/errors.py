"""Maps network exceptions and HTTP statuses to `ClipmillError`: the only table that does."""

import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from agents.network.guard import AddressRefusedError
from agents.network.socks import (
    SocksDeniedError,
    SocksError,
    SocksLoginError,
    SocksProtocolError,
    SocksTimeoutError,
    SocksUnreachableError,
)
from schemas.errors import ClipmillError, ErrorCode

LIBRARY_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError)
"""All that aiohttp, ssl and the system raise for a connection (`TimeoutError` is an `OSError`)."""

MAX_RETRY_AFTER_SECONDS = 3_600.0
"""A retry after an hour, although the server asks for more, because a bogus value must not delay a
request for a day. No backoff of the retry policy is longer either."""

_SECONDS = re.compile(r"[0-9]{1,18}")


class NetworkErrorRow(msgspec.Struct, frozen=True):
    """The mapping of one exception type.

    Attributes:
        name: short name.
        exception_type: of the error itself, or of the system's error inside it.
        code: of the `ClipmillError`.
        message: format string with ``{host}`` and ``{reason}``.
    """

    name: str
    exception_type: type[BaseException]
    code: ErrorCode
    message: str


# The first match wins: subclasses stand before their base classes.
TABLE = (
    NetworkErrorRow(
        "address_refused",
        AddressRefusedError,
        ErrorCode.SYSTEM_CONFIG,
        "the connection to {host} was rejected: its address is not public; check its DNS record"
        " (a private proxy must be configured as the proxy)",
    ),
    NetworkErrorRow(
        "socks_login",
        SocksLoginError,
        ErrorCode.SYSTEM_CONFIG,
        "the SOCKS proxy rejected the login ({reason}); correct user and password in its URL",
    ),
    NetworkErrorRow(
        "socks_denies",
        SocksDeniedError,
        ErrorCode.SYSTEM_CONFIG,
        "the SOCKS proxy denies the connection to {host}: {reason}; check its rules",
    ),
    NetworkErrorRow(
        "socks_other",
        SocksProtocolError,
        ErrorCode.SYSTEM_CONFIG,
        "the proxy does not speak SOCKS5; check scheme and port of its URL",
    ),
    NetworkErrorRow(
        "socks_expired",
        SocksTimeoutError,
        ErrorCode.NETWORK_TIMEOUT,
        "{host} did not answer the SOCKS proxy in time: {reason}",
    ),
    NetworkErrorRow(
        "certificate",
        ssl.SSLCertVerificationError,
        ErrorCode.SYSTEM_CONFIG,
        "the certificate of {host} is not trusted: {reason}; check the clock, and if a proxy"
        " terminates TLS, set egress.ca_file",
    ),
    NetworkErrorRow(
        "dns", aiohttp.ClientConnectorDNSError, ErrorCode.NETWORK_DNS, "{host} cannot be resolved"
    ),
    NetworkErrorRow(
        "resolver", socket.gaierror, ErrorCode.NETWORK_DNS, "{host} cannot be resolved"
    ),
    NetworkErrorRow(
        "timeout", TimeoutError, ErrorCode.NETWORK_TIMEOUT, "{host} did not answer in time"
    ),
    NetworkErrorRow(
        "socks_away",
        SocksUnreachableError,
        ErrorCode.NETWORK_CONNECTION,
        "the proxy {host} cannot be reached: {reason}",
    ),
    NetworkErrorRow(
        "socks_fails",
        SocksError,
        ErrorCode.NETWORK_CONNECTION,
        "the SOCKS proxy could not reach {host}: {reason}",
    ),
    NetworkErrorRow(
        "proxy_away",
        aiohttp.ClientProxyConnectionError,
        ErrorCode.NETWORK_CONNECTION,
        "the proxy {host} cannot be reached: {reason}",
    ),
    NetworkErrorRow(
        "tls", ssl.SSLError, ErrorCode.NETWORK_CONNECTION, "TLS with {host} failed: {reason}"
    ),
    NetworkErrorRow(
        "no_http",
        aiohttp.ClientResponseError,
        ErrorCode.NETWORK_SERVER,
        "the response of {host} is not valid HTTP",
    ),
    NetworkErrorRow(
        "no_http_inside",
        HttpProcessingError,
        ErrorCode.NETWORK_SERVER,
        "the response of {host} is not valid HTTP",
    ),
    NetworkErrorRow(
        "truncated",
        aiohttp.ClientPayloadError,
        ErrorCode.NETWORK_CONNECTION,
        "{host} closed the connection before the end of the transfer",
    ),
    NetworkErrorRow(
        "broken",
        aiohttp.ClientError,
        ErrorCode.NETWORK_CONNECTION,
        "the connection to {host} was lost: {reason}",
    ),
    NetworkErrorRow(
        "system",
        OSError,
        ErrorCode.NETWORK_CONNECTION,
        "the connection to {host} was lost: {reason}",
    ),
)

STATUSES: Mapping[int, ErrorCode] = {
    407: ErrorCode.SYSTEM_CONFIG,
    408: ErrorCode.NETWORK_TIMEOUT,
    425: ErrorCode.RATE_LIMIT_API,
    429: ErrorCode.RATE_LIMIT_API,
    451: ErrorCode.CONTENT_GEO_BLOCKED,
}
"""Statuses of a media host that differ from their class."""

STATUS_CLASSES: Mapping[int, ErrorCode] = {
    # A signed link was rejected (403), is gone (404, 410) or malformed (400): a new one may work.
    4: ErrorCode.CONTENT_LINK_EXPIRED,
    5: ErrorCode.NETWORK_SERVER,
}

PROXY_STATUSES: Mapping[int, ErrorCode] = {
    408: ErrorCode.NETWORK_TIMEOUT,
    429: ErrorCode.RATE_LIMIT_API,
    504: ErrorCode.NETWORK_TIMEOUT,
}

PROXY_STATUS_CLASSES: Mapping[int, ErrorCode] = {
    # The proxy denies the request (403), or requires a login (407).
    4: ErrorCode.SYSTEM_CONFIG,
    5: ErrorCode.NETWORK_CONNECTION,
}


@contextmanager
def map_errors(host: str) -> Iterator[None]:
    """Map `LIBRARY_ERRORS` of the block to `ClipmillError`. Only network calls belong in it.

    The original is not chained: its text may hold a signed URL. Its class is in the details.

    Args:
        host: that the block talks to, for the message.
    """
    try:
        yield
    except LIBRARY_ERRORS as error:
        raise from_exception(error, host) from None


def from_exception(error: BaseException, host: str) -> ClipmillError:
    """Return the mapped error of an exception, for a request to this host."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _from_proxy_status(error, host)
    row, inner = find_row(error), _inner(error)
    # A proxy that cannot be reached is named instead of the host behind it.
    peer = getattr(error, "host", host)
    message = row.message.format(host=peer, reason=_reason(inner))
    return ClipmillError(row.code, message, cause=type(inner).__name__)


def find_row(error: BaseException) -> NetworkErrorRow:
    """Return the first row of the table that matches one of the `LIBRARY_ERRORS`."""
    inner = _inner(error)
    return next(
        row
        for row in TABLE
        if isinstance(error, row.exception_type) or isinstance(inner, row.exception_type)
    )


def _inner(error: BaseException) -> BaseException:
    found: BaseException = getattr(error, "os_error", error)
    return found


def _reason(error: BaseException) -> str:
    """Return a text without a URL: never the exception's own ``str``."""
    if isinstance(error, SocksError):
        return error.reason
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", None) or getattr(error, "reason", None)
    elif isinstance(error, OSError) and error.errno and error.errno > 0:
        reason = os.strerror(error.errno)
    else:
        reason = None
    return reason or type(error).__name__


def from_status(status: int, retry_after: str | None, host: str) -> ClipmillError:
    """Return the mapped error of an HTTP status of a media host.

    Args:
        status: HTTP status, neither a success nor a redirect that was followed.
        retry_after: the ``Retry-After`` header, unparsed.
        host: of the response.
    """
    default = STATUS_CLASSES.get(status // 100, ErrorCode.NETWORK_SERVER)
    return ClipmillError(
        STATUSES.get(status, default),
        f"{host} answered {_with_phrase(status)}",
        retry_after=parse_retry_after(retry_after, datetime.now(UTC)),
        status=str(status),
    )


def _from_proxy_status(error: aiohttp.ClientHttpProxyError, host: str) -> ClipmillError:
    default = PROXY_STATUS_CLASSES.get(error.status // 100, ErrorCode.NETWORK_CONNECTION)
    return ClipmillError(
        PROXY_STATUSES.get(error.status, default),
        f"the proxy refused the connection to {host}: {_with_phrase(error.status)}",
        retry_after=parse_retry_after(
            error.headers.get("Retry-After") if error.headers else None, datetime.now(UTC)
        ),
        proxy_status=str(error.status),
    )


def _with_phrase(status: int) -> str:
    known = {each.value for each in HTTPStatus}
    return f"{status} {HTTPStatus(status).phrase}" if status in known else str(status)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds of a ``Retry-After`` header; None when it is absent or invalid.

    Accepts both forms of RFC 9110, section 10.2.3: seconds and HTTP date. ``now`` has a time zone.
    At most `MAX_RETRY_AFTER_SECONDS`.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((zoned - now).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)
