"""Client span of one network attempt."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import ClipmillError, Endpoint, ErrorCode
from schemas.redaction import redact
from streams.tracing.context import span_digest
from streams.tracing.scope import SCOPE, failure_event
from streams.tracing.spans import Attributes, Span, SpanEvent, now

CANCELLED = "cancelled"


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
    started, error, events = now(), "", list[SpanEvent]()
    try:
        yield
    except BaseException as raised:
        error, reason = _failure(raised)
        events.append(failure_event(error, reason))
        raise
    finally:
        proxy: Attributes = {"clipmill.egress.host": egress_host} if egress_host else {}
        scope.recorder.record(
            Span(
                name=f"{endpoint.operation} {endpoint.platform}",
                kind="client",
                context=scope.position(span_id, scope.trace_id),
                parent_id=scope.span_id,
                start=started,
                end=now(),
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
