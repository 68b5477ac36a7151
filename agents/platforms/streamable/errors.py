"""The failure table of Streamable: one row of its own, and those common to all platforms."""

from agents.platforms.failure_predicates import Row, message_contains
from agents.platforms.failures import failure_table
from schemas.errors import ErrorCode as Code

SITE = "Streamable"

TABLE = failure_table(
    SITE,
    platform_rows=(
        # yt-dlp does not report the status: 0 is being uploaded, 1 being processed, 3 failed.
        Row(
            "not_ready",
            Code.CONTENT_NOT_FOUND,
            message_contains("currently unavailable"),
            "it is still being processed, or its upload failed; ask again later",
        ),
    ),
)
