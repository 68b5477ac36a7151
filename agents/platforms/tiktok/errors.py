"""Failed extractions become our errors; which one is said by the table in `failures`."""

from msgspec.structs import replace

from agents.engine.interface import EngineFailure
from agents.platforms.errors import explained, find_row
from agents.platforms.failure_predicates import Row
from agents.platforms.tiktok.failures import NO_ITEM, TABLE
from agents.platforms.tiktok.urls import is_story
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef
from schemas.video import VideoRef


def to_clipmill_error(failure: EngineFailure, subject: VideoRef | ListingRef) -> ClipmillError:
    """Return what a failed extraction of this post or listing means."""
    row = find_row(failure, TABLE)
    if isinstance(subject, VideoRef) and is_story(subject):
        row = _of_story(row)
    kind = subject.kind if isinstance(subject, ListingRef) else "video"
    told = f"TikTok {kind} {subject.id}"
    return explained(row, failure, subject=told, platform=subject.platform)


def _of_story(row: Row) -> Row:
    """Return what the row means for a story: its page outlives it, without an item."""
    if row.code is not ErrorCode.CONTENT_NOT_FOUND and row is not NO_ITEM:
        return row
    over = "it is not there any more: stories last 24 hours"
    return replace(row, code=ErrorCode.CONTENT_NOT_FOUND, text=over)
