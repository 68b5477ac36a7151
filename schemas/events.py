"""What steps publish: events for the next step, failures for recovery, progress for clients.

Progress is published best-effort: a lost record has no effect on results.
"""

from typing import Annotated, Literal

import msgspec

from schemas.attempts import Operation
from schemas.codec import Moment
from schemas.errors import ErrorContext
from schemas.job import Job
from schemas.listing import ListingRef
from schemas.subtitles import MissingSubtitles, SubtitleSource
from schemas.video import EngineVersions, Extraction, SelectedSource, VideoInfo, VideoRef

_WholeNumber = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""JavaScript reads it exactly."""

_Number = Annotated[float, msgspec.Meta(ge=0, le=2**53)]

CacheUse = Literal["hit", "miss", "stale"]


class PendingLink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """validation to validation: a job to retry, as its short link could not be resolved yet."""

    job: Job


class ValidatedVideo(msgspec.Struct, frozen=True, kw_only=True):
    """validation to extraction: the video that the URL identifies."""

    job: Job
    video: VideoRef


class ValidatedListing(msgspec.Struct, frozen=True, kw_only=True):
    """validation to extraction: the profile, collection or playlist that the URL identifies."""

    job: Job
    listing: ListingRef


class ExtractedVideo(msgspec.Struct, frozen=True, kw_only=True):
    """extraction to selection: the content of the video's page."""

    job: Job
    video: VideoRef
    extraction: Extraction
    cache: CacheUse


class SelectedVideo(msgspec.Struct, frozen=True, kw_only=True):
    """selection to download: the files to fetch.

    One file for a video; for a photo post every picture, and its music.

    Attributes:
        subtitles: the requested ones that the page offers.
        missing_subtitles: the requested ones that it does not offer.
    """

    job: Job
    video: VideoRef
    info: VideoInfo
    sources: tuple[SelectedSource, ...]
    cache: CacheUse
    engine: EngineVersions
    subtitles: tuple[SubtitleSource, ...] = ()
    missing_subtitles: tuple[MissingSubtitles, ...] = ()


class FailedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record that failed, byte for byte, for a retry or a dead letter.

    Attributes:
        topic: logical name of its topic, such as ``videos.validated``.
        partition: its partition.
        offset: its offset.
        timestamp: epoch seconds, set by its producer.
        key: its key, base64.
        value: its value, base64.
        headers: its headers in order; values base64.
    """

    topic: str
    partition: int
    offset: int
    timestamp: float
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one step failed, or was not permitted.

    Attributes:
        job: the job, with the time spent on this step.
        step: the stage that failed.
        error: the failure, as published to clients.
        failed_at: time of the failure.
        record: the record that the stage consumed.
        retry_after_seconds: wait that the platform requested with Retry-After, if any.
        platform: platform of the attempt; None if none was reached.
        subject: the video's key, or the short link.
        operation: network operation of the attempt; None if the network was not involved.
        egress: egress of the attempt.
        permitted: False if no attempt was made: a circuit breaker, the rate limiter or the cooldown
            of an account held it back.
        account: name of the account used.
        format_id: the format whose download failed.
        engine: versions of the engine that read the page.
    """

    job: Job
    step: str
    error: ErrorContext
    failed_at: Moment
    record: FailedRecord
    retry_after_seconds: float | None = None
    platform: str | None = None
    subject: str | None = None
    operation: Operation | None = None
    egress: str | None = None
    permitted: bool = True
    account: str | None = None
    format_id: str | None = None
    engine: EngineVersions | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes so far of all files of a request together.

    Attributes:
        format_id: format of the file that received bytes last.
        bytes: bytes of all files, including files that were already in storage.
        total_bytes: size of all files; None while one of them is unknown.
        bytes_per_second: download rate over the network.
        eta_seconds: None while ``total_bytes`` is.
        files_done: files in storage.
        files_total: one for a video; for a photo post every picture, and its music.
    """

    request_id: str
    video_key: str
    format_id: str
    bytes: _WholeNumber
    total_bytes: _WholeNumber | None
    bytes_per_second: _Number
    eta_seconds: _Number | None
    files_done: _WholeNumber = 0
    files_total: _WholeNumber = 1
    at: Moment
