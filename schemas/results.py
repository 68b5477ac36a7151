"""What a client gets, told apart by ``status``: one outcome per URL, one summary per batch."""

from typing import Literal

import msgspec

from schemas.codec import Moment
from schemas.errors import ErrorContext
from schemas.events import CacheUse
from schemas.files import StoredFile
from schemas.job import Attempt, Parking
from schemas.listing import Listing
from schemas.video import EngineVersions, VideoInfo

OutcomeStatus = Literal["completed", "rejected", "failed", "expired", "cancelled"]
"""Tags of the outcomes of one URL."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="status"):
    """What every result has.

    Attributes:
        request_id: the request's id, or ``<batch id>/<index>``.
        url: as the client gave it.
        received_at: when the request's record was written.
        finished_at: when this was decided.
        trace_id: W3C trace id that all records of the request share.
        attributes: the client's own, echoed.
        attempts: how often clipmill tried, 0 when nothing had to be tried.
        timings: seconds spent per step.
        retry_of: echoed.
        parked: waits that used up no attempt, such as those for an open circuit breaker.
        batch_id: id of the request that this was a member of; None outside a batch.
        batch_index: place in the batch, from 0.
        batch_size: members of the batch.
    """

    request_id: str
    url: str
    received_at: Moment
    finished_at: Moment
    trace_id: str
    attributes: dict[str, str] = {}
    attempts: int = 0
    timings: dict[str, float] = {}
    retry_of: str | None = None
    parked: Parking | None = None
    batch_id: str | None = None
    batch_index: int | None = None
    batch_size: int | None = None


class Completed(Outcome, frozen=True, kw_only=True, tag="completed"):
    """Done.

    Attributes:
        video: what the page says; None when it was a listing.
        listing: of a profile, collection or playlist its posts. When they are to be downloaded,
            each has an outcome of its own, ``<request id>/<index>``.
        members: how many of these outcomes there will be.
        files: what was fetched; empty for ``info`` and ``list``.
        partial: pictures of the post are not among the files: those of `video.missing_pictures`.
        silent: it is a video without sound: no format of the post has any.
        recovery: what failed on the way.
    """

    video: VideoInfo | None = None
    listing: Listing | None = None
    members: int = 0
    cache: CacheUse
    engine: EngineVersions
    files: tuple[StoredFile, ...] = ()
    partial: bool = False
    silent: bool = False
    recovery: tuple[Attempt, ...] = ()


class Rejected(Outcome, frozen=True, kw_only=True, tag="rejected"):
    """The request is not one: `error` names the field and the reason."""

    error: ErrorContext


class Failed(Outcome, frozen=True, kw_only=True, tag="failed"):
    """It cannot be done, or not any more after all retries.

    Attributes:
        error: what happened at last.
        engine: versions that read the page, or tried to; None when it did not come to that.
        recovery: what failed before.
    """

    error: ErrorContext
    engine: EngineVersions | None = None
    recovery: tuple[Attempt, ...] = ()


class Expired(Outcome, frozen=True, kw_only=True, tag="expired"):
    """The request's deadline passed before it was done."""

    error: ErrorContext


class Cancelled(Outcome, frozen=True, kw_only=True, tag="cancelled"):
    """The user took it back."""

    error: ErrorContext


Result = Completed | Rejected | Failed | Expired | Cancelled


class BatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Members of a batch by the status of their outcome.

    Attributes:
        undecided: members without an outcome when the ledger stopped waiting for them; 0 unless
            something was lost or the ledger's memory was exhausted.
    """

    completed: int = 0
    rejected: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    undecided: int = 0


class BatchFinished(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="batch_finished"
):
    """The end of a batch: its last member has its outcome. One such record per batch.

    A listing whose posts became requests of their own is a batch too; this record then comes
    beside the listing's own outcome, under the same ``request_id``.

    Attributes:
        request_id: the batch's id.
        batch_size: members of the batch.
        counts: these members by the status of their outcome.
        received_at: when the batch's record was written.
        finished_at: when the last member was decided.
        trace_id: W3C trace id that all records of the batch share.
        attributes: the client's own, echoed.
        retry_of: echoed.
    """

    request_id: str
    batch_size: int
    counts: BatchCounts
    received_at: Moment
    finished_at: Moment
    trace_id: str
    attributes: dict[str, str] = {}
    retry_of: str | None = None


PublishedResult = Result | BatchFinished
"""Everything on the results topic."""
