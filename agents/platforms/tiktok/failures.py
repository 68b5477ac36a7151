"""The one table of how extractions fail: what yt-dlp, libcurl and TikTok say, and its meaning."""

import errno

import msgspec

from agents.platforms.statuses import PAGE_STATUSES
from agents.platforms.tiktok.signs import (
    Sign,
    both,
    curl,
    either,
    kind,
    noted_code,
    page_code,
    reason,
    says,
    some_reason,
    status,
    system,
)
from schemas.errors import ErrorCode as Code


class Row(msgspec.Struct, frozen=True):
    """A kind of failure.

    Attributes:
        name: short name, in the details of the error.
        code: what it means.
        sign: how it is recognised.
        text: what happened to the video; completes "TikTok video 1: …".
    """

    name: str
    code: Code
    sign: Sign
    text: str


# A dead process left nothing behind that could be believed.
_ENGINE = (
    Row(
        "engine_timeout",
        Code.NETWORK_TIMEOUT,
        kind("EngineTimeout"),
        "its page could not be read within the deadline",
    ),
    Row(
        "engine_crash",
        Code.SYSTEM_ENGINE_CRASH,
        kind("EngineCrash", "MemoryError"),
        "the extraction process died",
    ),
    Row(
        "engine_closed",
        Code.SYSTEM_ENGINE_CRASH,
        kind("EngineClosed"),
        "the extraction engine was stopped",
    ),
    Row(
        "answer_too_large",
        Code.CONTENT_UNSUPPORTED,
        kind("ResultTooLargeError"),
        "its description is larger than clipmill reads",
    ),
)

# A proxy's refusal looks like the platform's (403), so it is looked for first.
_FROM_PROXY = either(kind("ProxyError"), says("CONNECT tunnel failed", "Tunnel connection failed"))
_PROXY = (
    Row(
        "proxy_denies",
        Code.SYSTEM_CONFIG,
        both(_FROM_PROXY, says("response 403", "response 407", "failed: 403", "failed: 407")),
        "the proxy denies the way to TikTok; check its rules, user and password",
    ),
    Row("proxy_fails", Code.NETWORK_CONNECTION, _FROM_PROXY, "the proxy could not reach TikTok"),
    Row(
        "proxy_unusable",
        Code.SYSTEM_CONFIG,
        either(kind("NoSupportingHandlers", "UnsupportedRequest"), curl(5)),
        "the configured proxy cannot be used; check its URL",
    ),
)

# TikTok's words before its numbers, and both before yt-dlp's: 10204 stands for half a dozen
# reasons, and yt-dlp calls all of them a blocked address.
_REASONS = (
    Row(
        "deleted",
        Code.CONTENT_NOT_FOUND,
        reason("status_deleted", "doesn't exist", "not exist"),
        "it was deleted or never existed",
    ),
    Row(
        "withheld",
        Code.CONTENT_GEO_BLOCKED,
        reason("cross_border_violation", "geo_fencing", "geo_filter"),
        "TikTok withholds it in the region that it was asked from",
    ),
    # Until the review ends it is what private posts are: there, and for its author only.
    Row(
        "under_review",
        Code.CONTENT_PRIVATE,
        reason("reviewing"),
        "TikTok is reviewing it and shows it to its author only",
    ),
    Row(
        "not_approved",
        Code.CONTENT_NOT_FOUND,
        reason("audit"),
        "TikTok took it down after a review",
    ),
    Row(
        "classified",
        Code.CONTENT_AGE_RESTRICTED,
        either(reason("content_classification"), says("may not be comfortable for some")),
        "TikTok shows it to adults who are logged in",
    ),
    Row(
        "private",
        Code.CONTENT_PRIVATE,
        either(reason("self_see", "privacy_authorization", "private"), page_code(10216)),
        "its author shows it to nobody, or to friends only",
    ),
    Row(
        "private_account",
        Code.CONTENT_PRIVATE,
        either(page_code(10222), says("You do not have permission to view this post")),
        "its author's account is private",
    ),
    Row(
        "region_locked",
        Code.CONTENT_GEO_BLOCKED,
        either(page_code(10231), kind("GeoRestrictedError")),
        "TikTok withholds it in the region that it was asked from",
    ),
    Row(
        "gone",
        Code.CONTENT_NOT_FOUND,
        page_code(10217, 10221),
        "it was deleted, or its author's account does not exist",
    ),
    Row(
        "unavailable",
        Code.CONTENT_NOT_FOUND,
        both(page_code(10204), some_reason),
        "TikTok does not show it, for a reason that clipmill does not know",
    ),
    Row(
        "ip_block",
        Code.RATE_LIMIT_IP_BLOCK,
        either(page_code(10204), says("Your IP address is blocked")),
        "TikTok does not show it to the address that it was asked from, and says no more",
    ),
    Row(
        "login",
        Code.CONTENT_LOGIN_REQUIRED,
        says("requiring login", "Log in for access"),
        "TikTok wants a login",
    ),
    Row(
        "live_ended",
        Code.CONTENT_LIVE_ENDED,
        kind("UserNotLive"),
        "the live stream is over",
    ),
    Row(
        "no_formats",
        Code.CONTENT_NO_FORMATS,
        says("No video formats found", "Requested format is not available"),
        "its page offers no file",
    ),
)

