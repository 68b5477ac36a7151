"""Listings: which posts does a profile, collection or playlist have?

Done by the extraction stage. ``list`` is answered with the posts; ``download`` and ``info`` also
make each of them a request of its own, a member of the batch that the request becomes.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from agents.caching.row_expiry import no_longer_kept
from agents.caching.upload_date import UploadDates
from agents.extraction.page_reader import PageReader
from agents.pipeline.results import listed
from agents.pipeline.step import Complete, StepOutcome
from agents.platforms.registry import Platforms
from schemas.codec import MalformedMessageError, decode, encode
from schemas.errors import ClipmillError
from schemas.events import CacheUse, ValidatedListing, ValidatedVideo
from schemas.job import BatchMember, Job
from schemas.listing import ListedPost, Listing
from schemas.video import EngineVersions, VideoRef
from streams.records import Effect, TableWrite
from streams.stage import StageContext

TABLE = "listings"

ROWS_BYTES_MAX = 16 * 2**20
"""Memory of all rows of one process: 80 listings of the greatest length, or thousands of usual
ones; a post has 200 bytes."""

SWEEP_SECONDS = 60.0

NOTED_MAX = 32
"""Requests that a row notes: those that may not be committed yet are the latest ones."""

LISTED = 100
"""Posts of a ``list`` that sets no limit."""

UNKNOWN_ENGINE = EngineVersions(yt_dlp="", curl_cffi="")


class KnownListing(msgspec.Struct, frozen=True, kw_only=True):
    """A row: what was listed, and for whom.

    Attributes:
        expires_at: epoch second up to which it is kept.
        fresh_until: epoch second up to which it serves other requests.
        request_ids: of the latest requests that were made members of, by this very listing.
        asked: how many posts were asked for.
        listing: what there was.
    """

    expires_at: float
    fresh_until: float
    request_ids: tuple[str, ...]
    asked: int
    listing: Listing


class ListingWork:
    """The stage's work on listings.

    What was listed is kept, and acknowledged before any member is written. So work that is done
    again, because it was not committed, makes the same members, unless another request had the
    same page listed anew in between.

    Args:
        platforms: the installed ones.
        reader: asks them.
        read_row: reads a row of the table.
        life_seconds: how long a listing serves other requests.
        kept_seconds: how long it is kept for its own, should its work be done again.
        dates: when posts were published.
        versions: of the engine, as far as they are known.
        clock: epoch seconds.
    """

    def __init__(
        self,
        platforms: Platforms,
        reader: PageReader,
        read_row: Callable[[str], bytes | None],
        *,
        life_seconds: float,
        kept_seconds: float = 86_400.0,
        dates: UploadDates | None = None,
        versions: Callable[[], EngineVersions | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._platforms = platforms
        self._reader = reader
        self._read_row = read_row
        self._life_seconds = life_seconds
        self._kept_seconds = kept_seconds
        self._dates = dates or UploadDates()
        self._versions = versions
        self._clock = clock

    async def work(self, event: ValidatedListing) -> StepOutcome:
        """Return the outcome with the posts, and a job for each when they are to be fetched."""
        limit = event.job.options.limit or LISTED
        known = self._known(event, limit)
        if known is not None:
            return self._answer(event, known.listing, limit, "hit", self._note(event, known))
        try:
            found = await self._reader.list_posts(event.listing, event.job, limit)
        except ClipmillError as error:
            error.engine = self._versions()
            raise
        listing = self._dates.complete_listing(found)
        write = TableWrite(TABLE, event.listing.key, encode(self._row(event.job, listing, limit)))
        return self._answer(event, listing, limit, "miss", (write,))

    def _row(self, job: Job, listing: Listing, limit: int) -> KnownListing:
        now = self._clock()
        return KnownListing(
            expires_at=now + self._kept_seconds,
            fresh_until=now + self._life_seconds,
            request_ids=(job.request_id,),
            asked=limit,
            listing=listing,
        )

    def _note(self, event: ValidatedListing, known: KnownListing) -> tuple[TableWrite, ...]:
        """Return the row that also notes this request, when members are made of it."""
        name = event.job.request_id
        if event.job.action == "list" or name in known.request_ids:
            return ()
        noted = (*known.request_ids, name)[-NOTED_MAX:]
        row = msgspec.structs.replace(known, request_ids=noted)
        return (TableWrite(TABLE, event.listing.key, encode(row)),)

    def _known(self, event: ValidatedListing, limit: int) -> KnownListing | None:
        """Return what was listed for this very request, or a listing that will do for it."""
        row = self._read_row(event.listing.key)
        with suppress(MalformedMessageError):
            known = None if row is None else decode(row, KnownListing)
            if known is not None and (
                event.job.request_id in known.request_ids or self._serves(known, event.job, limit)
            ):
                return known
        return None

    def _serves(self, known: KnownListing, job: Job, limit: int) -> bool:
        enough = known.listing.complete or known.asked >= limit
        now = self._clock()
        # The end of a row from before the clock was set back can be further off than any life.
        is_fresh = now < known.fresh_until <= now + self._life_seconds
        return enough and not (job.options.refresh or job.page.outdated) and is_fresh

    def _answer(
        self,
        event: ValidatedListing,
        listing: Listing,
        limit: int,
        cache: CacheUse,
        writes: tuple[TableWrite, ...] = (),
    ) -> StepOutcome:
        shown = _first(listing, limit)
        members = () if event.job.action == "list" else self._members(event.job, shown)
        engine = self._versions() or UNKNOWN_ENGINE
        outcome = listed(event.job, shown, cache=cache, engine=engine, members=len(members))
        return Complete(outcome, writes, members)

    def _members(self, job: Job, listing: Listing) -> tuple[ValidatedVideo, ...]:
        platform = self._platforms.by_name(listing.platform)
        found = [(post, platform.parse_url(post.url)) for post in listing.entries]
        posts = [(post, video) for post, video in found if isinstance(video, VideoRef)]
        return tuple(
            ValidatedVideo(job=member_of(job, post, index, len(posts)), video=video)
            for index, (post, video) in enumerate(posts)
        )


def member_of(job: Job, post: ListedPost, index: int, size: int) -> Job:
    """Return the job of one post of a listing: a member of the batch that the request becomes."""
    return Job(
        request_id=f"{job.request_id}/{index}",
        url=post.url,
        action=job.action,
        options=msgspec.structs.replace(job.options, limit=None),
        received_at=job.received_at,
        trace_id=job.trace_id,
        deadline=job.deadline,
        priority=job.priority,
        attributes=job.attributes,
        retry_of=job.retry_of,
        reply=job.reply,
        batch=BatchMember(id=job.request_id, index=index, size=size),
        authenticate=job.authenticate,
    )


def _first(listing: Listing, limit: int) -> Listing:
    if len(listing.entries) <= limit:
        return listing
    return msgspec.structs.replace(listing, entries=listing.entries[:limit], complete=False)


def sweep_listings(context: StageContext) -> None:
    """Let go of listings that nobody may use any more, from now on."""
    table = context.tables[TABLE]

    def sweep() -> Sequence[Effect]:
        keys = no_longer_kept(dict(table.items()), time.time(), ROWS_BYTES_MAX)
        return [TableWrite(TABLE, key, None) for key in keys]

    context.sweeps.append((SWEEP_SECONDS, sweep))
