"""What Streamable says about a video that it does not show, before what is true of all sites."""

from agents.platforms.failure_predicates import Row, message_contains
from agents.platforms.failures import failure_table
from schemas.errors import ErrorCode as Code

SITE = "Streamable"

TABLE = failure_table(
    SITE,
    reasons=(
        # yt-dlp does not tell which: status 0 is being uploaded, 1 processed, 3 failed.
        Row(
            "not_ready",
            Code.CONTENT_NOT_FOUND,
            message_contains("currently unavailable"),
            "it is still being processed, or its upload failed; ask again later",
        ),
    ),
)
