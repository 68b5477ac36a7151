"""What goes wrong on the network, as codes: the one table for exceptions and HTTP statuses."""

import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from agents.network.guard import AddressRefusedError
from agents.network.retry_after import parse_retry_after
from agents.network.socks import (
    OtherProtocolError,
    SocksAwayError,
    SocksDeniedError,
    SocksError,
    SocksExpiredError,
    SocksLoginError,
)
from schemas.errors import ClipmillError, ErrorCode

FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError)
"""Everything that aiohttp, ssl and the system raise about a connection (timeouts are OSErrors)."""


class Row(msgspec.Struct, frozen=True):
    """A class of errors.

    Attributes:
        name: short name.
        kind: the class; that of the error itself, or of the system's error inside it.
        code: what it means.
        message: what to tell; ``{host}`` and ``{reason}`` are filled in.
    """

    name: str
    kind: type[BaseException]
    code: ErrorCode
    message: str


# The first row that fits counts: special classes stand before the general ones.
TABLE = (
    Row(
        "address_refused",
        AddressRefusedError,
        ErrorCode.SYSTEM_CONFIG,
        "{host} was not dialled: its address is not public; check the DNS answer for it"
        " (a private proxy has to be configured as the proxy)",
    ),
    Row(
        "socks_login",
        SocksLoginError,
        ErrorCode.SYSTEM_CONFIG,
        "the SOCKS proxy refused to let clipmill in ({reason}); correct user and password in its"
        " URL",
    ),
    Row(
        "socks_denies",
        SocksDeniedError,
        ErrorCode.SYSTEM_CONFIG,
        "the SOCKS proxy denies the way to {host}: {reason}; check its rules",
    ),
    Row(
        "socks_other",
        OtherProtocolError,
        ErrorCode.SYSTEM_CONFIG,
        "the proxy does not speak SOCKS5; check scheme and port of its URL",
    ),
    Row(
        "socks_expired",
        SocksExpiredError,
        ErrorCode.NETWORK_TIMEOUT,
        "{host} did not answer the SOCKS proxy in time: {reason}",
    ),
    Row(
        "certificate",
        ssl.SSLCertVerificationError,
        ErrorCode.SYSTEM_CONFIG,
        "the certificate of {host} is not trusted: {reason}; check the clock, and if a proxy"
        " ends TLS, configure the file of its root",
    ),
    Row("dns", aiohttp.ClientConnectorDNSError, ErrorCode.NETWORK_DNS, "{host} cannot be resolved"),
    Row("resolver", socket.gaierror, ErrorCode.NETWORK_DNS, "{host} cannot be resolved"),
    Row("timeout", TimeoutError, ErrorCode.NETWORK_TIMEOUT, "{host} did not answer in time"),
    Row(
        "socks_away",
        SocksAwayError,
        ErrorCode.NETWORK_CONNECTION,
        "the proxy {host} cannot be reached: {reason}",
    ),
    Row(
        "socks_fails",
        SocksError,
        ErrorCode.NETWORK_CONNECTION,
        "the SOCKS proxy could not reach {host}: {reason}",
    ),
    Row(
        "proxy_away",
        aiohttp.ClientProxyConnectionError,
        ErrorCode.NETWORK_CONNECTION,
        "the proxy {host} cannot be reached: {reason}",
    ),
    Row("tls", ssl.SSLError, ErrorCode.NETWORK_CONNECTION, "TLS with {host} failed: {reason}"),
    Row(
        "no_http",
        aiohttp.ClientResponseError,
        ErrorCode.NETWORK_SERVER,
        "the answer of {host} is not HTTP as it should be",
    ),
    Row(
        "no_http_inside",
        HttpProcessingError,
        ErrorCode.NETWORK_SERVER,
        "the answer of {host} is not HTTP as it should be",
    ),
    Row(
        "truncated",
        aiohttp.ClientPayloadError,
        ErrorCode.NETWORK_CONNECTION,
        "{host} ended the transfer before its end",
    ),
    Row(
        "broken",
        aiohttp.ClientError,
        ErrorCode.NETWORK_CONNECTION,
        "the connection to {host} broke: {reason}",
    ),
    Row(
        "system", OSError, ErrorCode.NETWORK_CONNECTION, "the connection to {host} broke: {reason}"
    ),
)

