"""The failure table of TikTok: maps failed extractions to error codes.

The rows common to all platforms are in `agents.platforms.failures` and
`agents.platforms.transport_failures`, the rows of TikTok's own messages in `reasons`. This file has
the rows of pages that yt-dlp cannot read, and of lists.
"""

from agents.platforms.failure_predicates import FailureRow, exception_type, message_contains
from agents.platforms.failures import ENGINE_ROWS, status_rows
from agents.platforms.tiktok.reasons import REASONS, recorded_status_code, status_code_is
from agents.platforms.transport_failures import ADDRESS_ROWS, proxy_rows, transport_rows
from schemas.errors import ErrorCode as Code

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
    FailureRow(
        "unsupported",
        Code.CONTENT_UNSUPPORTED,
        exception_type("UnsupportedError"),
        "the extractor does not know this kind of page",
    ),
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
    *REASONS,
    *_LIST_ROWS,
    *status_rows("TikTok"),
    *transport_rows("TikTok"),
    *_PAGE_ROWS,
)
"""In priority order: the first match applies."""
