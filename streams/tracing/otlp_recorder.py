"""Span recorder: samples, encodes and queues spans, which the exporter sends in batches."""

from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
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
from streams.tracing.otlp_exporter import EncodedSpan, OtlpExporter, resource_of
from streams.tracing.spans import Span

DEFAULT_RATIO = 0.05
"""Sampling ratio of traces without a client's decision, when ``OTEL_TRACES_SAMPLER`` is not set:
traced, a cached request takes a fifth more CPU, and the collector stores 3 KB."""

QUEUE_SPANS = 2_048
"""Queue size in spans when ``OTEL_BSP_MAX_QUEUE_SIZE`` is not set: the SDK's default."""

_FLAGS = tuple(TraceFlags(flags) for flags in range(KNOWN_FLAGS + 1))


class OtlpRecorder:
    """Encodes spans and queues them; drops them when the queue is full.

    Spans are encoded here, not in the thread of the queue: what waits is small, and that thread
    does not take the interpreter from the event loop for tens of milliseconds.
    """

    def __init__(self, exporter: OtlpExporter, sampler: Sampler, queue_spans: int) -> None:
        self._exporter = exporter
        self._sampler = sampler
        self._queue_spans = queue_spans
        self._recorded = 0
        self._processor = BatchSpanProcessor(exporter, max_queue_size=queue_spans)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], version: str) -> "OtlpRecorder":
        """Create the recorder configured by the ``OTEL_`` variables.

        Args:
            environment: environment of the process; the SDK reads it too.
            version: version of clipmill.
        """
        queue = environment.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
        spans = int(queue) if queue.isdecimal() and int(queue) else QUEUE_SPANS
        exporter = OtlpExporter(environment, resource_of(version))
        return cls(exporter, sampler_of(environment), spans)

    @property
    def sampler_name(self) -> str:
        """Human-readable name of the effective sampler."""
        return self._sampler.get_description()

    @property
    def queued(self) -> int:
        """Number of spans in the queue."""
        return self._recorded - self._exporter.dequeued

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
        if self.queued >= self._queue_spans:
            SPANS_DROPPED.labels("queue_full").inc()
            return
        self._recorded += 1
        self._processor.on_end(EncodedSpan(encode_span(span)))

    def close(self) -> None:
        """Flush the queue and shut down; may block for as long as the exporter retries."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def abort(self) -> None:
        """Shut down without flushing; count the queued spans as dropped."""
        SPANS_DROPPED.labels("shutdown").inc(self.queued)
        self._exporter.shutdown()


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
