"""Maps failed extractions of TikTok to `ClipmillError`, by the table in `failures`."""

from msgspec.structs import replace

from agents.engine.interface import EngineFailure
from agents.platforms.errors import error_from_row, find_row
from agents.platforms.failure_predicates import Row
from agents.platforms.tiktok.failures import NO_ITEM, TABLE
from agents.platforms.tiktok.urls import is_story
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef
from schemas.video import VideoRef


def to_clipmill_error(failure: EngineFailure, subject: VideoRef | ListingRef) -> ClipmillError:
    """Return the error of a failed extraction of a post or listing."""
    row = find_row(failure, TABLE)
    if isinstance(subject, VideoRef) and is_story(subject):
        row = _for_story(row)
    kind = subject.kind if isinstance(subject, ListingRef) else "video"
    display_name = f"TikTok {kind} {subject.id}"
    return error_from_row(row, failure, subject=display_name, platform=subject.platform)


def _for_story(row: Row) -> Row:
    """Return the row for a story: its page outlives it, and then has no item."""
    if row.code is not ErrorCode.CONTENT_NOT_FOUND and row is not NO_ITEM:
        return row
    expired = "it is not there any more: stories last 24 hours"
    return replace(row, code=ErrorCode.CONTENT_NOT_FOUND, text=expired)
