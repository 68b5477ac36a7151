"""What TikTok says about posts and accounts that it does not show, and what yt-dlp makes of it."""

from agents.platforms.failure_predicates import (
    Row,
    all_of,
    any_of,
    exception_type,
    message_contains,
)
from agents.platforms.tiktok.signs import fact, page_code, reason, some_reason
from schemas.errors import ErrorCode as Code

# TikTok's words before its numbers, and both before yt-dlp's: 10204 stands for half a dozen
# reasons, and yt-dlp calls all of them a blocked address.
REASONS = (
    Row(
        "notfound",
        Code.CONTENT_NOT_FOUND,
        fact("redirect", "notfound"),
        "TikTok leads to its not-found page: it was deleted or never existed",
    ),
    Row(
        "shop_post",
        Code.CONTENT_NO_FORMATS,
        fact("withheld", "shop"),
        "its page withholds the video: it is a shop post, which TikTok shows in its app only",
    ),
    Row(
        "ad_post",
        Code.CONTENT_NO_FORMATS,
        fact("withheld", "ad"),
        "its page withholds the video: it is an ad, which TikTok shows in its app only",
    ),
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
        any_of(
            reason("content_classification"), message_contains("may not be comfortable for some")
        ),
        "TikTok shows it to adults who are logged in",
    ),
    Row(
        "private",
        Code.CONTENT_PRIVATE,
        any_of(reason("self_see", "privacy_authorization", "private"), page_code(10216)),
        "its author shows it to nobody, or to friends only",
    ),
    Row(
        "private_account",
        Code.CONTENT_PRIVATE,
        any_of(
            page_code(10222),
            message_contains(
                "You do not have permission to view this post", "either private or all"
            ),
        ),
        "the account is private",
    ),
    Row(
        "region_locked",
        Code.CONTENT_GEO_BLOCKED,
        any_of(page_code(10231), exception_type("GeoRestrictedError")),
        "TikTok withholds it in the region that it was asked from",
    ),
    Row(
        "gone",
        Code.CONTENT_NOT_FOUND,
        page_code(10217),
        "it was deleted",
    ),
    Row(
        "no_account",
        Code.CONTENT_NOT_FOUND,
        page_code(10221),
        "the account does not exist, or not any more",
    ),
    Row(
        "unavailable",
        Code.CONTENT_NOT_FOUND,
        all_of(page_code(10204), some_reason),
        "TikTok does not show it, for a reason that clipmill does not know",
    ),
    Row(
        "ip_block",
        Code.RATE_LIMIT_IP_BLOCK,
        any_of(page_code(10204), message_contains("Your IP address is blocked")),
        "TikTok does not show it to the address that it was asked from, and says no more",
    ),
    Row(
        "login",
        Code.CONTENT_LOGIN_REQUIRED,
        message_contains("requiring login", "Log in for access"),
        "TikTok wants a login",
    ),
    Row(
        "live_ended",
        Code.CONTENT_LIVE_ENDED,
        exception_type("UserNotLive"),
        "the live stream is over",
    ),
    Row(
        "no_formats",
        Code.CONTENT_NO_FORMATS,
        message_contains("No video formats found", "Requested format is not available"),
        "its page offers no file",
    ),
)
