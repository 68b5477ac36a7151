"""Has the engine read a page by one extractor, and takes along what travels on."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from agents.accounts.interface import Account
from agents.engine.interface import EngineError, EngineFailure, EngineJob, Extractor
from schemas.errors import ClipmillError
from schemas.video import Extraction, VideoRef

Explain = Callable[[EngineFailure], ClipmillError]
"""Says what a failed extraction means."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How one page is read; the fields are those of `Platform.get_video_info`."""

    egress: str
    deadline_seconds: float
    account: Account | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


async def read_page(
    video: VideoRef, engine: Extractor, extractor: str, how: Reading, explain: Explain
) -> Extraction:
    """Return what the extractor found on a video's page, without the account's cookies.

    Raises:
        ClipmillError: what `explain` makes of the engine's failure.
    """
    job = EngineJob(
        url=video.url,
        extractor=extractor,
        deadline_seconds=how.deadline_seconds,
        cookies=how.account.cookies if how.account else (),
        egress=how.egress,
    )
    try:
        result = await engine.extract(job)
    except EngineError as error:
        raise explain(error.failure) from None
    # What is set for an account is the account's, under whatever name: it must not travel.
    kept = () if how.account else result.cookies
    return Extraction(
        raw=result.raw, engine=result.versions, extracted_at=how.clock(), cookies=kept
    )
