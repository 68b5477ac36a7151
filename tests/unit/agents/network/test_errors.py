import errno
import socket
import ssl
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import TransferEncodingError
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from agents.network.errors import (
    MAX_RETRY_AFTER_SECONDS,
    from_status,
    map_errors,
    parse_retry_after,
)
from agents.network.guard import AddressRefusedError
from schemas.errors import ClipmillError, ErrorCode

HOST = "v16.tiktok.com"
SIGNED = URL(f"https://{HOST}/x?signature=secret")
KEY = ConnectionKey(
    host=HOST,
    port=443,
    is_ssl=True,
    ssl=True,
    proxy=None,
    proxy_auth=None,
    proxy_headers_hash=None,
    server_hostname=None,
)
REQUEST = aiohttp.RequestInfo(SIGNED, "GET", CIMultiDictProxy(CIMultiDict()), SIGNED)


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate in certificate chain"
    return error


def proxy_error(status: int, **headers: str) -> aiohttp.ClientHttpProxyError:
    return aiohttp.ClientHttpProxyError(
        REQUEST, (), status=status, message="no", headers=CIMultiDict(headers)
    )


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
TIMED_OUT = TimeoutError(errno.ETIMEDOUT, "Connection timed out")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

CASES: list[tuple[Exception, ErrorCode, str]] = [
    (aiohttp.ConnectionTimeoutError(), ErrorCode.NETWORK_TIMEOUT, "did not answer in time"),
    (aiohttp.SocketTimeoutError(), ErrorCode.NETWORK_TIMEOUT, "did not answer in time"),
    (TimeoutError(), ErrorCode.NETWORK_TIMEOUT, "did not answer in time"),
    (aiohttp.ClientConnectorError(KEY, TIMED_OUT), ErrorCode.NETWORK_TIMEOUT, "in time"),
    (aiohttp.ClientConnectorDNSError(KEY, UNKNOWN), ErrorCode.NETWORK_DNS, "cannot be resolved"),
    (UNKNOWN, ErrorCode.NETWORK_DNS, "cannot be resolved"),
    (aiohttp.ClientConnectorError(KEY, REFUSED), ErrorCode.NETWORK_CONNECTION, "refused"),
    (aiohttp.ServerDisconnectedError(), ErrorCode.NETWORK_CONNECTION, "was lost"),
    (
        aiohttp.ClientOSError(errno.ECONNRESET, "text of the loop"),
        ErrorCode.NETWORK_CONNECTION,
        "by peer",
    ),
    (
        ConnectionResetError(errno.ECONNRESET, "text of the loop"),
        ErrorCode.NETWORK_CONNECTION,
        "by peer",
    ),
    (aiohttp.ClientConnectionResetError("no"), ErrorCode.NETWORK_CONNECTION, "was lost"),
    (aiohttp.ClientPayloadError("no"), ErrorCode.NETWORK_CONNECTION, "before the end"),
    (aiohttp.ClientProxyConnectionError(KEY, REFUSED), ErrorCode.NETWORK_CONNECTION, "the proxy"),
    (
        aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "bad")),
        ErrorCode.NETWORK_CONNECTION,
        "TLS",
    ),
    (ssl.SSLError(1, "bad"), ErrorCode.NETWORK_CONNECTION, "TLS"),
    (
        aiohttp.ClientConnectorCertificateError(KEY, untrusted()),
        ErrorCode.SYSTEM_CONFIG,
        "self-signed",
    ),
    (untrusted(), ErrorCode.SYSTEM_CONFIG, "self-signed"),
    (
        aiohttp.ClientConnectorError(KEY, AddressRefusedError()),
        ErrorCode.SYSTEM_CONFIG,
        "not public",
    ),
    (AddressRefusedError(), ErrorCode.SYSTEM_CONFIG, "not public"),
    (
        aiohttp.ClientResponseError(REQUEST, (), status=400),
        ErrorCode.NETWORK_SERVER,
        "not valid HTTP",
    ),
    (TransferEncodingError("bad chunk"), ErrorCode.NETWORK_SERVER, "not valid HTTP"),
    (aiohttp.InvalidURL(SIGNED), ErrorCode.NETWORK_CONNECTION, "InvalidURL"),
    (proxy_error(403), ErrorCode.SYSTEM_CONFIG, "403 Forbidden"),
    (proxy_error(407), ErrorCode.SYSTEM_CONFIG, "407 Proxy Authentication Required"),
    (proxy_error(429), ErrorCode.RATE_LIMIT_API, "429"),
    (proxy_error(502), ErrorCode.NETWORK_CONNECTION, "502 Bad Gateway"),
    (proxy_error(504), ErrorCode.NETWORK_TIMEOUT, "504"),
    (proxy_error(302), ErrorCode.NETWORK_CONNECTION, "302"),
]