STATUSES: Mapping[int, ErrorCode] = {
    407: ErrorCode.SYSTEM_CONFIG,
    408: ErrorCode.NETWORK_TIMEOUT,
    425: ErrorCode.RATE_LIMIT_API,
    429: ErrorCode.RATE_LIMIT_API,
    451: ErrorCode.CONTENT_GEO_BLOCKED,
}
"""Statuses of a media host apart from their class."""

STATUS_CLASSES: Mapping[int, ErrorCode] = {
    # A signed link is refused (403), gone (404, 410) or malformed (400): a fresh one may work.
    4: ErrorCode.CONTENT_LINK_EXPIRED,
    5: ErrorCode.NETWORK_SERVER,
}

PROXY_STATUSES: Mapping[int, ErrorCode] = {
    408: ErrorCode.NETWORK_TIMEOUT,
    429: ErrorCode.RATE_LIMIT_API,
    504: ErrorCode.NETWORK_TIMEOUT,
}
PROXY_STATUS_CLASSES: Mapping[int, ErrorCode] = {
    # The proxy denies (403), or wants a user (407).
    4: ErrorCode.SYSTEM_CONFIG,
    5: ErrorCode.NETWORK_CONNECTION,
}


@contextmanager
def map_errors(host: str) -> Iterator[None]:
    """Turn foreign errors of the block into `ClipmillError`. Only network calls belong in it.

    The foreign error is not chained: its text may hold a signed URL. Its class and number are in
    the details.

    Args:
        host: to whom the block talks, for the message.
    """
    try:
        yield
    except FOREIGN as error:
        raise from_exception(error, host) from None


def from_exception(error: BaseException, host: str) -> ClipmillError:
    """Return what the exception means, when talking to that host."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _from_proxy_status(error, host)
    row, inner = find_row(error), _inner(error)
    dialled = getattr(error, "host", host)
    message = row.message.format(host=dialled, reason=_reason(inner))
    return ClipmillError(row.code, message, cause=type(inner).__name__)


def find_row(error: BaseException) -> Row:
    """Return the first row of the table that fits one of the `FOREIGN` errors."""
    inner = _inner(error)
    return next(row for row in TABLE if isinstance(error, row.kind) or isinstance(inner, row.kind))


def _inner(error: BaseException) -> BaseException:
    found: BaseException = getattr(error, "os_error", error)
    return found


def _reason(error: BaseException) -> str:
    """Return text that holds no URL: never the exception's own ``str``."""
    if isinstance(error, SocksError):
        return error.reason
    if isinstance(error, ssl.SSLError):
        told = getattr(error, "verify_message", None) or getattr(error, "reason", None)
    elif isinstance(error, OSError) and error.errno and error.errno > 0:
        told = os.strerror(error.errno)
    else:
        told = None
    return told or type(error).__name__


def from_status(status: int, retry_after: str | None, host: str) -> ClipmillError:
    """Return what an unwanted HTTP status of a media host means.

    Args:
        status: HTTP status, neither a success nor a redirect that was followed.
        retry_after: the ``Retry-After`` header, unparsed.
        host: who answered.
    """
    default = STATUS_CLASSES.get(status // 100, ErrorCode.NETWORK_SERVER)
    return ClipmillError(
        STATUSES.get(status, default),
        f"{host} answered {_named(status)}",
        retry_after=parse_retry_after(retry_after, datetime.now(UTC)),
        status=str(status),
    )


def _from_proxy_status(error: aiohttp.ClientHttpProxyError, host: str) -> ClipmillError:
    default = PROXY_STATUS_CLASSES.get(error.status // 100, ErrorCode.NETWORK_CONNECTION)
    return ClipmillError(
        PROXY_STATUSES.get(error.status, default),
        f"the proxy refused the way to {host}: {_named(error.status)}",
        retry_after=parse_retry_after(
            error.headers.get("Retry-After") if error.headers else None, datetime.now(UTC)
        ),
        proxy_status=str(error.status),
    )


def _named(status: int) -> str:
    known = {each.value for each in HTTPStatus}
    return f"{status} {HTTPStatus(status).phrase}" if status in known else str(status)
