"""Cases in which every alert must fire or stay silent, as series in the notation of promtool.

`0+2x30` is a counter that grows by 2 with each of 30 samples, `5x30` a constant, `_x20` twenty missing
samples. Samples are a minute apart, for the alerts of `SLOW` ten minutes.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AlertCase:
    """One state of the service.

    Args:
        alert: its name.
        title: what happens.
        series: samples by series.
        minute: evaluation time.
        firing: labels of each firing alert, without severity; empty: silent.
    """

    alert: str
    title: str
    series: Mapping[str, str]
    minute: int
    firing: tuple[Mapping[str, str], ...] = ()


SLOW = {"ClipmillServedBudgetBurnsSlowly", "ClipmillLatencyBudgetBurnsSlowly"}
"""Alerts over days: promtool evaluates every rule at every sample, so there are fewer."""

RESULTS = "clipmill_results_total"
DURATION = "clipmill_request_duration_seconds"
ONE: tuple[Mapping[str, str], ...] = ({},)
"""One firing alert without labels."""


def results(error: str = "", **samples: str) -> dict[str, str]:
    """Return the series of outcomes by status; failures carry an error type."""
    return {
        f'{RESULTS}{{status="{status}",error_type="{error if status == "failed" else ""}"}}': values
        for status, values in samples.items()
    }


def durations(fast: str, every: str) -> dict[str, str]:
    """Return the series of completed requests: within a minute, and all."""
    return {
        f'{DURATION}_bucket{{status="completed",le="60.0"}}': fast,
        f'{DURATION}_count{{status="completed"}}': every,
    } | results(completed=every)


CASES = [
    # Service levels
    AlertCase(
        "ClipmillServedBudgetBurnsFast",
        "a fifth of the requests fails by the network for two hours",
        results("network.server", completed="0+80x180", failed="0+20x180"),
        150,
        ONE,
    ),
    AlertCase(
        "ClipmillServedBudgetBurnsFast",
        "nothing has been served since the start",
        results("system.storage", failed="1+10x90"),
        80,
        ONE,
    ),
    AlertCase(
        "ClipmillServedBudgetBurnsFast",
        "half of the videos are deleted",
        results("content.not_found", completed="0+50x180", failed="0+50x180"),
        150,
    ),
    AlertCase(
        "ClipmillServedBudgetBurnsFast",
        "three failures in a quiet night",
        results("network.server", completed="0x180", failed="0x100 1 2 3 3x70"),
        110,
    ),
    AlertCase("ClipmillServedBudgetBurnsFast", "no traffic", results(completed="7x180"), 150),
    AlertCase(
        "ClipmillServedBudgetBurnsFast",
        "the failures ended an hour ago",
        results("network.server", completed="0+80x300", failed="0+20x60 1200x240"),
        240,
    ),
    AlertCase(
        "ClipmillServedBudgetBurnsSlowly",
        "one in twenty fails for a day",
        results("network.timeout", completed="0+950x200", failed="0+50x200"),
        1800,
        ONE,
    ),
    AlertCase(
        "ClipmillServedBudgetBurnsSlowly",
        "one in two hundred fails for a day",
        results("network.timeout", completed="0+1990x200", failed="0+10x200"),
        1800,
    ),
    AlertCase(
        "ClipmillLatencyBudgetBurnsFast",
        "nine in ten take longer than a minute",
        durations("0+10x180", "0+100x180"),
        150,
        ONE,
    ),
    AlertCase(
        "ClipmillLatencyBudgetBurnsFast",
        "one in ten takes longer than a minute",
        durations("0+90x180", "0+100x180"),
        150,
    ),
    AlertCase("ClipmillLatencyBudgetBurnsFast", "no traffic", durations("5x180", "9x180"), 150),
    AlertCase(
        "ClipmillLatencyBudgetBurnsSlowly",
        "a fifth takes longer than a minute for a day",
        durations("0+800x200", "0+1000x200"),
        1800,
        ONE,
    ),
    AlertCase(
        "ClipmillLatencyBudgetBurnsSlowly",
        "one in fifty takes longer than a minute",
        durations("0+980x200", "0+1000x200"),
        1800,
    ),
    AlertCase(
        "ClipmillSuccessRatioLow",
        "nothing at all has been completed since the start",
        results("content.not_found", failed="1+10x60"),
        50,
        ONE,
    ),
    AlertCase(
        "ClipmillSuccessRatioLow",
        "six of ten fail",
        results("network.server", completed="0+4x60", failed="0+6x60"),
        50,
        ONE,
    ),
    AlertCase(
        "ClipmillSuccessRatioLow",
        "six of ten are refused",
        results(completed="0+4x60", rejected="0+6x60"),
        50,
    ),
    AlertCase("ClipmillSuccessRatioLow", "no traffic", results(completed="9x60"), 50),
    AlertCase(
        "ClipmillSuccessRatioLow",
        "a process was restarted",
        results("network.server", completed="0+9x30 0+9x30", failed="0+1x30 0+1x30"),
        50,
    ),
    # Workers and stages
    AlertCase(
        "ClipmillWorkerDown",
        "one of two instances is gone",
        {
            'up{job="clipmill",instance="a:8080"}': "1x5 0x10",
            'up{job="clipmill",instance="b:8080"}': "1x15",
        },
        12,
        ({"job": "clipmill", "instance": "a:8080"},),
    ),
    AlertCase(
        "ClipmillWorkerDown",
        "a restart within a minute",
        {'up{job="clipmill",instance="a:8080"}': "1x5 0 1x10"},
        7,
    ),
    AlertCase(
        "ClipmillStageWithoutWorker",
        "records wait and only another stage runs",
        {
            'clipmill_stage_backlog_records{stage="download",instance="a"}': "30x20",
            'clipmill_stage_ready{stage="validation",instance="a"}': "1x20",
        },
        15,
        ({"stage": "download"},),
    ),
    AlertCase(
        "ClipmillStageWithoutWorker",
        "the only worker of a stage is not ready",
        {
            'clipmill_stage_backlog_records{stage="download",instance="a"}': "30x20",
            'clipmill_stage_ready{stage="download",instance="a"}': "0x20",
        },
        15,
        ({"stage": "download"},),
    ),
    AlertCase(
        "ClipmillStageWithoutWorker",
        "one of two workers is ready",
        {
            'clipmill_stage_backlog_records{stage="download",instance="a"}': "30x20",
            'clipmill_stage_ready{stage="download",instance="a"}': "0x20",
            'clipmill_stage_ready{stage="download",instance="b"}': "1x20",
        },
        15,
    ),
    AlertCase(
        "ClipmillStageWithoutWorker",
        "there is no backlog",
        {'clipmill_stage_backlog_records{stage="download",instance="a"}': "0x20"},
        15,
    ),
    AlertCase(
        "ClipmillStageStalled",
        "one of two workers is stuck",
        {
            'clipmill_stage_last_processed_timestamp_seconds{stage="download",instance="a"}': "60x40",
            'clipmill_stage_in_progress{stage="download",instance="a"}': "3x40",
            'clipmill_stage_last_processed_timestamp_seconds{stage="download",instance="b"}': "0+60x40",
            'clipmill_stage_in_progress{stage="download",instance="b"}': "3x40",
        },
        30,
        ({"stage": "download", "instance": "a"},),
    ),
    AlertCase(
        "ClipmillStageStalled",
        "a stage of a new worker has never finished a record",
        {
            'clipmill_stage_last_processed_timestamp_seconds{stage="download",instance="a"}': "0x40",
            'clipmill_stage_in_progress{stage="download",instance="a"}': "1x40",
        },
        30,
        ({"stage": "download", "instance": "a"},),
    ),
    AlertCase(
        "ClipmillStageStalled",
        "there is no work",
        {
            'clipmill_stage_last_processed_timestamp_seconds{stage="download",instance="a"}': "60x40",
            'clipmill_stage_in_progress{stage="download",instance="a"}': "0x40",
        },
        30,
    ),
    AlertCase(
        "ClipmillHeartbeatMissed",
        "the stage of one of two monitors' partitions is silent",
        {
            'clipmill_heartbeat_age_seconds{stage="extraction",instance="a"}': "0x20",
            'clipmill_heartbeat_age_seconds{stage="extraction",instance="b"}': "0x10 40x10",
            'clipmill_heartbeat_age_seconds{stage="ledger",instance="b"}': "0x20",
        },
        12,
        ({"stage": "extraction"},),
    ),
    AlertCase(
        "ClipmillHeartbeatMissed",
        "a stage runs nowhere",
        {'clipmill_heartbeat_age_seconds{stage="download",instance="a"}': "0+60x10"},
        5,
        ({"stage": "download"},),
    ),
    AlertCase(
        "ClipmillHeartbeatMissed",
        "the partitions of a killed worker move",
        {'clipmill_heartbeat_age_seconds{stage="download",instance="a"}': "0x5 14 0x10"},
        5,
    ),
    AlertCase(
        "ClipmillHeartbeatMissed",
        "a stage has paused its intake because its disk is full",
        {
            'clipmill_heartbeat_age_seconds{stage="download",instance="a"}': "0x5 60x10",
            'clipmill_stage_intake_paused{stage="download",instance="b"}': "0x4 1x11",
        },
        10,
    ),
    AlertCase(
        "ClipmillHeartbeatsNotSent",
        "the only monitor is frozen",
        {'clipmill_heartbeat_last_sent_timestamp_seconds{instance="a"}': "0 60 120 120x10"},
        8,
        ONE,
    ),
    AlertCase(
        "ClipmillHeartbeatsNotSent",
        "no worker of monitor was ever started",
        {'clipmill_heartbeat_last_sent_timestamp_seconds{instance="a"}': "0x10"},
        8,
        ONE,
    ),
    AlertCase(
        "ClipmillHeartbeatsNotSent",
        "one of two workers runs the monitor",
        {
            'clipmill_heartbeat_last_sent_timestamp_seconds{instance="a"}': "0x10",
            'clipmill_heartbeat_last_sent_timestamp_seconds{instance="b"}': "0+60x10",
        },
        8,
    ),
    AlertCase(
        "ClipmillLagOld",
        "one partition of a stage waits for an hour",
        {
            'clipmill_stage_lag_seconds{stage="download",topic="t",partition="0",instance="a"}': "0+60x60",
            'clipmill_stage_lag_seconds{stage="download",topic="t",partition="1",instance="b"}': "0x60",
        },
        50,
        ({"stage": "download", "topic": "t"},),
    ),
    AlertCase(
        "ClipmillLagOld",
        "a backlog is processed within minutes",
        {
            'clipmill_stage_lag_seconds{stage="download",topic="t",partition="0",instance="a"}': "0+60x15 0x45"
        },
        50,
    ),
    AlertCase(
        "ClipmillLagOld",
        "events are parked for an hour",
        {'clipmill_stage_lag_seconds{stage="delay",topic="retry.1h",partition="0"}': "0+60x60"},
        50,
    ),
    AlertCase(
        "ClipmillStageRestarting",
        "a stage crashes every two minutes",
        {'clipmill_stage_restarts_total{stage="ledger",instance="a"}': "0 0 1 1 2 2 3 3 4 4 5"},
        10,
        ({"stage": "ledger", "instance": "a"},),
    ),
    AlertCase(
        "ClipmillStageRestarting",
        "a stage crashed once",
        {'clipmill_stage_restarts_total{stage="ledger",instance="a"}': "0 0 1x15"},
        10,
    ),
    AlertCase(
        "ClipmillStageRestarting",
        "the process was restarted",
        {'clipmill_stage_restarts_total{stage="ledger",instance="a"}': "7x10 0x10"},
        15,
    ),
    AlertCase(
        "ClipmillIntakePaused",
        "one of two workers has a full disk",
        {
            'clipmill_stage_intake_paused{stage="download",instance="a"}': "1x10",
            'clipmill_stage_intake_paused{stage="download",instance="b"}': "0x10",
        },
        5,
        ({"stage": "download", "instance": "a"},),
    ),
    AlertCase(
        "ClipmillIntakePaused",
        "a pause of a minute",
        {'clipmill_stage_intake_paused{stage="download",instance="a"}': "0x3 1 0x10"},
        6,
    ),
    # Records
    AlertCase(
        "ClipmillDeadLettersArriving",
        "the first one of a reason: its series starts at 1",
        {'clipmill_dead_letters_total{reason="system.engine_crash",instance="a"}': "_x20 1x20"},
        25,
        ({"reason": "system.engine_crash"},),
    ),
    AlertCase(
        "ClipmillDeadLettersArriving",
        "one more of a known reason",
        {'clipmill_dead_letters_total{reason="internal.bug",instance="a"}': "3x20 4x20"},
        25,
        ({"reason": "internal.bug"},),
    ),
    AlertCase(
        "ClipmillDeadLettersArriving",
        "none for half an hour",
        {'clipmill_dead_letters_total{reason="internal.bug",instance="a"}': "3x10 4x40"},
        40,
    ),
    AlertCase(
        "ClipmillDeadLettersArriving",
        "the process was restarted and counts from 0",
        {'clipmill_dead_letters_total{reason="internal.bug",instance="a"}': "3x30 0x20"},
        40,
    ),
    AlertCase(
        "ClipmillDeadLettersArriving",
        "a second instance has its first one",
        {
            'clipmill_dead_letters_total{reason="internal.bug",instance="a"}': "3x40",
            'clipmill_dead_letters_total{reason="internal.bug",instance="b"}': "_x20 1x20",
        },
        25,
        ({"reason": "internal.bug"},),
    ),
    AlertCase(
        "ClipmillUndecodableBatches",
        "the first batch of a topic: its series starts at 1",
        {'clipmill_undecodable_batches_total{topic="t",instance="a"}': "_x20 1x20"},
        25,
        ({"topic": "t"},),
    ),
    AlertCase(
        "ClipmillUndecodableBatches",
        "an old batch",
        {'clipmill_undecodable_batches_total{topic="t",instance="a"}': "1x40"},
        35,
    ),
    AlertCase(
        "ClipmillOffsetsReset",
        "a log was truncated: its series starts at 1",
        {'clipmill_offset_resets_total{topic="t",reason="truncated",instance="a"}': "_x70 1x20"},
        80,
        ({"topic": "t", "reason": "truncated"},),
    ),
    AlertCase(
        "ClipmillOffsetsReset",
        "a reset two hours ago",
        {'clipmill_offset_resets_total{topic="t",reason="truncated",instance="a"}': "1x150"},
        140,
    ),
    AlertCase(
        "ClipmillRequestIdsReused",
        "a client restarts its numbering",
        {
            'clipmill_repeated_requests_total{content="other",instance="a"}': "_x70 1x20",
            'clipmill_repeated_requests_total{content="same",instance="a"}': "0+9x90",
        },
        80,
        ({"content": "other"},),
    ),
    AlertCase(
        "ClipmillRequestIdsReused",
        "a client sends its requests twice",
        {'clipmill_repeated_requests_total{content="same",instance="a"}': "_x70 1+9x20"},
        80,
    ),
    # Platforms
    AlertCase(
        "ClipmillBreakerOpenLong",
        "one egress is blocked for half an hour",
        {
            'clipmill_breaker_state{platform="tiktok",operation="extract",egress="us"}': "2x40",
            'clipmill_breaker_state{platform="tiktok",operation="extract",egress="eu"}': "0x40",
        },
        30,
        ({"platform": "tiktok", "operation": "extract", "egress": "us"},),
    ),
    AlertCase(
        "ClipmillBreakerOpenLong",
        "a breaker opens and closes",
        {'clipmill_breaker_state{platform="tiktok",operation="extract",egress="us"}': "2x9 1 0x30"},
        30,
    ),
    AlertCase(
        "ClipmillPagesChanged",
        "half of the pages cannot be parsed",
        {
            'clipmill_attempt_error_ratio{platform="tiktok",operation="extract",egress="us",'
            'error_type="platform.changed"}': "0.5x20"
        },
        10,
        ({"platform": "tiktok"},),
    ),
    AlertCase(
        "ClipmillPagesChanged",
        "half of the pages time out",
        {
            'clipmill_attempt_error_ratio{platform="tiktok",operation="extract",egress="us",'
            'error_type="network.timeout"}': "0.5x20"
        },
        10,
    ),
    AlertCase(
        "ClipmillDelayStuck",
        "events are a minute late",
        {
            'clipmill_delay_lateness_seconds_bucket{delay="retry.30s",le="10.0"}': "0x30",
            'clipmill_delay_lateness_seconds_bucket{delay="retry.30s",le="60.0"}': "0+9x30",
            'clipmill_delay_lateness_seconds_bucket{delay="retry.30s",le="+Inf"}': "0+9x30",
        },
        20,
        ({"delay": "retry.30s"},),
    ),
    AlertCase(
        "ClipmillDelayStuck",
        "an event waits for three hours and none is released",
        {'clipmill_oldest_parked_seconds{delay="retry.1h"}': "0+60x200"},
        180,
        ({"delay": "retry.1h"},),
    ),
    AlertCase(
        "ClipmillDelayStuck",
        "events are a second late",
        {
            'clipmill_delay_lateness_seconds_bucket{delay="retry.30s",le="1.0"}': "0+9x30",
            'clipmill_delay_lateness_seconds_bucket{delay="retry.30s",le="+Inf"}': "0+9x30",
        },
        20,
    ),
    AlertCase(
        "ClipmillAccountUnusable",
        "one of two logins has expired",
        {
            'clipmill_account_healthy{platform="tiktok",account="alice"}': "0x90",
            'clipmill_account_healthy{platform="tiktok",account="bob"}': "1x90",
        },
        80,
        ({"platform": "tiktok", "account": "alice"},),
    ),
    AlertCase(
        "ClipmillAccountUnusable",
        "an account cools down for ten minutes",
        {'clipmill_account_healthy{platform="tiktok",account="alice"}': "1x20 0x10 1x60"},
        80,
    ),
    AlertCase(
        "ClipmillLoginExpires",
        "a login expires within a day",
        {
            'clipmill_account_cookie_expiry_timestamp_seconds{platform="tiktok",account="alice"}': "86400x10"
        },
        5,
        ({"platform": "tiktok", "account": "alice"},),
    ),
    AlertCase(
        "ClipmillLoginExpires",
        "a login expires in a month",
        {
            'clipmill_account_cookie_expiry_timestamp_seconds{platform="tiktok",account="alice"}': "2592000x10"
        },
        5,
    ),
    AlertCase(
        "ClipmillCookiesUnsaved",
        "the folder is read-only",
        {'clipmill_account_unsaved{platform="tiktok",account="alice"}': "1x30"},
        20,
        ({"platform": "tiktok", "account": "alice"},),
    ),
    AlertCase(
        "ClipmillCookiesUnsaved",
        "all cookies are saved",
        {'clipmill_account_unsaved{platform="tiktok",account="alice"}': "0x30"},
        20,
    ),
    # Resources
    AlertCase(
        "ClipmillEngineCrashing",
        "a process a minute",
        {'clipmill_engine_restarts{instance="a"}': "0+1x30"},
        20,
        ({"instance": "a"},),
    ),
    AlertCase(
        "ClipmillEngineCrashing",
        "the worker was restarted",
        {'clipmill_engine_restarts{instance="a"}': "9x10 0x20"},
        20,
    ),
    AlertCase(
        "ClipmillStorageFails",
        "probes fail",
        {
            'clipmill_storage_errors_total{instance="a",operation="probe",cause="denied"}': "0+12x20",
            'clipmill_storage_errors_total{instance="b",operation="probe",cause="denied"}': "3x20",
        },
        12,
        ({"instance": "a", "cause": "denied"},),
    ),
    AlertCase(
        "ClipmillStorageFails",
        "one upload failed, and the storage has worked since",
        {
            'clipmill_storage_errors_total{instance="a",operation="publish",cause="timeout"}': "0 0 1x18"
        },
        9,
    ),
    AlertCase(
        "ClipmillDiskSpaceLow",
        "one gigabyte is left",
        {'clipmill_disk_free_bytes{instance="a"}': "1000000000x20"},
        10,
        ({"instance": "a"},),
    ),
    AlertCase(
        "ClipmillDiskSpaceLow",
        "enough is left, and a worker without downloads reports 0",
        {
            'clipmill_disk_free_bytes{instance="a"}': "90000000000x20",
            'clipmill_disk_free_bytes{instance="b"}': "0x20",
        },
        10,
    ),
    AlertCase(
        "ClipmillMemoryPressure",
        "two processes use nine tenths",
        {
            'clipmill_memory_bytes{instance="a",process="worker"}': "500x20",
            'clipmill_memory_bytes{instance="a",process="engine"}': "400x20",
            'clipmill_memory_limit_bytes{instance="a"}': "1000x20",
        },
        15,
        ({"instance": "a"},),
    ),
    AlertCase(
        "ClipmillMemoryPressure",
        "half is used",
        {
            'clipmill_memory_bytes{instance="a",process="worker"}': "500x20",
            'clipmill_memory_limit_bytes{instance="a"}': "1000x20",
        },
        15,
    ),
    AlertCase(
        "ClipmillMemoryGrows",
        "a worker grows by 80 MB an hour",
        {'clipmill_memory_trend_bytes_per_hour{instance="a",process="worker"}': "80000000x90"},
        80,
        ({"instance": "a", "process": "worker"},),
    ),
    AlertCase(
        "ClipmillMemoryGrows",
        "it grew while it warmed up",
        {'clipmill_memory_trend_bytes_per_hour{instance="a",process="worker"}': "80000000x30 0x60"},
        80,
    ),
    AlertCase(
        "ClipmillPluginDisabled",
        "a plug-in is switched off, once in a process: its series starts at 1",
        {'clipmill_plugin_troubles_total{plugin="mine",trouble="off"}': "_x70 1x20"},
        80,
        ({"plugin": "mine"},),
    ),
    AlertCase(
        "ClipmillPluginDisabled",
        "a plug-in was slow",
        {'clipmill_plugin_troubles_total{plugin="mine",trouble="slow"}': "_x70 1x20"},
        80,
    ),
]
