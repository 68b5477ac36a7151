"""Reads pages of platforms through the outbound gate, with an account when the job requires one."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from msgspec.structs import replace

from agents.access.gate import OutboundGate
from agents.access.rate_limits import ONE_REQUEST, Cost
from agents.accounts.interface import Account, AccountUse, Authenticator
from agents.engine.interface import EngineJob, EngineResult, Extractor
from agents.platforms.registry import Platforms
from schemas.errors import ClipmillError, ErrorCode
from schemas.job import Job
from schemas.listing import Listing, ListingRef
from schemas.video import Extraction, VideoRef
from streams.media_host_waits import MediaHostWaits
from streams.observability.metrics import ACCOUNT_USES

LOGIN_TIMEOUT_SECONDS = 10.0
"""Timeout of an authenticator: it reads files, maybe on a mount that hangs, or is a plug-in."""

LOGIN_RETRY_SECONDS = 60.0
"""Retry-after of a login that timed out."""

PAGES_PER_LISTED_POST = 1 / 15
"""Requests per listed post, for the rate limiter: platforms page lists by 15 posts or more."""

SECONDS_PER_PAGE = 1.0
"""Time added to the deadline for each page of a list."""

T = TypeVar("T")

ReadCall = Callable[[str, Extractor, Account | None], Awaitable[T]]
"""Reads a page through an egress with an engine; the account is None for an anonymous read."""


class PageReader:
    """Extracts pages and listings.

    Args:
        platforms: the installed platforms.
        engine: runs the extractors.
        gate: access control in front of the engine.
        authenticator: provides the accounts.
        deadline_seconds: wall time for one page.
        always: read every page with an account, if one is available.
        login_seconds: timeout of the authenticator.
        waits: explains errors of media at hosts that the platform does not list.
    """

    def __init__(
        self,
        platforms: Platforms,
        engine: Extractor,
        *,
        gate: OutboundGate,
        authenticator: Authenticator,
        deadline_seconds: float,
        waits: MediaHostWaits,
        always: bool = False,
        login_seconds: float = LOGIN_TIMEOUT_SECONDS,
    ) -> None:
        self._platforms = platforms
        self._engine = engine
        self._gate = gate
        self._authenticator = authenticator
        self._deadline_seconds = deadline_seconds
        self._always = always
        self._login_seconds = login_seconds
        self._waits = waits

    async def read(self, video: VideoRef, job: Job) -> Extraction:
        """Extract the page of a post.

        Raises:
            ClipmillError: the platform failed, or the gate rejected the call.
        """
        platform, subtitles = self._platforms.by_name(video.platform), bool(job.options.subtitles)

        async def fetch(egress: str, engine: Extractor, account: Account | None) -> Extraction:
            try:
                extraction = await platform.get_video_info(
                    video,
                    SubtitleEngine(engine) if subtitles else engine,
                    egress=egress,
                    deadline_seconds=self._seconds_left(job),
                    account=account,
                )
            except ClipmillError as error:
                explained = self._waits.explained(error, video.platform, video.key)
                raise explained from error.__cause__
            return replace(extraction, subtitles=subtitles)

        return await self._read(fetch, video, job)

    async def list_posts(self, listing: ListingRef, job: Job, limit: int) -> Listing:
        """Return the first posts of a listing.

        Raises:
            ClipmillError: the platform failed, or the gate rejected the call.
        """
        platform = self._platforms.by_name(listing.platform)
        pages = limit * PAGES_PER_LISTED_POST

        async def fetch(egress: str, engine: Extractor, account: Account | None) -> Listing:
            return await platform.get_listing(
                listing,
                engine,
                egress=egress,
                deadline_seconds=self._seconds_left(job, more=pages * SECONDS_PER_PAGE),
                limit=limit,
                account=account,
            )

        cost = Cost(requests=1 + pages, is_list=True)
        return await self._read(fetch, listing, job, cost)

    async def _read(
        self, fetch: ReadCall[T], target: VideoRef | ListingRef, job: Job, cost: Cost = ONE_REQUEST
    ) -> T:
        account = await self._account(target.platform, job)

        async def call(egress: str) -> T:
            if account is not None:
                return await self._read_as(account, fetch, egress, target, job)
            try:
                return await fetch(egress, self._engine, None)
            except ClipmillError as error:
                if job.authenticate:
                    error.details["account"] = "none can be used"
                raise

        return await self._gate.run(
            job, platform=target.platform, subject=target.key, call=call, cost=cost
        )

    async def _account(self, platform: str, job: Job) -> Account | None:
        """Return the account to use; None: none is available, or none is required.

        Raises:
            ClipmillError: no account is usable, or none before a retry-after.
        """
        if not (job.authenticate or self._always):
            return None
        try:
            async with asyncio.timeout(self._login_seconds):
                return await self._authenticator.log_in(platform, avoid=job.avoid_accounts)
        except TimeoutError:
            if job.authenticate:
                raise _login_timed_out(platform, self._login_seconds) from None
            return None
        except ClipmillError as error:
            # Paused accounts delay only jobs that require one; others read anonymously.
            if error.permitted or job.authenticate:
                raise
            return None

    async def _read_as(
        self,
        account: Account,
        fetch: ReadCall[T],
        egress: str,
        target: VideoRef | ListingRef,
        job: Job,
    ) -> T:
        """Read with an account, and record the use with the authenticator."""
        engine = RenewingEngine(self._engine, account)
        try:
            result = await fetch(egress, engine, account)
        except ClipmillError as error:
            failure = _with_account(error, account)
            self._record_use(account, target, job, failure)
            raise failure from None
        self._record_use(account, target, job, None)
        return result

    def _record_use(
        self,
        account: Account,
        target: VideoRef | ListingRef,
        job: Job,
        error: ClipmillError | None,
    ) -> None:
        code = error.code if error else None
        ACCOUNT_USES.labels(target.platform, account.name, _OUTCOMES.get(code, "other")).inc()
        use = AccountUse(
            subject=target.key,
            login_required=job.authenticate,
            code=code,
            retry_after=error.retry_after if error else None,
        )
        self._authenticator.record_use(target.platform, account, use)

    def _seconds_left(self, job: Job, *, more: float = 0.0) -> float:
        """Return the timeout of a page: ``more`` seconds longer for a listing, at least 1 s."""
        allowed = self._deadline_seconds + more
        if job.deadline is None:
            return allowed
        remaining = (job.deadline - datetime.now(UTC)).total_seconds()
        return max(1.0, min(allowed, remaining))


_OUTCOMES = {
    None: "success",
    ErrorCode.RATE_LIMIT_ACCOUNT: "limited",
    ErrorCode.CONTENT_LOGIN_REQUIRED: "refused",
    ErrorCode.CONTENT_AGE_RESTRICTED: "refused",
}


def _login_timed_out(platform: str, seconds: float) -> ClipmillError:
    error = ClipmillError(
        ErrorCode.SYSTEM_CONFIG,
        f"the accounts of {platform} were not available within {seconds:g} s;"
        " check the folder of auth.cookie_files",
        retry_after=LOGIN_RETRY_SECONDS,
    )
    error.permitted = False
    return error


def _with_account(error: ClipmillError, account: Account) -> ClipmillError:
    """Return the error of a page that was read with an account.

    A rate limit is attributed to the account: it is paused, and the other accounts continue. If the
    limit is the IP address's, they run into it too, and the circuit breaker opens.
    """
    if error.code is ErrorCode.RATE_LIMIT_API:
        error = ClipmillError(
            ErrorCode.RATE_LIMIT_ACCOUNT,
            error.message,
            retry_after=error.retry_after,
            **error.details,
        )
    error.account = account.name
    error.details["account"] = account.name
    return error


class SubtitleEngine:
    """An `Extractor` whose results have the subtitles of the page.

    Platforms use it like any other extractor.
    """

    def __init__(self, engine: Extractor) -> None:
        self._engine = engine

    async def extract(self, job: EngineJob) -> EngineResult:
        """Run the extractor; raises `EngineError`."""
        return await self._engine.extract(replace(job, subtitles=True))


class RenewingEngine:
    """An `Extractor` that renews an account's session with the cookies of every result.

    Platforms use it like any other extractor.

    Args:
        engine: runs the extraction.
        account: the account whose session the requests use.
    """

    def __init__(self, engine: Extractor, account: Account) -> None:
        self._engine = engine
        self._account = account

    async def extract(self, job: EngineJob) -> EngineResult:
        """Run the extractor and renew the account's session.

        Raises:
            EngineError: the extractor failed.
        """
        result = await self._engine.extract(job)
        self._account.renew(result.cookies)
        return result
