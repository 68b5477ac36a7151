"""Results for clients, discriminated by ``status``: one outcome per URL, one summary per batch."""

from typing import Literal

import msgspec

from schemas.codec import Moment
from schemas.errors import ErrorContext
from schemas.events import CacheUse
from schemas.files import Sidecar, StoredFile
from schemas.job import Attempt, Parking
from schemas.listing import Listing
from schemas.subtitles import MissingSubtitles
from schemas.video import EngineVersions, VideoInfo

OutcomeStatus = Literal["completed", "rejected", "failed", "expired", "cancelled"]
"""Tags of the outcomes of one URL."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="status"):
    """Fields of every outcome.

    Attributes:
        request_id: the request's id, or ``<batch id>/<index>``.
        url: as the client gave it.
        received_at: timestamp of the request's record.
        finished_at: time of the decision.
        trace_id: W3C trace id shared by all records of the request.
        attributes: the client's own, echoed.
        attempts: number of attempts, 0 if none was needed.
        timings: seconds spent per step.
        retry_of: echoed.
        parked: retries that used up no attempt, such as waits for an open circuit breaker.
        batch_id: id of the batch of which this is a member; None outside a batch.
        batch_index: position in the batch, from 0.
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
    """The request succeeded.

    Attributes:
        video: metadata of the post; None for a listing.
        listing: posts of a profile, collection or playlist. If they are downloaded, each has an
            outcome of its own, ``<request id>/<index>``.
        members: number of these outcomes.
        files: the stored files; empty for ``info`` and ``list``.
        partial: pictures of the post are missing in the files: those of `video.missing_pictures`.
        silent: a video without sound, as no format of the post has any.
        missing_sidecars: requested ones that the post does not have, or that could not be fetched.
        missing_subtitles: requested ones, each with the reason.
        recovery: the failed attempts before the success.
    """

    video: VideoInfo | None = None
    listing: Listing | None = None
    members: int = 0
    cache: CacheUse
    engine: EngineVersions
    files: tuple[StoredFile, ...] = ()
    partial: bool = False
    silent: bool = False
    missing_sidecars: tuple[Sidecar, ...] = ()
    missing_subtitles: tuple[MissingSubtitles, ...] = ()
    recovery: tuple[Attempt, ...] = ()


class Rejected(Outcome, frozen=True, kw_only=True, tag="rejected"):
    """The request is invalid: `error` names the field and the reason."""

    error: ErrorContext


class Failed(Outcome, frozen=True, kw_only=True, tag="failed"):
    """The request failed permanently, or its retries are exhausted.

    Attributes:
        error: the last failure.
        engine: versions of the engine that read the page, or tried to; None if none did.
        recovery: the failed attempts before it.
    """

    error: ErrorContext
    engine: EngineVersions | None = None
    recovery: tuple[Attempt, ...] = ()


class Expired(Outcome, frozen=True, kw_only=True, tag="expired"):
    """The request's deadline passed before it was completed."""

    error: ErrorContext


class Cancelled(Outcome, frozen=True, kw_only=True, tag="cancelled"):
    """The request was cancelled by the user."""

    error: ErrorContext


Result = Completed | Rejected | Failed | Expired | Cancelled


class BatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Members of a batch by the status of their outcome.

    Attributes:
        undecided: members without an outcome when the ledger stopped waiting for them; 0 unless
            records were lost or the ledger's memory was exhausted.
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
    """The summary of a batch, after the outcome of its last member. One record per batch.

    A listing whose posts became requests of their own is a batch too; its summary is published in
    addition to the listing's own outcome, under the same ``request_id``.

    Attributes:
        request_id: the batch's id.
        batch_size: members of the batch.
        counts: members by the status of their outcome.
        received_at: timestamp of the batch's record.
        finished_at: time of the last member's decision.
        trace_id: W3C trace id shared by all records of the batch.
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
