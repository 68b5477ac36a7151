"""Recovery board: failures, retries, strategies, dead letters."""

from deploy.grafana.model import Board, Panel, Query, Row
from deploy.grafana.panels import FAILED_REQUESTS, INSTANCES, line, quantiles
from deploy.grafana.promql import increase, largest, rate, total

FAILURES = Row(
    "Failures and retries",
    (
        line("Failures by step", rate("clipmill_failures_total", "step"), "{{step}}", unit="ops"),
        line(
            "Failures by code",
            rate("clipmill_failures_total", "error_type"),
            "{{error_type}}",
            unit="ops",
            link=FAILED_REQUESTS,
            page="failures",
        ),
        line(
            "Retries by delay",
            rate("clipmill_retries_total", "delay"),
            "{{delay}}",
            unit="ops",
        ),
        line(
            "Retries by attempt",
            increase("clipmill_retry_attempts_total", "attempt"),
            "{{attempt}}",
            stacked=True,
        ),
        line(
            "Strategies chosen",
            increase("clipmill_strategies_total", "strategy"),
            "{{strategy}}",
            stacked=True,
        ),
        line(
            "Completed after a strategy",
            increase("clipmill_recoveries_total", "strategy"),
            "{{strategy}}",
            stacked=True,
        ),
    ),
)

DELAYS = Row(
    "Delays",
    (
        line(
            "Parked",
            total("clipmill_parked_events", "delay"),
            "{{delay}}",
            stacked=True,
            page="?state=parked",
        ),
        line(
            "Oldest parked",
            largest("clipmill_oldest_parked_seconds", "delay"),
            "{{delay}}",
            unit="s",
            page="?state=parked",
        ),
        quantiles("Lateness of released events", "clipmill_delay_lateness_seconds"),
    ),
)

DEAD_LETTERS = Row(
    "Dead letters and commands",
    (
        line(
            "Dead letters by reason",
            increase("clipmill_dead_letters_total", "reason"),
            "{{reason}}",
            stacked=True,
            page="deadletters",
        ),
        line(
            "Replayed",
            increase("clipmill_dead_letter_replays_total", "step"),
            "{{step}}",
            page="replay",
        ),
        line(
            "Commands",
            increase("clipmill_commands_total", "command, outcome"),
            "{{command}} {{outcome}}",
            page="orders",
        ),
    ),
)

RECORDS = Row(
    "Irregular records",
    (
        Panel(
            "Reused request ids",
            (
                Query(
                    increase("clipmill_repeated_requests_total", "content"),
                    "requests: {{content}} content",
                ),
                Query(
                    increase("clipmill_outcomes_dropped_total", "reason"),
                    "outcomes dropped: {{reason}}",
                ),
            ),
            description="Requests with an id in use, and dropped outcomes of decided requests."
            " Copies are normal.",
        ),
        Panel(
            "Logs and batches",
            (
                Query(
                    increase("clipmill_undecodable_batches_total", "topic"), "undecodable {{topic}}"
                ),
                Query(
                    increase("clipmill_offset_resets_total", "topic, reason"),
                    "{{reason}} {{topic}}",
                ),
            ),
            description="Batches that cannot be decoded, partitions read from their beginning.",
        ),
        Panel(
            "Results and files",
            (
                Query(
                    increase("clipmill_replies_redirected_total", "reason"),
                    "reply redirected: {{reason}}",
                ),
                Query(increase("clipmill_batches_finished_total"), "batches finished"),
                Query(increase("clipmill_probes_total", "outcome"), "file {{outcome}}"),
            ),
            description="Results redirected from their reply topic, finished batches, and the"
            " verification results of files.",
        ),
    ),
)

RECOVERY = Board(
    "recovery",
    "Recovery",
    "Retries, strategies and their success, delays, dead letters.",
    (FAILURES, DELAYS, DEAD_LETTERS, RECORDS),
    (INSTANCES,),
)
