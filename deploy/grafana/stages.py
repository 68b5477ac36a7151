"""Board of the stages: throughput, duration, lag, condition."""

from deploy.grafana.model import Board, Panel, Query, Row, Variable
from deploy.grafana.panels import (
    INSTANCES,
    PAUSES,
    READINESS,
    heatmap,
    line,
    quantiles,
    states,
)
from deploy.grafana.promql import INSTANCE, STAGE, increase, largest, quantile, rate, total

_LAGGING = f'{STAGE},topic!~"retry[.].*"'

RECORDS = Row(
    "Records",
    (
        line(
            "Taken",
            rate("clipmill_stage_records_in_total", "stage", STAGE),
            "{{stage}}",
            unit="ops",
        ),
        line(
            "Written",
            rate("clipmill_stage_records_out_total", "stage", STAGE),
            "{{stage}}",
            unit="ops",
        ),
        line("In progress", total("clipmill_stage_in_progress", "stage", STAGE), "{{stage}}"),
        quantiles(
            "Latency from consuming a record to its acknowledgement",
            "clipmill_stage_duration_seconds",
            "stage",
            STAGE,
            width=12,
        ),
        heatmap("Duration of all records", "clipmill_stage_duration_seconds", STAGE, width=12),
        Panel(
            "Duration of a step by its outcome, p95",
            (
                Query(
                    quantile(0.95, "clipmill_step_duration_seconds", "step, outcome"),
                    "{{step}} {{outcome}}",
                ),
            ),
            width=12,
            unit="s",
        ),
        Panel(
            "Duration of a step by action and cache, p95",
            (
                Query(
                    quantile(0.95, "clipmill_step_duration_seconds", "step, action, cache"),
                    "{{step}} {{action}} {{cache}}",
                ),
            ),
            width=12,
            unit="s",
        ),
    ),
)

LAG = Row(
    "Lag and back-pressure",
    (
        line(
            "Lag by partition",
            largest("clipmill_stage_lag_records", "stage, topic, partition", _LAGGING),
            "{{stage}} {{topic}}-{{partition}}",
            width=12,
            page="pipeline",
        ),
        line(
            "Age of the oldest uncommitted record",
            largest("clipmill_stage_lag_seconds", "stage, topic", _LAGGING),
            "{{stage}} {{topic}}",
            unit="s",
            width=12,
            page="pipeline",
        ),
        line(
            "Backlog",
            largest("clipmill_stage_backlog_records", "stage", STAGE),
            "{{stage}}",
            width=12,
        ),
        line(
            "Consumed, not yet started",
            total("clipmill_stage_held_records", "stage", STAGE),
            "{{stage}}",
            width=12,
        ),
    ),
)

CONDITION = Row(
    "Condition",
    (
        states(
            "Ready",
            f"min by (stage, instance) (clipmill_stage_ready{{{STAGE}}})",
            "{{stage}} {{instance}}",
            READINESS,
            page="pipeline",
        ),
        states(
            "Intake",
            largest("clipmill_stage_intake_paused", "stage, instance", STAGE),
            "{{stage}} {{instance}}",
            PAUSES,
            page="overview",
        ),
        line(
            "Time since the last finished record",
            "time() - max by (stage) (clipmill_stage_last_processed_timestamp_seconds"
            f"{{{STAGE}}} > 0)",
            "{{stage}}",
            unit="s",
            description="Meaningless without lag.",
        ),
        line(
            "Restarts after a crash",
            increase("clipmill_stage_restarts_total", "stage", STAGE),
            "{{stage}}",
        ),
        line(
            "Unexpected exceptions",
            increase("clipmill_stage_bugs_total", "stage", STAGE),
            "{{stage}}",
        ),
        Panel(
            "Versions",
            (Query(largest("clipmill_build_info", "instance, version", INSTANCE)),),
            kind="table",
            description="Version of clipmill by instance.",
            page="pipeline",
        ),
    ),
)

HEARTBEATS = Row(
    "Heartbeats",
    (
        line(
            "Heartbeat",
            largest("clipmill_heartbeat_age_seconds", "stage", INSTANCE),
            "{{stage}}",
            unit="s",
        ),
        Panel(
            "From publication to processing, p95",
            (
                Query(
                    quantile(0.95, "clipmill_heartbeat_duration_seconds", "stage", STAGE),
                    "{{stage}}",
                ),
            ),
            unit="s",
        ),
        line(
            "Time since the last publication",
            f"time() - max(clipmill_heartbeat_last_sent_timestamp_seconds{{{INSTANCE}}})",
            unit="s",
            description="Without a publication no stalled stage is detected.",
        ),
    ),
)

KAFKA = Row(
    "Kafka",
    (
        quantiles("Acknowledgement of a produce request", "clipmill_producer_ack_seconds"),
        Panel(
            "Records in a batch",
            (
                Query(quantile(0.5, "clipmill_producer_batch_records"), "p50"),
                Query(quantile(0.95, "clipmill_producer_batch_records"), "p95"),
            ),
        ),
        Panel(
            "Bytes in a batch",
            (
                Query(quantile(0.5, "clipmill_producer_batch_bytes"), "p50"),
                Query(quantile(0.95, "clipmill_producer_batch_bytes"), "p95"),
            ),
            unit="bytes",
        ),
    ),
)

STAGES = Board(
    "stages",
    "Stages",
    "Records, lag and condition of each stage.",
    (RECORDS, LAG, CONDITION, HEARTBEATS, KAFKA),
    (INSTANCES, Variable("stage", "clipmill_stage_ready")),
)
