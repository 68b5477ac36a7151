"""The one table of how extractions fail: what engine, libraries and TikTok say, and its meaning.

The rows of libcurl, requests and the system are in `transport`, those of TikTok's own words in
`reasons`; here are those of the engine, of HTTP statuses and of pages that yt-dlp cannot read.
"""

from agents.platforms.statuses import PAGE_STATUSES
from agents.platforms.tiktok.reasons import REASONS
from agents.platforms.tiktok.rows import Row
from agents.platforms.tiktok.signs import kind, noted_code, page_code, says, status
from agents.platforms.tiktok.transport import ADDRESS, PROXY, TRANSPORT
from schemas.errors import ErrorCode as Code

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

TABLE: tuple[Row, ...] = (
    *_ENGINE,
    *ADDRESS,
    *PROXY,
    *REASONS,
    *_STATUSES,
    *TRANSPORT,
    *_PAGES,
)
"""In priority order: the first row whose sign is seen counts."""

BUG = Row(
    "bug",
    Code.INTERNAL_BUG,
    lambda failure: bool(failure.types),
    "reading its page failed by a mistake in the program",
)
"""What no row of the table knows."""
