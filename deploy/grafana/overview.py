"""Overview board: rate, success, latency, lag, firing alerts."""

from deploy.grafana.model import Board, Link, Panel, Query, Row
from deploy.grafana.panels import (
    FAILED_REQUESTS,
    INSTANCES,
    READINESS,
    line,
    quantiles,
    stat,
    states,
)
from deploy.grafana.promql import INSTANCE, LAGGING, increase, largest, quantile, rate, total

_DECIDED = rate("clipmill_results_total", where=f'{INSTANCE},status!~"rejected|cancelled"')
_UNSERVED = rate(
    "clipmill_results_total",
    where=f'{INSTANCE},status=~"failed|expired",'
    'error_type!~"content[.].*|request[.](invalid|too_large|cancelled)"',
)
_COMPLETED = f'{INSTANCE},status="completed"'
_LAG = (
    f"sum by (stage) (max by (stage, topic, partition) (clipmill_stage_lag_records{{{LAGGING}}}))"
)

NOW = Row(
    "Now",
    (
        stat("Results", rate("clipmill_results_total"), unit="reqps"),
        stat(
            "Served",
            f"1 - ({_UNSERVED} or on () vector(0)) / ({_DECIDED} > 0) or vector(1)",
            description="Share of the outcomes that are not caused by the service; 1 without"
            " traffic. Content errors of platforms count as served.",
            unit="percentunit",
            page="failures",
        ),
        stat(
            "Latency, p95",
            f"{quantile(0.95, 'clipmill_request_duration_seconds', where=_COMPLETED)} >= 0"
            " or on () vector(0)",
            unit="s",
            warn=60,
            alarm=300,
        ),
        stat("Open requests", total("clipmill_requests_open"), page="overview"),
        stat(
            "Lag",
            f"sum({_LAG})",
            description="Lag of all stages together.",
            warn=1_000,
            page="pipeline",
        ),
        stat(
            "Oldest record",
            largest("clipmill_stage_lag_seconds", where=LAGGING),
            unit="s",
            warn=300,
            alarm=1_800,
            page="pipeline",
        ),
        stat("Parked", total("clipmill_parked_events"), warn=100, page="?state=parked"),
        stat(
            "Oldest parked",
            largest("clipmill_oldest_parked_seconds"),
            unit="s",
            warn=3_600,
            page="?state=parked",
        ),
        stat(
            "Dead letters in a day",
            increase("clipmill_dead_letters_total", window="24h"),
            warn=1,
            page="deadletters",
        ),
        stat(
            "Breakers open",
            "count(max by (platform, operation, egress)"
            f" (clipmill_breaker_state{{{INSTANCE}}}) >= 2) or on () vector(0)",
            description="Endpoints whose circuit breaker is open.",
            warn=1,
            page="breakers",
        ),
        stat(
            "Workers",
            f'sum(up{{job="clipmill",{INSTANCE}}})',
            description="Workers that Prometheus can scrape.",
            page="pipeline",
        ),
        stat(
            "Heartbeat",
            largest("clipmill_heartbeat_age_seconds"),
            unit="s",
            warn=15,
            alarm=30,
            page="pipeline",
        ),
    ),
)

WRONG = Row(
    "Firing alerts",
    (
        Panel(
            "Alerts",
            (
                Query(
                    "sum by (alertname, severity, stage, platform, reason)"
                    ' (ALERTS{alertname=~"Clipmill.+",alertstate="firing"})'
                ),
            ),
            kind="table",
            width=12,
            description="A click on an alert opens its runbook.",
            link=Link("Runbook", "${runbooks:raw}/${__data.fields.alertname}.md"),
            page="overview",
        ),
        states(
            "Stages ready",
            f"min by (stage) (clipmill_stage_ready{{{INSTANCE}}})",
            "{{stage}}",
            READINESS,
            width=12,
            description="A stage is ready if all its workers are.",
            page="pipeline",
        ),
    ),
)

TRAFFIC = Row(
    "Traffic",
    (
        line(
            "Results by status",
            rate("clipmill_results_total", "status"),
            "{{status}}",
            unit="reqps",
            stacked=True,
        ),
        line(
            "Failures by code",
            rate("clipmill_results_total", "error_type", f'{INSTANCE},error_type!=""'),
            "{{error_type}}",
            unit="reqps",
            description="Outcomes that are not completed, by code; a click on one lists its"
            " requests.",
            link=FAILED_REQUESTS,
            page="failures",
        ),
        quantiles(
            "Latency from request to result", "clipmill_request_duration_seconds", where=_COMPLETED
        ),
        line("Lag by stage", _LAG, "{{stage}}", description="Lag of each stage.", page="pipeline"),
        line(
            "Parked by delay",
            total("clipmill_parked_events", "delay"),
            "{{delay}}",
            stacked=True,
            page="?state=parked",
        ),
        line(
            "Files",
            rate("clipmill_downloaded_bytes_total", "platform"),
            "{{platform}}",
            unit="Bps",
            page="library",
        ),
    ),
)

OVERVIEW = Board(
    "overview",
    "Overview",
    "Rate, success, latency, lag, and firing alerts.",
    (NOW, WRONG, TRAFFIC),
    (INSTANCES,),
)
