"""An error handler: the made-up site announces a clip seconds before it can be read."""

from datetime import timedelta

from agents.recovery import Change, Decision, JobPatch
from schemas import ErrorCode, Failure

ATTEMPTS_MAX = 3
WAIT_SECONDS = 1.0


class LateClips:
    """Retries ``content.not_found``, which the retry policy takes for final."""

    def can_handle(self, failure: Failure) -> bool:
        """Return whether a clip of the site was not found. Called for every failure."""
        code = failure.error.error_type
        return failure.platform == "elsewhere" and code == ErrorCode.CONTENT_NOT_FOUND

    async def handle(self, failure: Failure) -> Decision | None:
        """Retry a bounded number of times, then leave the decision to the retry policy.

        A plain `Backoff` would be answered by the negative cache, which knows the clip as missing.
        The due time comes from the failure, so copies of one failure get the same decision.
        """
        if len(failure.job.attempts) >= ATTEMPTS_MAX:
            return None
        return Change(
            due=failure.failed_at + timedelta(seconds=WAIT_SECONDS),
            strategy="fresh_extraction",
            changes=JobPatch(fresh_page=True, changed={"page": "cached -> fresh"}),
            counted=True,
        )
