"""How extractors fail on any platform: what engine, libraries and yt-dlp say, and its meaning.

A platform puts the rows of its own words in front; the rows of libcurl, requests and the system
are in `transport`.
"""

from agents.platforms.failure_predicates import (
    Row,
    any_of,
    exception_type,
    http_status,
    message_contains,
)
from agents.platforms.statuses import PAGE_STATUSES
from agents.platforms.transport import ADDRESS, proxy_rows, transport_rows
from schemas.errors import ErrorCode as Code

# A dead process left nothing behind that could be believed.
ENGINE = (
    Row(
        "engine_timeout",
        Code.NETWORK_TIMEOUT,
        exception_type("EngineTimeout"),
        "its page could not be read within the deadline",
    ),
    Row(
        "engine_crash",
        Code.SYSTEM_ENGINE_CRASH,
        exception_type("EngineCrash", "MemoryError"),
        "the extraction process died",
    ),
    Row(
        "engine_closed",
        Code.SYSTEM_ENGINE_CRASH,
        exception_type("EngineClosed"),
        "the extraction engine was stopped",
    ),
    Row(
        "job_too_large",
        Code.SYSTEM_CONFIG,
        exception_type("JobTooLarge"),
        "its account has more cookies than can be sent; export its cookie file anew",
    ),
    Row(
        "answer_too_large",
        Code.CONTENT_UNSUPPORTED,
        exception_type("ResultTooLargeError"),
        "its description is larger than clipmill reads",
    ),
    Row(
        "unknown_extractor",
        Code.SYSTEM_CONFIG,
        exception_type("UnknownExtractorError"),
        "the extractor that the settings name for its platform cannot be used",
    ),
)

# Sentences of `yt_dlp.extractor.common` and those that its extractors share.
_WORDS = (
    Row(
        "region_locked",
        Code.CONTENT_GEO_BLOCKED,
        exception_type("GeoRestrictedError"),
        "it is withheld in the region that it was asked from",
    ),
    Row(
        "live_ended",
        Code.CONTENT_LIVE_ENDED,
        exception_type("UserNotLive"),
        "the live stream is over",
    ),
    Row(
        "login",
        Code.CONTENT_LOGIN_REQUIRED,
        message_contains(
            "only available for registered users", "Use --cookies", "--username and --password"
        ),
        "a login is wanted",
    ),
    Row(
        "protected",
        Code.CONTENT_UNSUPPORTED,
        message_contains("DRM protected", "DRM-protected"),
        "it is protected by DRM, which nobody but its player reads",
    ),
    Row(
        "no_formats",
        Code.CONTENT_NO_FORMATS,
        message_contains("No video formats found", "Requested format is not available"),
        "its page offers no file",
    ),
    Row(
        "private",
        Code.CONTENT_PRIVATE,
        message_contains("video is private", "is a private video"),
        "its author does not show it to everybody",
    ),
    Row(
        "gone",
        Code.CONTENT_NOT_FOUND,
        message_contains(
            "has been removed", "has been deleted", "does not exist", "no longer available"
        ),
        "it was deleted or never existed",
    ),
)

_PAGES = (
    Row(
        "unsupported",
        Code.CONTENT_UNSUPPORTED,
        exception_type("UnsupportedError"),
        "the extractor does not know this kind of page",
    ),
    # What yt-dlp calls an extraction error is a page that it could not read, and so is what an
    # extractor stumbles over: it expects other data.
    Row(
        "unreadable",
        Code.PLATFORM_CHANGED,
        any_of(
            exception_type("ExtractorError", "RegexNotFoundError", "NotAResultError"),
            exception_type("AssertionError", "AttributeError", "TypeError", "ValueError"),
        ),
        "its page could not be understood",
    ),
)

BUG = Row(
    "bug",
    Code.INTERNAL_BUG,
    lambda failure: bool(failure.types),
    "reading its page failed by a mistake in the program",
)
"""What no row of a table knows."""


def failure_table(site: str, reasons: tuple[Row, ...] = ()) -> tuple[Row, ...]:
    """Return the table of a platform, in priority order: the first row whose sign is seen counts.

    Args:
        site: what the texts call the platform.
        reasons: rows of its own words.
    """
    return (
        *ENGINE,
        *ADDRESS,
        *proxy_rows(site),
        *reasons,
        *status_rows(site),
        *transport_rows(site),
        *_WORDS,
        *_PAGES,
    )


def status_rows(site: str) -> tuple[Row, ...]:
    """Return the rows of HTTP statuses that a site answers, which the texts name."""
    return (
        *(
            Row(f"http_{number:d}", code, http_status(number), f"{site} answered {number:d}")
            for number, code in PAGE_STATUSES.items()
        ),
        Row(
            "http_5xx",
            Code.NETWORK_SERVER,
            http_status(range(500, 600)),
            f"{site}'s servers failed to answer",
        ),
        Row(
            "http_other",
            Code.PLATFORM_CHANGED,
            http_status(range(100, 1000)),
            f"{site} answered as it never does for videos",
        ),
    )
