"""Runs one extractor on a video page through the engine; builds the `JobRunner` record."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from agents.accounts.interface import Account
from agents.engine.interface import EngineError, EngineFailure, EngineJob, Extractor
from schemas.errors import ClipmillError
from schemas.video import Extraction, VideoRef

ErrorMapper = Callable[[EngineFailure], ClipmillError]
"""Maps a failed extraction to the error that is raised."""


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of one page read; the fields are those of `Platform.get_video_info`."""

    egress: str
    deadline_seconds: float
    account: Account | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


async def read_page(
    video: VideoRef, engine: Extractor, extractor: str, options: ReadOptions, to_error: ErrorMapper
) -> Extraction:
    """Return the extractor's result for a video page, without the account's cookies.

    Raises:
        ClipmillError: the engine failed; mapped by `to_error`.
    """
    job = EngineJob(
        url=video.url,
        extractor=extractor,
        deadline_seconds=options.deadline_seconds,
        cookies=options.account.cookies if options.account else (),
        egress=options.egress,
    )
    try:
        result = await engine.extract(job)
    except EngineError as error:
        raise to_error(error.failure) from None
    # Any cookie that the page sets for an account may open its session: it must not travel.
    cookies = () if options.account else result.cookies
    return Extraction(
        raw=result.raw, engine=result.versions, extracted_at=options.clock(), cookies=cookies
    )
