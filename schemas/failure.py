"""What a failed step tells the error agent, and what is kept of a record that nobody can handle."""

import msgspec

from schemas.attempts import Operation
from schemas.codec import Moment
from schemas.errors import ErrorContext
from schemas.job import Job
from schemas.video import EngineVersions


class FailedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record that failed, byte for byte, so that it can be put back or kept as it was.

    Attributes:
        topic: logical name of the topic that it was read from, such as ``videos.validated``.
        partition: where it stood.
        offset: where it stood.
        timestamp: epoch seconds, set by its producer.
        key: its key, base64.
        value: its value, base64.
        headers: its headers in their order; values base64.
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
        job: whose it is, with the time that was spent.
        step: the stage that failed.
        error: what happened, as clients see it.
        failed_at: when.
        record: what the stage had read.
        retry_after_seconds: what the platform asked for.
        platform: where it was tried; None when no platform was reached.
        subject: the video's key, or the short link.
        operation: what was tried over the network; None when it was not about the network.
        egress: by which way out.
        permitted: False when nothing was tried because a circuit breaker is open.
        account: name of the account that was used.
        format_id: the format whose download failed.
        engine: versions that read the page.
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