_STATUSES = (
    *(
        Row(f"http_{number:d}", code, status(number), f"TikTok answered {number:d}")
        for number, code in PAGE_STATUSES.items()
    ),
    Row(
        "http_5xx",
        Code.NETWORK_SERVER,
        status(range(500, 600)),
        "TikTok's servers failed to answer",
    ),
    Row(
        "http_other",
        Code.PLATFORM_CHANGED,
        status(range(100, 1000)),
        "TikTok answered as it never does for videos",
    ),
)

# Numbers before names: libcurl's code says more than the class that yt-dlp wraps it in.
_TRANSPORT = (
    Row(
        "timeout",
        Code.NETWORK_TIMEOUT,
        either(
            curl(28),
            kind("TimeoutError", "ReadTimeout", "ConnectTimeout", "Timeout"),
            says("deadline of the job"),
        ),
        "TikTok did not answer in time",
    ),
    Row(
        "dns",
        Code.NETWORK_DNS,
        either(curl(6), kind("gaierror", "NameResolutionError", "DNSError")),
        "TikTok's host name could not be resolved",
    ),
    Row(
        "certificate",
        Code.SYSTEM_CONFIG,
        either(curl(58, 60, 77, 83, 90, 91), kind("CertificateVerifyError")),
        "the certificate shown for TikTok is not trusted; check the clock, and the file of roots"
        " when a proxy ends TLS",
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
        "TikTok's host name leads to an address that is not public; check the DNS",
    ),
    Row(
        "truncated",
        Code.NETWORK_CONNECTION,
        either(curl(18), kind("IncompleteRead")),
        "TikTok ended the transfer of the page before its end",
    ),
    Row("undecodable", Code.NETWORK_CONNECTION, curl(61), "its page arrived damaged"),
    Row(
        "tls",
        Code.NETWORK_CONNECTION,
        either(curl(35), kind("SSLError", "SSLEOFError")),
        "TLS with TikTok failed",
    ),
    Row(
        "disk_full",
        Code.SYSTEM_DISK_FULL,
        system(errno.ENOSPC, errno.EDQUOT),
        "the disk of the extraction process is full",
    ),
    Row(
        "connection",
        Code.NETWORK_CONNECTION,
        either(
            lambda failure: failure.curl_code is not None,
            kind("TransportError", "ConnectionError", "NewConnectionError", "RemoteDisconnected"),
            kind("ConnectionRefusedError", "ConnectionResetError", "ConnectionAbortedError"),
            kind("BrokenPipeError"),
        ),
        "the connection to TikTok broke",
    ),
)

_PAGES = (
    Row(
        "no_page_data",
        Code.PLATFORM_CHANGED,
        says("Unexpected response from webpage request", "universal data", "challenge"),
        "its page holds no video data: TikTok sent a challenge, or changed its pages",
    ),
    Row(
        "no_item",
        Code.PLATFORM_CHANGED,
        page_code(0),
        "its page says that all is well, but holds no video",
    ),
    Row(
        "unknown_code",
        Code.PLATFORM_CHANGED,
        lambda failure: noted_code(failure) is not None,
        "its page holds a status code that clipmill does not know",
    ),
    Row(
        "unsupported",
        Code.CONTENT_UNSUPPORTED,
        kind("UnsupportedError"),
        "the extractor does not know this kind of page",
    ),
    # What yt-dlp itself calls an extraction error is a page that it could not read.
    Row(
        "unreadable",
        Code.PLATFORM_CHANGED,
        kind("ExtractorError", "RegexNotFoundError", "NotAResultError"),
        "its page could not be understood",
    ),
)

TABLE: tuple[Row, ...] = (*_ENGINE, *_PROXY, *_REASONS, *_STATUSES, *_TRANSPORT, *_PAGES)
"""In priority order: the first row whose sign is seen counts."""

BUG = Row(
    "bug",
    Code.INTERNAL_BUG,
    lambda failure: bool(failure.types),
    "reading its page failed by a mistake in the program",
)
"""What no row of the table knows."""
