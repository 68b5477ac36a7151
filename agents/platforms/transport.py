"""What libcurl, requests and the system say about a page that could not be read.

Both libraries speak through yt-dlp, so a row knows both: the numbers are libcurl's, the names of
classes are those of requests, urllib3 and Python, and of yt-dlp where it has its own.
"""

import errno

from agents.platforms.failure_predicates import Row, both, curl, either, kind, says, system
from schemas.errors import ErrorCode as Code

# An address that no request can be made of is looked for before the proxy is suspected.
ADDRESS = (
    Row(
        "bad_address",
        Code.CONTENT_UNSUPPORTED,
        either(kind("InvalidURL"), says("Unsupported url scheme")),
        "its address is none that a page can be read from",
    ),
)

# A proxy's refusal looks like the platform's (403), so it is looked for first.
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
_FROM_PROXY = either(kind("ProxyError"), says("CONNECT tunnel failed", "Tunnel connection failed"))


def proxy_rows(site: str) -> tuple[Row, ...]:
    """Return the rows of proxies that fail on the way to a site, which the texts name."""
    return (*_socks_rows(site), *_http_proxy_rows(site))


def _socks_rows(site: str) -> tuple[Row, ...]:
    """Return the rows of SOCKS5 proxies; libcurl ends with the reply's number, yt-dlp names it."""
    return (
        Row(
            "socks_login",
            Code.SYSTEM_CONFIG,
            both(_FROM_PROXY, says(*_SOCKS_LOGIN)),
            "the SOCKS proxy refused to let clipmill in; correct user and password in its URL",
        ),
        Row(
            "socks_other",
            Code.SYSTEM_CONFIG,
            both(_FROM_PROXY, says("nvalid version", "Invalid response version")),
            "the configured proxy does not speak SOCKS5; check scheme and port of its URL",
        ),
        Row(
            "socks_denies",
            Code.SYSTEM_CONFIG,
            both(_FROM_PROXY, says(". (2)", ". (7)", ". (8)", *_SOCKS_DENIALS)),
            f"the SOCKS proxy denies the way to {site}; check its rules",
        ),
        Row(
            "socks_expired",
            Code.NETWORK_TIMEOUT,
            both(_FROM_PROXY, says(". (6)", "TTL expired")),
            f"{site} did not answer the SOCKS proxy in time",
        ),
        # The only name that is resolved here is the proxy's.
        Row(
            "socks_dns",
            Code.NETWORK_DNS,
            both(says("<SocksHTTP", "SocksHTTPSConnection("), kind("gaierror")),
            "the host name of the configured proxy could not be resolved;"
            " check its URL and the DNS",
        ),
        Row(
            "socks_away",
            Code.NETWORK_CONNECTION,
            both(says("SocksHTTPSConnection("), kind("NewConnectionError")),
            "the SOCKS proxy cannot be reached",
        ),
    )


def _http_proxy_rows(site: str) -> tuple[Row, ...]:
    return (
        Row(
            "proxy_denies",
            Code.SYSTEM_CONFIG,
            both(_FROM_PROXY, says("response 403", "response 407", "failed: 403", "failed: 407")),
            f"the proxy denies the way to {site}; check its rules, user and password",
        ),
        # libcurl's class for it is the one for a proxy that refuses, so its number comes first.
        Row(
            "proxy_dns",
            Code.NETWORK_DNS,
            either(curl(5), both(_FROM_PROXY, kind("NameResolutionError", "gaierror"))),
            "the host name of the configured proxy could not be resolved;"
            " check its URL and the DNS",
        ),
        Row(
            "proxy_fails", Code.NETWORK_CONNECTION, _FROM_PROXY, f"the proxy could not reach {site}"
        ),
        Row(
            "proxy_unusable",
            Code.SYSTEM_CONFIG,
            kind("NoSupportingHandlers", "UnsupportedRequest", "LocationParseError"),
            "the configured proxy cannot be used; check its URL",
        ),
    )


def transport_rows(site: str) -> tuple[Row, ...]:
    """Return the rows of connections to a site that fail; the texts name it."""
    # Numbers before names: libcurl's code says more than the class that yt-dlp wraps it in.
    return (*_unreached(site), *_refused(site), *_broken(site))


def _unreached(site: str) -> tuple[Row, ...]:
    return (
        Row(
            "timeout",
            Code.NETWORK_TIMEOUT,
            either(
                curl(28),
                kind("TimeoutError", "ReadTimeout", "ConnectTimeout", "Timeout"),
                says("deadline of the job"),
            ),
            f"{site} did not answer in time",
        ),
        Row(
            "dns",
            Code.NETWORK_DNS,
            either(curl(6), kind("gaierror", "NameResolutionError", "DNSError")),
            f"{site}'s host name could not be resolved",
        ),
    )


def _refused(site: str) -> tuple[Row, ...]:
    return (
        Row(
            "certificate",
            Code.SYSTEM_CONFIG,
            either(curl(58, 60, 77, 83, 90, 91), kind("CertificateVerifyError")),
            f"the certificate shown for {site} is not trusted; check the clock, and the file of"
            " roots when a proxy ends TLS",
        ),
        Row(
            "too_large",
            Code.CONTENT_UNSUPPORTED,
            either(curl(63), kind("PageTooLargeError"), says("Maximum file size exceeded")),
            "its page is larger than clipmill reads",
        ),
        Row(
            "address_refused",
            Code.SYSTEM_CONFIG,
            kind("AddressRefusedError"),
            f"{site}'s host name leads to an address that is not public; check the DNS",
        ),
    )


def _broken(site: str) -> tuple[Row, ...]:
    return (
        Row(
            "truncated",
            Code.NETWORK_CONNECTION,
            either(curl(18), kind("IncompleteRead")),
            f"{site} ended the transfer of the page before its end",
        ),
        Row("undecodable", Code.NETWORK_CONNECTION, curl(61), "its page arrived damaged"),
        Row(
            "tls",
            Code.NETWORK_CONNECTION,
            either(curl(35), kind("SSLError", "SSLEOFError")),
            f"TLS with {site} failed",
        ),
        Row(
            "disk_full",
            Code.SYSTEM_DISK_FULL,
            system(errno.ENOSPC, errno.EDQUOT),
            "the disk of the extraction process is full",
        ),
        Row("connection", Code.NETWORK_CONNECTION, _BREAKS, f"the connection to {site} broke"),
    )


_BREAKS = either(
    lambda failure: failure.curl_code is not None,
    kind("TransportError", "ConnectionError", "NewConnectionError", "RemoteDisconnected"),
    kind("ConnectionRefusedError", "ConnectionResetError", "ConnectionAbortedError"),
    kind("BrokenPipeError"),
)
