"""Reads pages of platforms: through the gate, with an account when the job wants one."""

from datetime import UTC, datetime

from agents.attempting import Gate
from agents.authentication.interface import Account, Authenticator
from agents.engine.interface import Extractor
from agents.platforms.registry import Platforms
from schemas.job import Job
from schemas.listing import Listing, ListingRef
from schemas.video import Extraction, VideoRef


class PageReader:
    """Asks platforms what their pages say.

    Args:
        platforms: the installed ones.
        engine: reads the pages.
        gate: in front of it.
        authenticator: has the accounts.
        deadline_seconds: wall time for one page.
    """

    def __init__(
        self,
        platforms: Platforms,
        engine: Extractor,
        *,
        gate: Gate,
        authenticator: Authenticator,
        deadline_seconds: float,
    ) -> None:
        self._platforms = platforms
        self._engine = engine
        self._gate = gate
        self._authenticator = authenticator
        self._deadline_seconds = deadline_seconds

    async def read(self, video: VideoRef, job: Job) -> Extraction:
        """Return what the page of a post says.

        Raises:
            ClipmillError: the platform's reason, or why nothing was asked.
        """
        platform = self._platforms.by_name(video.platform)
        account = await self._account(video.platform, job)

        async def call(egress: str) -> Extraction:
            return await platform.get_video_info(
                video,
                self._engine,
                egress=egress,
                deadline_seconds=self._seconds_left(job),
                account=account,
            )

        return await self._gate.run(job, platform=video.platform, subject=video.key, call=call)

    async def list_posts(self, listing: ListingRef, job: Job, limit: int) -> Listing:
        """Return the first posts of a listing.

        Raises:
            ClipmillError: the platform's reason, or why nothing was asked.
        """
        platform = self._platforms.by_name(listing.platform)
        account = await self._account(listing.platform, job)

        async def call(egress: str) -> Listing:
            return await platform.get_listing(
                listing,
                self._engine,
                egress=egress,
                deadline_seconds=self._seconds_left(job),
                limit=limit,
                account=account,
            )

        return await self._gate.run(job, platform=listing.platform, subject=listing.key, call=call)

    async def _account(self, platform: str, job: Job) -> Account | None:
        if not job.authenticate:
            return None
        return await self._authenticator.log_in(platform, avoid=job.avoid_accounts)

    def _seconds_left(self, job: Job) -> float:
        if job.deadline is None:
            return self._deadline_seconds
        left = (job.deadline - datetime.now(UTC)).total_seconds()
        return max(1.0, min(self._deadline_seconds, left))
