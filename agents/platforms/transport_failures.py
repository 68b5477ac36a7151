"""Failure rows of libcurl, requests and the operating system, for pages that could not be read.

yt-dlp uses both libraries, so a row matches both: numbers are libcurl's error codes, class names
are those of requests, urllib3 and Python, and of yt-dlp where it has its own.
"""

import errno

from agents.platforms.failure_predicates import (
    FailureRow,
    all_of,
    any_of,
    curl_code,
    errno_is,
    exception_type,
    message_contains,
)
from schemas.errors import ErrorCode as Code

# Before the proxy rows: an invalid URL is not the proxy's failure.
ADDRESS_ROWS = (
    FailureRow(
        "bad_address",
        Code.CONTENT_UNSUPPORTED,
        any_of(exception_type("InvalidURL"), message_contains("Unsupported url scheme")),
        "its URL is not one of a page",
    ),
)

# Before the platform's rows: a proxy's 403 looks like the platform's.
_SOCKS_LOGIN = (
    "rejected by the SOCKS5 server",
    "No authentication method was acceptable",
    "authentication methods were rejected",
    "SOCKS proxy refused the login",
)
_SOCKS_DENIALS = (
    "connection not allowed by ruleset",
    "Command not supported",
    "Address type not supported",
)
_FROM_PROXY = any_of(
    exception_type("ProxyError"),
    message_contains("CONNECT tunnel failed", "Tunnel connection failed"),
)


def proxy_rows(site: str) -> tuple[FailureRow, ...]:
    """Return the rows of proxy failures, with the site's name in their texts."""
    return (*_socks_rows(site), *_http_proxy_rows(site))


def _socks_rows(site: str) -> tuple[FailureRow, ...]:
    """Return the rows of SOCKS5 replies; libcurl reports their number, yt-dlp their name."""
    return (
        FailureRow(
            "socks_login",
            Code.SYSTEM_CONFIG,
            all_of(_FROM_PROXY, message_contains(*_SOCKS_LOGIN)),
            "the SOCKS proxy rejected the login; correct user and password in its URL",
        ),
        FailureRow(
            "socks_other",
            Code.SYSTEM_CONFIG,
            all_of(_FROM_PROXY, message_contains("nvalid version", "Invalid response version")),
            "the configured proxy does not speak SOCKS5; check scheme and port of its URL",
        ),
        FailureRow(
            "socks_denies",
            Code.SYSTEM_CONFIG,
            all_of(_FROM_PROXY, message_contains(". (2)", ". (7)", ". (8)", *_SOCKS_DENIALS)),
            f"the SOCKS proxy denies the connection to {site}; check its rules",
        ),
        FailureRow(
            "socks_expired",
            Code.NETWORK_TIMEOUT,
            all_of(_FROM_PROXY, message_contains(". (6)", "TTL expired")),
            f"{site} did not answer the SOCKS proxy in time",
        ),
        # With a SOCKS proxy, the proxy's own name is the only one that is resolved locally.
        FailureRow(
            "socks_dns",
            Code.NETWORK_DNS,
            all_of(
                message_contains("<SocksHTTP", "SocksHTTPSConnection("), exception_type("gaierror")
            ),
            "the host name of the configured proxy could not be resolved;"
            " check its URL and the DNS",
        ),
        FailureRow(
            "socks_away",
            Code.NETWORK_CONNECTION,
            all_of(message_contains("SocksHTTPSConnection("), exception_type("NewConnectionError")),
            "the SOCKS proxy cannot be reached",
        ),
    )


