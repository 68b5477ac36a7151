"""Network attempts: as planned, as records for the monitor, and as client spans.

Event ids and span ids are the same for every copy of an event.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from schemas.attempts import AttemptRecord, NetworkAttempt, TrialRequest
from schemas.codec import encode
from schemas.errors import ClipmillError, Endpoint, ErrorCode
from schemas.job import Job
from schemas.redaction import redact
from schemas.signals import BREAKER
from streams.envelope import seal
from streams.records import Outgoing
from streams.topics import ATTEMPTS
from streams.tracing.context import span_digest
from streams.tracing.scope import SCOPE, failure_event
from streams.tracing.spans import Span, SpanAttributes, SpanEvent
from streams.tracing.spans import now as epoch_nanoseconds

CANCELLED = "cancelled"
"""Error type of the span of a cancelled attempt."""


@dataclass(frozen=True, slots=True)
class PlannedAttempt:
    """An attempt over one egress that is, or could be, made.

    Attributes:
        job: the request that it is made for.
        subject: the video's key, or the short link.
        endpoint: platform, operation and egress.
        step: the stage that makes it.
        trial: id of the granted trial; None when it is not a trial.
        part: distinguishes attempts of the job: the file's format, "" when there is one only.
        reported: its outcome counts for the breaker.
    """

    job: Job
    subject: str
    endpoint: Endpoint
    step: str
    trial: str | None = None
    part: str = ""
    reported: bool = True

    @property
    def breaker(self) -> str:
        """Name of its breaker, and key of its records."""
        return self.endpoint.key

    @property
    def state_key(self) -> str:
        """Key of its breaker's state in the shared state."""
        return f"{BREAKER}{self.breaker}"

    @property
    def trial_id(self) -> str:
        """Id of its trial, the same for every copy of the event: requests are idempotent."""
        base = f"{self.job.request_id}:{self.endpoint.operation}:{self.job.try_number}"
        return f"{base}:{self.part}" if self.part else base


def attempt_record(
    planned: PlannedAttempt,
    error: ClipmillError | None,
    seconds: float,
    now: datetime,
    *,
    cuts: int = 0,
) -> Outgoing:
    """Return the report of an attempt that ended now: an error, or None for success.

    ``cuts`` is the number of cuts of the rate that it was made at.
    """
    endpoint, job = planned.endpoint, planned.job
    attempt = NetworkAttempt(
        platform=endpoint.platform,
        operation=endpoint.operation,
        egress=endpoint.egress,
        request_id=job.request_id,
        subject=planned.subject,
        code=error.code if error else None,
        seconds=round(seconds, 6),
        at=now,
        retry=job.attempt_number(planned.step) > 1,
        trial=planned.trial,
        retry_after_seconds=error.retry_after if error else None,
        cuts=cuts,
    )
    return _seal_record(attempt, planned, "attempt")


def trial_record(planned: PlannedAttempt, now: datetime, *, withdrawn: bool = False) -> Outgoing:
    """Return the request for a trial of the attempt's breaker, or its withdrawal."""
    endpoint = planned.endpoint
    request = TrialRequest(
        platform=endpoint.platform,
        operation=endpoint.operation,
        egress=endpoint.egress,
        trial=planned.trial_id,
        at=now,
        withdrawn=withdrawn,
    )
    return _seal_record(request, planned, "trial", part=":withdrawn" if withdrawn else "")


def _seal_record(
    message: AttemptRecord, planned: PlannedAttempt, event: str, *, part: str = ""
) -> Outgoing:
    return seal(
        ATTEMPTS,
        planned.breaker,
        encode(message),
        kind=f"network.{event}.v1",
        step=planned.step,
        event_id=f"{planned.trial_id}:{event}{part}",
        request_id=planned.job.request_id,
        trace_id=planned.job.trace_id,
    )


@contextmanager
def attempt_span(endpoint: Endpoint, egress_host: str) -> Iterator[None]:
    """Record a span of the block, as a child of the processing span; no-op without one.

    Args:
        endpoint: platform, operation and egress.
        egress_host: host and port of the proxy, "" without one; no credentials.
    """
    scope = SCOPE.get()
    if scope is None or scope.recorder is None:
        yield
        return
    scope.attempts += 1
    span_id = span_digest(f"{scope.trace_id}:{scope.span_id}:attempt:{scope.attempts}")
    started, error, events = epoch_nanoseconds(), "", list[SpanEvent]()
    try:
        yield
    except BaseException as raised:
        error, reason = _failure(raised)
        events.append(failure_event(error, reason))
        raise
    finally:
        proxy: SpanAttributes = {"clipmill.egress.host": egress_host} if egress_host else {}
        scope.recorder.record(
            Span(
                name=f"{endpoint.operation} {endpoint.platform}",
                kind="client",
                context=scope.position(span_id, scope.trace_id),
                parent_id=scope.span_id,
                start=started,
                end=epoch_nanoseconds(),
                attributes={
                    "clipmill.platform": endpoint.platform,
                    "clipmill.operation": endpoint.operation,
                    "clipmill.egress": endpoint.egress,
                    **proxy,
                },
                events=tuple(events),
                error=error,
            )
        )


def _failure(raised: BaseException) -> tuple[str, str]:
    if isinstance(raised, ClipmillError):
        return raised.code.value, redact(raised.message)
    if isinstance(raised, asyncio.CancelledError):
        return CANCELLED, ""
    return ErrorCode.INTERNAL_BUG.value, type(raised).__name__
