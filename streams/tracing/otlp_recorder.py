"""Span recorder: samples, encodes and queues spans, which the exporter sends in batches."""

import threading
from collections import deque
from collections.abc import Mapping

import msgspec
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from streams.observability.metrics import SPANS_DROPPED
from streams.tracing.context import KNOWN_FLAGS, TraceContext
from streams.tracing.otlp_encoding import encode_span
from streams.tracing.otlp_exporter import OtlpExporter, resource_of
from streams.tracing.spans import Span

DEFAULT_RATIO = 0.05
"""Sampling ratio of traces without a client's decision, when ``OTEL_TRACES_SAMPLER`` is not set:
traced, a cached request takes a fifth more CPU, and the collector stores 3 KB."""

_FLAGS = tuple(TraceFlags(flags) for flags in range(KNOWN_FLAGS + 1))


class QueueLimits(msgspec.Struct, frozen=True):
    """Limits of the queue; the defaults are those of the SDK.

    Attributes:
        spans: maximum number of queued spans; ``OTEL_BSP_MAX_QUEUE_SIZE``.
        batch: maximum number of spans in a request; ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE``.
        delay_ms: interval between two exports of fewer spans; ``OTEL_BSP_SCHEDULE_DELAY``.
    """

    spans: int = 2_048
    batch: int = 512
    delay_ms: int = 5_000

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "QueueLimits":
        """Return the limits of the environment; a value that is not positive is ignored."""
        names = {
            "spans": "OTEL_BSP_MAX_QUEUE_SIZE",
            "batch": "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            "delay_ms": "OTEL_BSP_SCHEDULE_DELAY",
        }
        texts = {name: environment.get(variable, "").strip() for name, variable in names.items()}
        return cls(
            **{name: int(text) for name, text in texts.items() if text.isdecimal() and int(text)}
        )


class OtlpRecorder:
    """Encodes spans and queues them for a thread that exports them; drops them when it is full.

    Spans are encoded before they are queued: what waits is small, and the thread does not take the
    interpreter from the event loop for tens of milliseconds.
    """

    def __init__(self, exporter: OtlpExporter, sampler: Sampler, limits: QueueLimits) -> None:
        self._exporter = exporter
        self._sampler = sampler
        self._limit = limits.spans
        self._batch = min(limits.batch, limits.spans)
        self._delay_seconds = limits.delay_ms / 1e3
        self._spans: deque[bytes] = deque()
        self._is_due = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="tracing-export", daemon=True)
        self._thread.start()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], version: str) -> "OtlpRecorder":
        """Create the recorder configured by the ``OTEL_`` variables.

        Args:
            environment: environment of the process; the SDK reads it too.
            version: version of clipmill.
        """
        exporter = OtlpExporter(environment, resource_of(version))
        return cls(exporter, sampler_of(environment), QueueLimits.of(environment))

    @property
    def sampler_name(self) -> str:
        """Human-readable name of the effective sampler."""
        return self._sampler.get_description()

    @property
    def queued(self) -> int:
        """Number of spans in the queue."""
        return len(self._spans)

    def samples(self, context: TraceContext) -> bool:
        """Return the sampling decision for a trace."""
        parent: Context | None = None
        if context.span_id:
            parent = set_span_in_context(NonRecordingSpan(_span_context(context)))
        trace_id = int(context.trace_id, 16)
        decision = self._sampler.should_sample(parent, trace_id, "request").decision
        return decision is Decision.RECORD_AND_SAMPLE

    def record(self, span: Span) -> None:
        """Queue a span; drop it when the queue is full."""
        queued = self.queued
        if queued >= self._limit:
            SPANS_DROPPED.labels("queue_full").inc()
            return
        self._spans.append(encode_span(span))
        if queued + 1 >= self._batch and not self._is_due.is_set():
            self._is_due.set()

    def close(self) -> None:
        """Export the queue and end the thread; may block for as long as the exporter retries."""
        self._is_closed = True
        self._is_due.set()
        self._thread.join()

    def abort(self) -> None:
        """Count the queued spans as dropped, and interrupt the exporter's backoff."""
        SPANS_DROPPED.labels("shutdown").inc(self.queued)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._is_closed:
            is_full = self._is_due.wait(self._delay_seconds)
            self._is_due.clear()
            least = self._batch if is_full and not self._is_closed else 1
            while len(self._spans) >= least:
                size = min(self._batch, len(self._spans))
                self._exporter.export([self._spans.popleft() for _ in range(size)])


def sampler_of(environment: Mapping[str, str]) -> Sampler:
    """Return the sampler of ``OTEL_TRACES_SAMPLER``; by default parent-based with a ratio."""
    if environment.get("OTEL_TRACES_SAMPLER", "").strip():
        return TracerProvider(shutdown_on_exit=False).sampler
    try:
        ratio = float(environment.get("OTEL_TRACES_SAMPLER_ARG") or DEFAULT_RATIO)
        return ParentBased(TraceIdRatioBased(ratio))
    except ValueError:
        return ParentBased(TraceIdRatioBased(DEFAULT_RATIO))


def _span_context(context: TraceContext) -> SpanContext:
    return SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=True,
        trace_flags=_FLAGS[context.flags],
        trace_state=TraceState.from_header([context.state]) if context.state else None,
    )