def _http_proxy_rows(site: str) -> tuple[FailureRow, ...]:
    return (
        FailureRow(
            "proxy_denies",
            Code.SYSTEM_CONFIG,
            all_of(
                _FROM_PROXY,
                message_contains("response 403", "response 407", "failed: 403", "failed: 407"),
            ),
            f"the proxy denies the connection to {site}; check its rules, user and password",
        ),
        # By number: libcurl's exception class is the same as for a proxy that rejects a request.
        FailureRow(
            "proxy_dns",
            Code.NETWORK_DNS,
            any_of(
                curl_code(5), all_of(_FROM_PROXY, exception_type("NameResolutionError", "gaierror"))
            ),
            "the host name of the configured proxy could not be resolved;"
            " check its URL and the DNS",
        ),
        FailureRow(
            "proxy_fails", Code.NETWORK_CONNECTION, _FROM_PROXY, f"the proxy could not reach {site}"
        ),
        FailureRow(
            "proxy_unusable",
            Code.SYSTEM_CONFIG,
            exception_type("NoSupportingHandlers", "UnsupportedRequest", "LocationParseError"),
            "the configured proxy cannot be used; check its URL",
        ),
    )


def transport_rows(site: str) -> tuple[FailureRow, ...]:
    """Return the rows of connection failures, with the site's name in their texts."""
    # Numbers before names: libcurl's code is more specific than the class that yt-dlp wraps it in.
    return (*_unreachable_rows(site), *_rejection_rows(site), *_connection_rows(site))


def _unreachable_rows(site: str) -> tuple[FailureRow, ...]:
    return (
        FailureRow(
            "timeout",
            Code.NETWORK_TIMEOUT,
            any_of(
                curl_code(28),
                exception_type("TimeoutError", "ReadTimeout", "ConnectTimeout", "Timeout"),
                message_contains("deadline of the job"),
            ),
            f"{site} did not answer in time",
        ),
        FailureRow(
            "dns",
            Code.NETWORK_DNS,
            any_of(curl_code(6), exception_type("gaierror", "NameResolutionError", "DNSError")),
            f"{site}'s host name could not be resolved",
        ),
    )


def _rejection_rows(site: str) -> tuple[FailureRow, ...]:
    return (
        FailureRow(
            "certificate",
            Code.SYSTEM_CONFIG,
            any_of(curl_code(58, 60, 77, 83, 90, 91), exception_type("CertificateVerifyError")),
            f"the certificate shown for {site} is not trusted; check the clock, and if a"
            " proxy terminates TLS, set egress.ca_file",
        ),
        FailureRow(
            "too_large",
            Code.CONTENT_UNSUPPORTED,
            any_of(
                curl_code(63),
                exception_type("PageTooLargeError"),
                message_contains("Maximum file size exceeded"),
            ),
            "its page is larger than the maximum",
        ),
        FailureRow(
            "address_refused",
            Code.SYSTEM_CONFIG,
            exception_type("AddressRefusedError"),
            f"{site}'s host name leads to an address that is not public; check the DNS",
        ),
    )


def _connection_rows(site: str) -> tuple[FailureRow, ...]:
    return (
        FailureRow(
            "truncated",
            Code.NETWORK_CONNECTION,
            any_of(curl_code(18), exception_type("IncompleteRead")),
            f"{site} closed the connection before the end of the page",
        ),
        FailureRow(
            "undecodable", Code.NETWORK_CONNECTION, curl_code(61), "its page arrived damaged"
        ),
        FailureRow(
            "tls",
            Code.NETWORK_CONNECTION,
            any_of(curl_code(35), exception_type("SSLError", "SSLEOFError")),
            f"TLS with {site} failed",
        ),
        FailureRow(
            "disk_full",
            Code.SYSTEM_DISK_FULL,
            errno_is(errno.ENOSPC, errno.EDQUOT),
            "the disk of the extraction process is full",
        ),
        FailureRow(
            "connection", Code.NETWORK_CONNECTION, _BROKEN, f"the connection to {site} was lost"
        ),
    )


_BROKEN = any_of(
    lambda failure: failure.curl_code is not None,
    exception_type("TransportError", "ConnectionError", "NewConnectionError", "RemoteDisconnected"),
    exception_type("ConnectionRefusedError", "ConnectionResetError", "ConnectionAbortedError"),
    exception_type("BrokenPipeError"),
)