@pytest.mark.parametrize(
    ("foreign", "code", "text"), CASES, ids=lambda value: getattr(type(value), "__name__", None)
)
def test_network_error_is_mapped_to_its_code(
    foreign: Exception, code: ErrorCode, text: str
) -> None:
    with pytest.raises(ClipmillError) as caught, map_errors(HOST):
        raise foreign
    assert caught.value.code is code
    assert text in caught.value.message
    assert HOST in caught.value.message


@pytest.mark.parametrize("foreign", [case[0] for case in CASES])
def test_url_secrets_are_neither_shown_nor_chained(foreign: Exception) -> None:
    with pytest.raises(ClipmillError) as caught, map_errors(HOST):
        raise foreign
    assert "secret" not in f"{caught.value} {caught.value.details}"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "error", [KeyError("x"), ClipmillError(ErrorCode.SYSTEM_DISK_FULL, "full")], ids=["bug", "ours"]
)
def test_other_errors_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, map_errors(HOST):
        raise error
    assert caught.value is error


def test_retry_after_of_a_proxy_is_kept() -> None:
    with pytest.raises(ClipmillError) as caught, map_errors(HOST):
        raise proxy_error(429, **{"Retry-After": "7"})
    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ErrorCode.CONTENT_LINK_EXPIRED),
        (401, ErrorCode.CONTENT_LINK_EXPIRED),
        (403, ErrorCode.CONTENT_LINK_EXPIRED),
        (404, ErrorCode.CONTENT_LINK_EXPIRED),
        (410, ErrorCode.CONTENT_LINK_EXPIRED),
        (407, ErrorCode.SYSTEM_CONFIG),
        (408, ErrorCode.NETWORK_TIMEOUT),
        (425, ErrorCode.RATE_LIMIT_API),
        (429, ErrorCode.RATE_LIMIT_API),
        (451, ErrorCode.CONTENT_GEO_BLOCKED),
        (500, ErrorCode.NETWORK_SERVER),
        (503, ErrorCode.NETWORK_SERVER),
        (599, ErrorCode.NETWORK_SERVER),
        (204, ErrorCode.NETWORK_SERVER),
        (206, ErrorCode.NETWORK_SERVER),
        (304, ErrorCode.NETWORK_SERVER),
        (999, ErrorCode.NETWORK_SERVER),
    ],
)
def test_status_is_mapped_to_its_code(status: int, code: ErrorCode) -> None:
    error = from_status(status, None, HOST)
    assert error.code is code
    assert error.details == {"status": str(status)}
    assert HOST in error.message
    assert str(status) in error.message


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [(429, "30", 30.0), (503, "5", 5.0), (429, "never", None), (429, None, None)],
)
def test_retry_after_is_kept(status: int, header: Any, seconds: float | None) -> None:
    assert from_status(status, header, HOST).retry_after == seconds


NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        (" 0 ", 0.0),
        ("999999999999", MAX_RETRY_AFTER_SECONDS),
        ("Mon, 23 Nov 2026 08:02:00 GMT", 120.0),
        ("Mon, 23 Nov 2026 08:02:00 -0000", 120.0),
        ("Mon, 23 Nov 2026 10:02:00 +0200", 120.0),
        ("Mon, 23 Nov 2026 07:00:00 GMT", 0.0),
        ("Fri, 23 Nov 2096 07:00:00 GMT", MAX_RETRY_AFTER_SECONDS),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("\u0663\u0660", None),
        ("9" * 400, None),
        ("Mon, 99 Nov 2026 08:02:00 GMT", None),
    ],
)
def test_seconds_and_dates_are_parsed(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(st.text() | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ [-+]?\w+"))
def test_parsed_wait_is_bounded(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0.0 <= seconds <= MAX_RETRY_AFTER_SECONDS
