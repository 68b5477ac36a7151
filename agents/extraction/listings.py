"""Listings: the posts of a profile, collection or playlist.

Part of the extraction stage. ``list`` completes with the posts; ``download`` and ``info`` also
start a request for each post, a member of the batch that the request becomes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from agents.caching.metadata import UploadDates
from agents.caching.row_expiry import keys_to_evict
from agents.extraction.page_reader import PageReader
from agents.pipeline.results import listing_result
from agents.pipeline.step import Complete, StepOutcome
from agents.platforms.registry import Platforms
from schemas.codec import MalformedMessageError, decode, encode
from schemas.errors import ClipmillError
from schemas.events import CacheUse, ValidatedListing, ValidatedVideo
from schemas.job import BatchMember, Job
from schemas.listing import ListedPost, Listing
from schemas.video import EngineVersions, VideoRef
from streams.records import Effect, TableWrite, tombstones
from streams.stage import StageContext

TABLE = "listings"

ROWS_BYTES_MAX = 16 * 2**20
"""Bytes of all rows of one process: 80 listings of the greatest length, or thousands of typical
ones; a post has 200 bytes."""

SWEEP_SECONDS = 60.0

REQUEST_IDS_MAX = 32
"""Request ids in a row: only the latest requests may still be uncommitted and so rerun."""

DEFAULT_LIMIT = 100
"""Posts returned for a request without a limit."""

UNKNOWN_ENGINE = EngineVersions(yt_dlp="", curl_cffi="")


class ListingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row: a listing, and the requests that started members from it.

    Attributes:
        expires_at: epoch second at which the row is deleted.
        fresh_until: epoch second up to which it serves other requests.
        request_ids: the latest requests that started members from this listing.
        asked: the limit with which the posts were listed.
        listing: the result.
    """

    expires_at: float
    fresh_until: float
    request_ids: tuple[str, ...]
    asked: int
    listing: Listing


class ListingWork:
    """The stage's step for listings.

    Idempotent under redelivery: the row is acknowledged before any member is published, so a rerun
    of an uncommitted event starts the same members, unless another request refreshed the same
    listing in between.

    Args:
        platforms: the installed platforms.
        reader: lists posts.
        read_row: reads a row of the table.
        ttl_seconds: how long a listing serves other requests.
        retention_seconds: how long it is kept for reruns of its own requests.
        dates: cache of upload dates.
        versions: returns the engine versions, None while unknown.
        clock: epoch seconds.
    """

    def __init__(
        self,
        platforms: Platforms,
        reader: PageReader,
        read_row: Callable[[str], bytes | None],
        *,
        ttl_seconds: float,
        retention_seconds: float = 86_400.0,
        dates: UploadDates | None = None,
        versions: Callable[[], EngineVersions | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._platforms = platforms
        self._reader = reader
        self._read_row = read_row
        self._ttl_seconds = ttl_seconds
        self._retention_seconds = retention_seconds
        self._dates = dates or UploadDates()
        self._versions = versions
        self._clock = clock

    async def work(self, event: ValidatedListing) -> StepOutcome:
        """Complete with the posts, and with a job for each unless the action is ``list``."""
        limit = event.job.options.limit or DEFAULT_LIMIT
        known = self._lookup(event, limit)
        if known is not None:
            return self._to_outcome(
                event, known.listing, limit, "hit", self._with_request(event, known)
            )
        try:
            found = await self._reader.list_posts(event.listing, event.job, limit)
        except ClipmillError as error:
            error.engine = self._versions()
            raise
        listing = self._dates.complete_listing(found)
        write = TableWrite(TABLE, event.listing.key, encode(self._row(event.job, listing, limit)))
        return self._to_outcome(event, listing, limit, "miss", (write,))

    def _row(self, job: Job, listing: Listing, limit: int) -> ListingRow:
        now = self._clock()
        return ListingRow(
            expires_at=now + self._retention_seconds,
            fresh_until=now + self._ttl_seconds,
            request_ids=(job.request_id,),
            asked=limit,
            listing=listing,
        )

    def _with_request(self, event: ValidatedListing, known: ListingRow) -> tuple[TableWrite, ...]:
        """Return the row with this request id, when the request starts members."""
        request_id = event.job.request_id
        if event.job.action == "list" or request_id in known.request_ids:
            return ()
        latest = (*known.request_ids, request_id)[-REQUEST_IDS_MAX:]
        row = msgspec.structs.replace(known, request_ids=latest)
        return (TableWrite(TABLE, event.listing.key, encode(row)),)

    def _lookup(self, event: ValidatedListing, limit: int) -> ListingRow | None:
        """Return the listing of this request's earlier run, or one fresh enough to serve it."""
        row = self._read_row(event.listing.key)
        with suppress(MalformedMessageError):
            known = None if row is None else decode(row, ListingRow)
            if known is not None and (
                event.job.request_id in known.request_ids or self._serves(known, event.job, limit)
            ):
                return known
        return None

    def _serves(self, known: ListingRow, job: Job, limit: int) -> bool:
        enough = known.listing.complete or known.asked >= limit
        now = self._clock()
        # After the clock was set back, a row can expire later than any TTL allows.
        is_fresh = now < known.fresh_until <= now + self._ttl_seconds
        return enough and not (job.options.refresh or job.page.outdated) and is_fresh

    def _to_outcome(
        self,
        event: ValidatedListing,
        listing: Listing,
        limit: int,
        cache: CacheUse,
        writes: tuple[TableWrite, ...] = (),
    ) -> StepOutcome:
        truncated = _truncate(listing, limit)
        members = () if event.job.action == "list" else self._members(event.job, truncated)
        engine = self._versions() or UNKNOWN_ENGINE
        outcome = listing_result(
            event.job, truncated, cache=cache, engine=engine, members=len(members)
        )
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
    """Return the job of one post of a listing, a member of the batch that the request becomes."""
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


def _truncate(listing: Listing, limit: int) -> Listing:
    if len(listing.entries) <= limit:
        return listing
    return msgspec.structs.replace(listing, entries=listing.entries[:limit], complete=False)


def sweep_listings(context: StageContext) -> None:
    """Schedule the sweep of expired listings."""
    table = context.tables[TABLE]

    def sweep() -> Iterator[Sequence[Effect]]:
        evicted = keys_to_evict(table.slices, time.time(), ROWS_BYTES_MAX)
        return (tombstones(TABLE, keys) for keys in evicted)

    context.periodic.append((SWEEP_SECONDS, sweep))
