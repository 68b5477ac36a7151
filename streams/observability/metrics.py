"""Registry of all metrics. Label cardinality is bounded: never a URL, an id or a text.

Counters with closed label sets get all their series when their component starts (`start_at_zero`):
Prometheus' ``increase()`` misses the first increment of a series that appears at 1.
"""

import re
import time
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from typing import TypeVar

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from streams.observability.logs import TRACE

# The `_created` series of counters and histograms: 19 % of all series, and no query reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
    REGISTRY.register(collector)

DURATION_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 300, 900, 1800),
)
"""Seconds: from a cache hit (tens of milliseconds) to the longest normal download."""

SHORT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds: for latencies that are normally milliseconds, such as a Kafka acknowledgement."""

SIZE_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000)
"""Records per batch; a batch has at most `streams.cluster.producer.BATCH_BYTES`."""

BYTES_BUCKETS = tuple(2**power for power in range(9, 22))
"""Bytes per batch: 512 B to 1 MiB, and one bucket more for the largest record of a topic."""

M = TypeVar("M", Counter, Gauge, Histogram)

_TRACE_ID = re.compile(r"[0-9a-f]{32}")


def _counter(name: str, help_text: str, *labels: str) -> Counter:
    return Counter(f"clipmill_{name}", help_text, labels, registry=REGISTRY)


def _gauge(name: str, help_text: str, *labels: str) -> Gauge:
    return Gauge(f"clipmill_{name}", help_text, labels, registry=REGISTRY)


def _histogram(
    name: str, help_text: str, *labels: str, buckets: Iterable[float] = DURATION_BUCKETS
) -> Histogram:
    return Histogram(
        f"clipmill_{name}", help_text, labels, registry=REGISTRY, buckets=tuple(buckets)
    )


@cache
def series(metric: M, *labels: str) -> M:
    """Return the series of a metric with closed label sets; its `labels` takes 1 us more."""
    return metric.labels(*labels)


def start_at_zero(counter: Counter, *values: Iterable[str]) -> None:
    """Create the series of a counter for all combinations of its label values."""
    for labels in product(*map(tuple, values)):
        counter.labels(*labels)


def observe(histogram: Histogram, amount: float, trace_id: str | None = None) -> None:
    """Observe with a trace id as exemplar, by default that of the record in process.

    Costs 2 us more than without. Exemplars are exposed in the OpenMetrics format only.
    """
    trace = TRACE.get() if trace_id is None else trace_id
    # The trace id may come from a client's header, unvalidated.
    exemplar = {"trace_id": trace} if trace and _TRACE_ID.fullmatch(trace) else None
    histogram.observe(amount, exemplar)


RECORDS_IN = _counter("stage_records_in_total", "Records taken from the source topics.", "stage")
RECORDS_OUT = _counter("stage_records_out_total", "Records written and acknowledged.", "stage")
IN_PROGRESS = _gauge("stage_in_progress", "Records being processed.", "stage")
DURATION = _histogram("stage_duration_seconds", "Time from reading a record to its ack.", "stage")
LAST_PROCESSED = _gauge(
    "stage_last_processed_timestamp_seconds", "When a record was last finished.", "stage"
)
BUILD_INFO = _gauge("build_info", "1; the version of clipmill as label.", "version")
BUGS = _counter("stage_bugs_total", "Unexpected exceptions; each one is also on errors.", "stage")
RESTARTS = _counter("stage_restarts_total", "Restarts of a stage after a crash.", "stage")
READY = _gauge("stage_ready", "1 when the stage has its partitions and tables.", "stage")
INTAKE_PAUSED = _gauge("stage_intake_paused", "1 while the intake of the stage is paused.", "stage")
BACKLOG = _gauge(
    "stage_backlog_records", "Records of its input topic that a stage has not finished.", "stage"
)
HELD = _gauge("stage_held_records", "Records consumed and not yet processed.", "stage")
LAG_RECORDS = _gauge(
    "stage_lag_records",
    "End offset less committed offset of an assigned partition.",
    *("stage", "topic", "partition"),
)
LAG_SECONDS = _gauge(
    "stage_lag_seconds",
    "Age of the oldest record of an assigned partition that is not committed; 0 without lag.",
    *("stage", "topic", "partition"),
)
HEARTBEAT_AGE = _gauge(
    "heartbeat_age_seconds",
    "Longest time that a partition of the stage has not committed its heartbeats; 0 while all do.",
    "stage",
)
HEARTBEAT_DURATION = _histogram(
    "heartbeat_duration_seconds",
    "Time from the publication of a heartbeat until the stage processes it.",
    "stage",
)
HEARTBEAT_SENT = _gauge(
    "heartbeat_last_sent_timestamp_seconds", "When this process last published heartbeats, else 0."
)
TABLE_ROWS = _gauge("table_rows", "Rows of a table in this process.", "stage", "table")
TABLE_BYTES = _gauge("table_bytes", "Bytes of the keys and rows of a table.", "stage", "table")
CHANGELOG_LAG = _gauge(
    "table_changelog_lag_records",
    "Records of its changelog that a table has not applied yet during recovery.",
    *("stage", "table"),
)

RESULTS = _counter("results_total", "Outcomes decided.", "status", "error_type")
OUTCOMES_DROPPED = _counter(
    "outcomes_dropped_total",
    "Discarded outcomes of decided requests, by reason: copy, late, repeated, unreadable_row.",
    "reason",
)
REPEATED_REQUESTS = _counter(
    "repeated_requests_total",
    "Requests with an id in use, which get no outcome, by content: same or other.",
    "content",
)
BATCHES = _counter("batches_finished_total", "Batches whose last member was decided.")
REPLIES_REDIRECTED = _counter(
    "replies_redirected_total",
    "Results that went to the results topic: reply topic unavailable, or result too large.",
    "reason",
)
END_TO_END = _histogram(
    "request_duration_seconds",
    "Time from request to result, by action and by use of a cache for the page.",
    *("status", "action", "cache"),
)
STEP_DURATION = _histogram(
    "step_duration_seconds",
    "Duration of a step for one request.",
    *("step", "action", "cache", "outcome"),
)
OPEN_REQUESTS = _gauge("requests_open", "Requests without an outcome, of this ledger.")
FAILURES = _counter("failures_total", "Failed attempts.", "step", "error_type")
RETRIES = _counter("retries_total", "Retries scheduled.", "delay", "error_type")
RETRY_ATTEMPTS = _counter(
    "retry_attempts_total",
    "Retries that use up an attempt, by its number: 1 is the first retry of the step.",
    *("step", "attempt"),
)
DEAD_LETTERS = _counter(
    "dead_letters_total", "Records published to the dead-letter topic.", "reason"
)
SPANS_DROPPED = _counter("trace_spans_dropped_total", "Spans that were not exported.", "reason")
UNDECODABLE_BATCHES = _counter(
    "undecodable_batches_total", "Record batches that could not be decoded.", "topic"
)
OFFSET_RESETS = _counter(
    "offset_resets_total",
    "Partitions read from their beginning: their log was truncated, or records expired unread.",
    "topic",
    "reason",
)
PARKED = _gauge("parked_events", "Events waiting in the delay topics.", "delay")
CACHE_REQUESTS = _counter(
    "cache_requests_total",
    "Lookups by level and outcome.",
    "stage",
    "cache",
    "level",
    "outcome",
)
CACHE_EVICTIONS = _counter(
    "cache_evictions_total", "Evictions by reason.", "stage", "cache", "reason"
)
CACHE_ENTRIES = _gauge("cache_entries", "Entries of a cache.", "stage", "cache", "level")
CACHE_BYTES = _gauge("cache_bytes", "Memory of a cache, estimated.", "stage", "cache", "level")
SHARED_CACHE_CALLS = _counter(
    "shared_cache_calls_total", "Calls of the shared cache.", "stage", "operation", "outcome"
)
BYTES = _counter("downloaded_bytes_total", "Bytes of finished files.", "platform")
EGRESS_BYTES = _counter(
    "egress_received_bytes_total",
    "Bytes of media as they arrive, also of downloads that fail later.",
    *("platform", "egress"),
)
PROBES = _counter(
    "probes_total",
    "Finished files that were verified: sound, damaged, unknown (kept), away (kept).",
    "outcome",
)
BREAKER_STATE = _gauge(
    "breaker_state",
    "0 closed, 1 half-open, 2 open, 3 forced open.",
    "platform",
    "operation",
    "egress",
)
BREAKER_TRANSITIONS = _counter(
    "breaker_transitions_total", "Changes of state.", "platform", "operation", "egress", "state"
)
NOT_PERMITTED = _counter(
    "not_permitted_total", "Attempts that an open breaker rejected.", "platform", "operation"
)
ATTEMPT_ERRORS = _gauge(
    "attempt_error_ratio",
    "Share of the attempts in the window that failed with a code.",
    "platform",
    "operation",
    "egress",
    "error_type",
)
TASKS_RUNNING = _gauge("tasks_running", "Network operations in flight.", "operation")
TASKS_WAITING = _gauge("tasks_waiting", "Network operations that wait for a slot.", "operation")
TASKS_LIMIT = _gauge("tasks_limit", "Maximum of concurrent network operations.", "operation")
RATE_LIMIT = _gauge(
    "rate_limit_per_second",
    "Rate limit of all workers together, in requests per second.",
    "platform",
    "operation",
    "egress",
)
RATE_ALLOWED = _gauge(
    "rate_allowed_per_second",
    "Present rate limit of this process, in requests per second.",
    "platform",
    "operation",
    "egress",
)
RATE_WAIT = _counter(
    "rate_wait_seconds_total",
    "Time that requests waited for the rate limiter, slots included.",
    "platform",
    "operation",
    "egress",
)
RATE_POSTPONED = _counter(
    "rate_postponed_total",
    "Requests parked because the wait for the rate limiter was too long.",
    "platform",
    "operation",
    "egress",
)
RECOVERIES = _counter(
    "recoveries_total", "Requests completed after a strategy was tried.", "strategy", "error_type"
)
STRATEGIES = _counter("strategies_total", "Strategies chosen.", "strategy", "error_type")
OLDEST_PARKED = _gauge("oldest_parked_seconds", "Age of the event that waits longest.", "delay")
DELAY_LATENESS = _histogram("delay_lateness_seconds", "How long after its due time.", "delay")
COMMANDS_TAKEN = _counter("commands_total", "Commands by outcome.", "command", "outcome")
REPLAYS = _counter("dead_letter_replays_total", "Dead letters replayed.", "step")
ENGINE_PROCESSES = _gauge("engine_processes", "Running engine processes.")
ENGINE_RESTARTS = _gauge("engine_restarts", "Engine processes replaced since the start.")
ENGINE_INFO = _gauge("engine_info", "1; versions as labels.", "yt_dlp", "curl_cffi")
ENGINE_IMPERSONATION = _gauge(
    "engine_impersonation", "1 when the engine's requests can impersonate a browser, else 0."
)
ENGINE_CHALLENGE_SECONDS = _histogram(
    "engine_challenge_seconds",
    "Time that a page's proof-of-work challenge took, waits for other challenges included.",
)
ENGINE_NATIVE_PROOF_OF_WORK = _gauge(
    "engine_native_proof_of_work",
    "1 when the compiled library computes proofs of work, 0 when Python does.",
)
PRODUCER_BATCH_RECORDS = _histogram(
    "producer_batch_records", "Records of a batch that was sent.", buckets=SIZE_BUCKETS
)
PRODUCER_BATCH_BYTES = _histogram(
    "producer_batch_bytes", "Bytes of a batch that was sent.", buckets=BYTES_BUCKETS
)
PRODUCER_ACK_SECONDS = _histogram(
    "producer_ack_seconds",
    "Time from sending a produce request to its acknowledgement by all replicas.",
    buckets=SHORT_BUCKETS,
)
LOOP_DELAY = _histogram(
    "event_loop_delay_seconds",
    "How much later than asked for a timer of an event loop fires.",
    "thread",
    buckets=SHORT_BUCKETS,
)
STORAGE_SECONDS = _histogram(
    "storage_operation_seconds",
    "Duration of a successful operation of the storage of finished files.",
    "operation",
)
STORAGE_ERRORS = _counter(
    "storage_errors_total", "Failed operations of the storage.", "operation", "cause"
)
STORAGE_BYTES = _counter(
    "storage_bytes_total", "Bytes of finished files, written or read.", "direction"
)
FILES_REMOVED = _counter("files_removed_total", "Stored files that retention removed.", "cause")
FILES_REMOVED_BYTES = _counter(
    "files_removed_bytes_total", "Bytes of the stored files that retention removed.", "cause"
)
STORED_FILES = _gauge("stored_files", "Stored files, at the last check of retention.")
STORED_BYTES = _gauge("stored_bytes", "Bytes of all stored files, at the last check of retention.")
RETENTION_CHECKED = _gauge(
    "retention_checked_timestamp_seconds", "When retention last checked all stored files."
)
STORAGE_SHARED_BYTES = _counter(
    "storage_shared_bytes_total", "Bytes that were not stored again: another file has the same."
)
DISK_FREE = _gauge("disk_free_bytes", "Free bytes where files, or their workspaces, go.")
MEMORY = _gauge("memory_bytes", "Memory in use, shared pages counted once.", "process")
MEMORY_LIMIT = _gauge("memory_limit_bytes", "Memory that all processes may use together.")
MEMORY_RELIEFS = _counter("memory_reliefs_total", "Cache drops under memory pressure.")
MEMORY_TREND = _gauge(
    "memory_trend_bytes_per_hour", "Lasting growth of memory over the window.", "process"
)
OPEN_FILES = _gauge("open_files", "Open file descriptors.", "process")
THREADS = _gauge("threads", "Threads.", "process")
PLUGIN_TROUBLES = _counter(
    "plugin_troubles_total",
    "Hooks of plug-ins that raised or were slow, and plug-ins that are off.",
    "plugin",
    "trouble",
)
REQUEST_SECONDS = _histogram(
    "request_seconds", "Duration of one network attempt.", "platform", "operation", "outcome"
)
REQUESTS_IN_FLIGHT = _gauge(
    "requests_in_flight", "Network attempts in flight.", "platform", "operation"
)
REQUEST_QUANTILE = _gauge(
    "request_quantile_seconds",
    "Time within which this share of the latest attempts ended.",
    "platform",
    "operation",
    "quantile",
)
ACCOUNT_HEALTHY = _gauge(
    "account_healthy", "1 when an account may be used to log in.", "platform", "account"
)
ACCOUNT_LAST_SUCCESS = _gauge(
    "account_last_success_timestamp_seconds",
    "When a page that needs a login was last read with an account.",
    "platform",
    "account",
)
ACCOUNT_EXPIRY = _gauge(
    "account_cookie_expiry_timestamp_seconds",
    "When the login of an account ends by itself.",
    "platform",
    "account",
)
ACCOUNT_UNSAVED = _gauge(
    "account_unsaved",
    "1 while the renewed cookies of an account cannot be written to its file.",
    "platform",
    "account",
)
ACCOUNT_USES = _counter(
    "account_uses_total", "Pages read with an account.", "platform", "account", "outcome"
)


class StageMetrics:
    """Metrics of one stage with the label bound, so that their series exist from the start."""

    def __init__(self, stage: str) -> None:
        self.records_in = RECORDS_IN.labels(stage)
        self.records_out = RECORDS_OUT.labels(stage)
        self.in_progress = IN_PROGRESS.labels(stage)
        self.duration = DURATION.labels(stage)
        self.last_processed = LAST_PROCESSED.labels(stage)
        self.bugs = BUGS.labels(stage)
        self.restarts = RESTARTS.labels(stage)
        self.ready = READY.labels(stage)
        self.heartbeat = HEARTBEAT_DURATION.labels(stage)

    def records_finished(self, started: Sequence[float], written: int) -> None:
        """Count completed records; ``started`` are their `time.perf_counter`."""
        self.records_out.inc(written)
        now = time.perf_counter()
        for each in started:
            observe(self.duration, now - each)
        self.last_processed.set_to_current_time()
