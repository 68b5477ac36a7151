"""What a failed step tells the error agent, and what is kept of a record that nobody can handle."""

import msgspec

from schemas.errors import ErrorContext
from schemas.job import Job
from schemas.moment import Moment


class FailedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The event that failed, so that it can be put back on the topic of its step.

    Attributes:
        topic: logical name of the topic, such as ``videos.validated``.
        kind: its CloudEvents type.
        key: its record key.
        body: its body, JSON.
    """

    topic: str
    kind: str
    key: str | None
    body: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one step failed."""

    job: Job
    step: str
    error: ErrorContext
    failed_at: Moment
    event: FailedEvent
    retry_after_seconds: float | None = None
