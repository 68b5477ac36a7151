"""Failures of steps, the input of recovery, each with the record that failed."""

import msgspec

from schemas.attempts import Operation
from schemas.codec import Moment
from schemas.errors import ErrorContext
from schemas.job import Job
from schemas.video import EngineVersions


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
        permitted: False if no attempt was made, as a circuit breaker is open.
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
