"""The failure table of TikTok: maps failed extractions to error codes.

The rows common to all platforms are in `agents.platforms.failures` and
`agents.platforms.transport_failures`.
"""

import re

from agents.engine.interface import EngineFailure
from agents.platforms.failure_predicates import (
    FailureRow,
    Predicate,
    all_of,
    any_of,
    exception_type,
    fact_contains,
    fact_is,
    message_contains,
)
from agents.platforms.failures import ENGINE_ROWS, LIVE_ENDED, NO_FORMATS, UNSUPPORTED, status_rows
from agents.platforms.transport_failures import ADDRESS_ROWS, proxy_rows, transport_rows
from schemas.errors import ErrorCode as Code


def has_status_message(failure: EngineFailure) -> bool:
    return bool(failure.facts.get("status_message", "").strip())


def status_code_is(*codes: int) -> Predicate:
    """Match TikTok's ``statusCode``."""
    wanted = {str(code) for code in codes}
    return lambda failure: recorded_status_code(failure) in wanted


def recorded_status_code(failure: EngineFailure) -> str | None:
    """Return TikTok's ``statusCode``, recorded by our extractor or parsed from yt-dlp's message."""
    match = re.search(r"status code (-?[0-9]{1,9})", failure.message)
    return failure.facts.get("status_code") or (match[1] if match else None)


# TikTok's messages, such as ``item_privacy_authorization&status_deleted``, before its codes, and
# both before yt-dlp's messages: 10204 stands for half a dozen reasons, and yt-dlp reports all of
# them as a blocked IP address.
_REASONS = (
    FailureRow(
        "notfound",
        Code.CONTENT_NOT_FOUND,
        fact_is("redirect", "notfound"),
        "TikTok redirects to its not-found page: it was deleted or never existed",
    ),
    FailureRow(
        "shop_post",
        Code.CONTENT_NO_FORMATS,
        fact_is("withheld", "shop"),
        "its page has no video: it is a shop post, which TikTok shows in its app only",
    ),
    FailureRow(
        "ad_post",
        Code.CONTENT_NO_FORMATS,
        fact_is("withheld", "ad"),
        "its page has no video: it is an ad, which TikTok shows in its app only",
    ),
    FailureRow(
        "deleted",
        Code.CONTENT_NOT_FOUND,
        fact_contains("status_message", "status_deleted", "doesn't exist", "not exist"),
        "it was deleted or never existed",
    ),
    FailureRow(
        "withheld",
        Code.CONTENT_GEO_BLOCKED,
        fact_contains("status_message", "cross_border_violation", "geo_fencing", "geo_filter"),
        "TikTok does not offer it in the region that it was requested from",
    ),
    # Like a private post: until the review ends, it exists for its author only.
    FailureRow(
        "under_review",
        Code.CONTENT_PRIVATE,
        fact_contains("status_message", "reviewing"),
        "TikTok is reviewing it and shows it to its author only",
    ),
    FailureRow(
        "not_approved",
        Code.CONTENT_NOT_FOUND,
        fact_contains("status_message", "audit"),
        "TikTok took it down after a review",
    ),
    FailureRow(
        "classified",
        Code.CONTENT_AGE_RESTRICTED,
        any_of(
            fact_contains("status_message", "content_classification"),
            message_contains("may not be comfortable for some"),
        ),
        "TikTok shows it to adults who are logged in",
    ),
    FailureRow(
        "private",
        Code.CONTENT_PRIVATE,
        any_of(
            fact_contains("status_message", "self_see", "privacy_authorization", "private"),
            status_code_is(10216),
        ),
        "its author has made it private, or visible to friends only",
    ),
    FailureRow(
        "private_account",
        Code.CONTENT_PRIVATE,
        any_of(
            status_code_is(10222),
            message_contains(
                "You do not have permission to view this post", "either private or all"
            ),
        ),
        "the account is private",
    ),
    FailureRow(
        "region_locked",
        Code.CONTENT_GEO_BLOCKED,
        any_of(status_code_is(10231), exception_type("GeoRestrictedError")),
        "TikTok does not offer it in the region that it was requested from",
    ),
    FailureRow(
        "gone",
        Code.CONTENT_NOT_FOUND,
        status_code_is(10217),
        "it was deleted",
    ),
    FailureRow(
        "no_account",
        Code.CONTENT_NOT_FOUND,
        status_code_is(10221),
        "the account does not exist or no longer exists",
    ),
    FailureRow(
        "unavailable",
        Code.CONTENT_NOT_FOUND,
        all_of(status_code_is(10204), has_status_message),
        "TikTok does not show it, for a reason that clipmill does not know",
    ),
    FailureRow(
        "ip_block",
        Code.RATE_LIMIT_IP_BLOCK,
        any_of(status_code_is(10204), message_contains("Your IP address is blocked")),
        "TikTok does not show it to this IP address, without giving a reason",
    ),
    FailureRow(
        "login",
        Code.CONTENT_LOGIN_REQUIRED,
        message_contains("requiring login", "Log in for access"),
        "TikTok requires a login",
    ),
    LIVE_ENDED,
    NO_FORMATS,
)


NO_ITEM = FailureRow(
    "no_item",
    Code.PLATFORM_CHANGED,
    status_code_is(0),
    "its page reports success, but has no video",
)
"""For a story it means that the story has expired."""

_PAGE_ROWS = (
    # A challenge concerns all requests from the IP address, not the post.
    FailureRow(
        "challenge",
        Code.RATE_LIMIT_IP_BLOCK,
        message_contains("challenge"),
        'TikTok sent a challenge ("Please wait...") that cannot be solved, as it does to'
        " suspicious IP addresses",
    ),
    FailureRow(
        "other_post",
        Code.PLATFORM_CHANGED,
        message_contains("describes another post"),
        "its page describes another post, whose file is not used",
    ),
    FailureRow(
        "no_page_data",
        Code.PLATFORM_CHANGED,
        message_contains("Unexpected response from webpage request", "universal data"),
        "its page has no video data: TikTok sent another page, or changed its format",
    ),
    NO_ITEM,
    FailureRow(
        "unknown_code",
        Code.PLATFORM_CHANGED,
        lambda failure: recorded_status_code(failure) is not None,
        "its page has a status code that clipmill does not know",
    ),
    UNSUPPORTED,
    # An extraction error of yt-dlp is an unreadable page.
    FailureRow(
        "unreadable",
        Code.PLATFORM_CHANGED,
        exception_type("ExtractorError", "RegexNotFoundError", "NotAResultError"),
        "its page could not be parsed",
    ),
)

# Lists are read from an API that returns JSON, not from a page.
_LIST_ROWS = (
    FailureRow(
        "empty_answer",
        Code.RATE_LIMIT_API,
        exception_type("JSONDecodeError"),
        "TikTok sent an empty response, as it does above its rate limit",
    ),
    FailureRow(
        "same_page",
        Code.NETWORK_SERVER,
        message_contains("keeps sending the same page"),
        "TikTok sent the first page of its list again instead of the next one",
    ),
)

TABLE: tuple[FailureRow, ...] = (
    *ENGINE_ROWS,
    *ADDRESS_ROWS,
    *proxy_rows("TikTok"),
    *_REASONS,
    *_LIST_ROWS,
    *status_rows("TikTok"),
    *transport_rows("TikTok"),
    *_PAGE_ROWS,
)
"""In priority order: the first match applies."""
