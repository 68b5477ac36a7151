"""Reads pages of platforms: through the gate, with an account when the job wants one."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from agents.access.gate import OutboundGate
from agents.access.rate_limits import ONE_REQUEST, Cost
from agents.accounts.interface import Account, Authenticator, Use
from agents.engine.interface import Extractor
from agents.extraction.renewing_engine import RenewingEngine
from agents.platforms.registry import Platforms
from schemas.errors import ClipmillError, ErrorCode
from schemas.job import Job
from schemas.listing import Listing, ListingRef
from schemas.video import Extraction, VideoRef
from streams.observability.metrics import ACCOUNT_USES

LOGIN_SECONDS = 10.0
"""Authenticators look at files, which may lie on a mount that hangs, or are plug-ins."""

NO_LOGIN_SECONDS = 60.0
"""After which a login that did not come about is tried again."""

PAGES_PER_LISTED_POST = 1 / 15
"""A platform hands out lists in pages of 15 posts and more."""

SECONDS_PER_PAGE = 1.0
"""That a page of a list may take."""

T = TypeVar("T")

Ask = Callable[[str, Extractor, Account | None], Awaitable[T]]
"""Reads a page by a way out, with an engine, as an account or as nobody."""


class PageReader:
    """Asks platforms what their pages say.

    Args:
        platforms: the installed ones.
        engine: reads the pages.
        gate: in front of it.
        authenticator: has the accounts.
        deadline_seconds: wall time for one page.
        always: read every page with an account, if there is one at hand.
        login_seconds: how long an authenticator may take.
    """

    def __init__(
        self,
        platforms: Platforms,
        engine: Extractor,
        *,
        gate: OutboundGate,
        authenticator: Authenticator,
        deadline_seconds: float,
        always: bool = False,
        login_seconds: float = LOGIN_SECONDS,
    ) -> None:
        self._platforms = platforms
        self._engine = engine
        self._gate = gate
        self._authenticator = authenticator
        self._deadline_seconds = deadline_seconds
        self._always = always
        self._login_seconds = login_seconds

    async def read(self, video: VideoRef, job: Job) -> Extraction:
        """Return what the page of a post says.

        Raises:
            ClipmillError: the platform's reason, or why nothing was asked.
        """
        platform = self._platforms.by_name(video.platform)

        async def ask(egress: str, engine: Extractor, account: Account | None) -> Extraction:
            return await platform.get_video_info(
                video,
                engine,
                egress=egress,
                deadline_seconds=self._seconds_left(job),
                account=account,
            )

        return await self._ask(ask, video, job)

    async def list_posts(self, listing: ListingRef, job: Job, limit: int) -> Listing:
        """Return the first posts of a listing.

        Raises:
            ClipmillError: the platform's reason, or why nothing was asked.
        """
        platform = self._platforms.by_name(listing.platform)
        pages = limit * PAGES_PER_LISTED_POST

        async def ask(egress: str, engine: Extractor, account: Account | None) -> Listing:
            return await platform.get_listing(
                listing,
                engine,
                egress=egress,
                deadline_seconds=self._seconds_left(job, more=pages * SECONDS_PER_PAGE),
                limit=limit,
                account=account,
            )

        need = Cost(requests=1 + pages, is_list=True)
        return await self._ask(ask, listing, job, need)

    async def _ask(
        self, ask: Ask[T], about: VideoRef | ListingRef, job: Job, need: Cost = ONE_REQUEST
    ) -> T:
        account = await self._account(about.platform, job)

        async def call(egress: str) -> T:
            if account is not None:
                return await self._ask_as(account, ask, egress, about, job)
            try:
                return await ask(egress, self._engine, None)
            except ClipmillError as error:
                if job.authenticate:
                    error.details["account"] = "none can be used"
                raise

        return await self._gate.run(
            job, platform=about.platform, subject=about.key, call=call, need=need
        )

    async def _account(self, platform: str, job: Job) -> Account | None:
        """Return the account to use; None: there is none, or none is wanted.

        Raises:
            ClipmillError: the accounts cannot be used, or only later.
        """
        if not (job.authenticate or self._always):
            return None
        try:
            async with asyncio.timeout(self._login_seconds):
                return await self._authenticator.log_in(platform, avoid=job.avoid_accounts)
        except TimeoutError:
            if job.authenticate:
                raise _no_login(platform, self._login_seconds) from None
            return None
        except ClipmillError as error:
            # Accounts that rest hold up those who need one, not everybody.
            if error.permitted or job.authenticate:
                raise
            return None

    async def _ask_as(
        self,
        account: Account,
        ask: Ask[T],
        egress: str,
        about: VideoRef | ListingRef,
        job: Job,
    ) -> T:
        """Ask as an account, and tell the authenticator how it went."""
        engine = RenewingEngine(self._engine, account)
        try:
            answer = await ask(egress, engine, account)
        except ClipmillError as error:
            failure = _with_account(error, account)
            self._tell(account, about, job, failure)
            raise failure from None
        self._tell(account, about, job, None)
        return answer

    def _tell(
        self,
        account: Account,
        about: VideoRef | ListingRef,
        job: Job,
        error: ClipmillError | None,
    ) -> None:
        code = error.code if error else None
        ACCOUNT_USES.labels(about.platform, account.name, _OUTCOMES.get(code, "other")).inc()
        use = Use(
            subject=about.key,
            needed=job.authenticate,
            code=code,
            retry_after=error.retry_after if error else None,
        )
        self._authenticator.tell(about.platform, account, use)

    def _seconds_left(self, job: Job, *, more: float = 0.0) -> float:
        """Return how long a page may take; a long listing has some seconds more."""
        allowed = self._deadline_seconds + more
        if job.deadline is None:
            return allowed
        left = (job.deadline - datetime.now(UTC)).total_seconds()
        return max(1.0, min(allowed, left))


_OUTCOMES = {
    None: "success",
    ErrorCode.RATE_LIMIT_ACCOUNT: "limited",
    ErrorCode.CONTENT_LOGIN_REQUIRED: "refused",
    ErrorCode.CONTENT_AGE_RESTRICTED: "refused",
}


def _no_login(platform: str, seconds: float) -> ClipmillError:
    error = ClipmillError(
        ErrorCode.SYSTEM_CONFIG,
        f"the accounts of {platform} were not at hand within {seconds:g} s;"
        " look whether the folder of auth.cookie_files answers",
        retry_after=NO_LOGIN_SECONDS,
    )
    error.permitted = False
    return error


def _with_account(error: ClipmillError, account: Account) -> ClipmillError:
    """Return the error of a page that was read with an account.

    A limit that is met with an account is taken for the account's: that rests, and the others go
    on. If it was the address's, they meet it too, and the breaker opens.
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
