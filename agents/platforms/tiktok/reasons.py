"""Failure rows of posts and accounts that TikTok does not show: its own messages and yt-dlp's."""

import re

from agents.engine.interface import EngineFailure
from agents.platforms.failure_predicates import (
    FailureRow,
    Predicate,
    all_of,
    any_of,
    exception_type,
    message_contains,
)
from schemas.errors import ErrorCode as Code


def status_message_contains(*words: str) -> Predicate:
    """Match any of the words in TikTok's ``statusMsg``.

    An example of a message is ``item_privacy_authorization&status_deleted``.
    """

    def predicate(failure: EngineFailure) -> bool:
        message = failure.facts.get("status_message", "").lower()
        return any(word in message for word in words)

    return predicate


def has_status_message(failure: EngineFailure) -> bool:
    return bool(failure.facts.get("status_message", "").strip())


def fact_is(name: str, *values: str) -> Predicate:
    """Match a fact that our extractor recorded about the page."""
    return lambda failure: failure.facts.get(name) in values


def status_code_is(*codes: int) -> Predicate:
    """Match TikTok's ``statusCode``."""
    wanted = {str(code) for code in codes}
    return lambda failure: recorded_status_code(failure) in wanted


def recorded_status_code(failure: EngineFailure) -> str | None:
    """Return TikTok's ``statusCode``, recorded by our extractor or parsed from yt-dlp's message."""
    match = re.search(r"status code (-?[0-9]{1,9})", failure.message)
    return failure.facts.get("status_code") or (match[1] if match else None)


# TikTok's messages before its codes, and both before yt-dlp's messages: 10204 stands for half a
# dozen reasons, and yt-dlp reports all of them as a blocked IP address.
REASONS = (
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
        status_message_contains("status_deleted", "doesn't exist", "not exist"),
        "it was deleted or never existed",
    ),
    FailureRow(
        "withheld",
        Code.CONTENT_GEO_BLOCKED,
        status_message_contains("cross_border_violation", "geo_fencing", "geo_filter"),
        "TikTok does not offer it in the region that it was requested from",
    ),
    # Like a private post: until the review ends, it exists for its author only.
    FailureRow(
        "under_review",
        Code.CONTENT_PRIVATE,
        status_message_contains("reviewing"),
        "TikTok is reviewing it and shows it to its author only",
    ),
    FailureRow(
        "not_approved",
        Code.CONTENT_NOT_FOUND,
        status_message_contains("audit"),
        "TikTok took it down after a review",
    ),
    FailureRow(
        "classified",
        Code.CONTENT_AGE_RESTRICTED,
        any_of(
            status_message_contains("content_classification"),
            message_contains("may not be comfortable for some"),
        ),
        "TikTok shows it to adults who are logged in",
    ),
    FailureRow(
        "private",
        Code.CONTENT_PRIVATE,
        any_of(
            status_message_contains("self_see", "privacy_authorization", "private"),
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
    FailureRow(
        "live_ended",
        Code.CONTENT_LIVE_ENDED,
        exception_type("UserNotLive"),
        "the live stream is over",
    ),
    FailureRow(
        "no_formats",
        Code.CONTENT_NO_FORMATS,
        message_contains("No video formats found", "Requested format is not available"),
        "its page has no file",
    ),
)
