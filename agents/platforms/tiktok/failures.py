"""The one table of how extractions fail: what engine, libraries and TikTok say, and its meaning.

The rows that hold for any platform are in `agents.platforms.failures` and
`agents.platforms.transport`, those of TikTok's own words in `reasons`; here are those of pages that
yt-dlp cannot read, and of lists.
"""

from agents.platforms.failure_predicates import Row, exception_type, message_contains
from agents.platforms.failures import ENGINE, status_rows
from agents.platforms.tiktok.reasons import REASONS
from agents.platforms.tiktok.signs import noted_code, page_code
from agents.platforms.transport import ADDRESS, proxy_rows, transport_rows
from schemas.errors import ErrorCode as Code

NO_ITEM = Row(
    "no_item",
    Code.PLATFORM_CHANGED,
    page_code(0),
    "its page says that all is well, but holds no video",
)
"""Of a story it means that its time is over."""

_PAGES = (
    # A wall in front of the page is one for whoever asks from that address.
    Row(
        "challenge",
        Code.RATE_LIMIT_IP_BLOCK,
        message_contains("challenge"),
        'TikTok sent a challenge ("Please wait...") that cannot be solved here, as it does to'
        " addresses that it mistrusts",
    ),
    Row(
        "other_post",
        Code.PLATFORM_CHANGED,
        message_contains("describes another post"),
        "its page describes another post, whose file is not taken for this one's",
    ),
    Row(
        "no_page_data",
        Code.PLATFORM_CHANGED,
        message_contains("Unexpected response from webpage request", "universal data"),
        "its page holds no video data: TikTok sent something else, or changed its pages",
    ),
    NO_ITEM,
    Row(
        "unknown_code",
        Code.PLATFORM_CHANGED,
        lambda failure: noted_code(failure) is not None,
        "its page holds a status code that clipmill does not know",
    ),
    Row(
        "unsupported",
        Code.CONTENT_UNSUPPORTED,
        exception_type("UnsupportedError"),
        "the extractor does not know this kind of page",
    ),
    # What yt-dlp itself calls an extraction error is a page that it could not read.
    Row(
        "unreadable",
        Code.PLATFORM_CHANGED,
        exception_type("ExtractorError", "RegexNotFoundError", "NotAResultError"),
        "its page could not be understood",
    ),
)

# What the interface of lists says in its own way. It is no page: its answers are JSON.
_LISTS = (
    Row(
        "empty_answer",
        Code.RATE_LIMIT_API,
        exception_type("JSONDecodeError"),
        "TikTok answered with nothing that can be read, as it does to those who ask too much",
    ),
    Row(
        "same_page",
        Code.NETWORK_SERVER,
        message_contains("keeps sending the same page"),
        "TikTok sent the first page of its list again instead of the next one",
    ),
)

TABLE: tuple[Row, ...] = (
    *ENGINE,
    *ADDRESS,
    *proxy_rows("TikTok"),
    *REASONS,
    *_LISTS,
    *status_rows("TikTok"),
    *transport_rows("TikTok"),
    *_PAGES,
)
"""In priority order: the first row whose sign is seen counts."""
