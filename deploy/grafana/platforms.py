"""Platforms and egress: network attempts, rates, breakers, accounts, the engine."""

from deploy.grafana.model import Board, Panel, Query, Row, Variable
from deploy.grafana.panels import (
    BREAKER_STATES,
    COOKIES,
    FAILED_REQUESTS,
    HEALTH,
    INSTANCES,
    line,
    quantiles,
    stat,
    states,
)
from deploy.grafana.promql import INSTANCE, PLATFORM, increase, largest, quantile, rate, total

ATTEMPTS = Row(
    "Attempts",
    (
        line(
            "Attempts by outcome",
            rate("clipmill_request_seconds_count", "platform, operation, outcome", PLATFORM),
            "{{platform}} {{operation}} {{outcome}}",
            unit="reqps",
            description="Network attempts.",
        ),
        line(
            "Error ratio by code",
            largest(
                "clipmill_attempt_error_ratio", "platform, operation, egress, error_type", PLATFORM
            ),
            "{{platform}} {{operation}} {{egress}} {{error_type}}",
            unit="percentunit",
            maximum=1,
            link=FAILED_REQUESTS,
            page="failures",
        ),
        Panel(
            "Duration, p95",
            (
                Query(
                    quantile(0.95, "clipmill_request_seconds", "platform, operation", PLATFORM),
                    "{{platform}} {{operation}}",
                ),
            ),
            unit="s",
        ),
        line(
            "Duration of the latest attempts",
            largest("clipmill_request_quantile_seconds", "platform, operation, quantile", PLATFORM),
            "{{platform}} {{operation}} {{quantile}}",
            unit="s",
        ),
        line(
            "In flight",
            total("clipmill_requests_in_flight", "platform, operation", PLATFORM),
            "{{platform}} {{operation}}",
        ),
        line(
            "Bytes by egress",
            rate("clipmill_egress_received_bytes_total", "platform, egress", PLATFORM),
            "{{platform}} {{egress}}",
            unit="Bps",
        ),
    ),
)

RATES = Row(
    "Rates and slots",
    (
        Panel(
            "Allowed and used",
            (
                Query(
                    largest(
                        "clipmill_rate_limit_per_second", "platform, operation, egress", PLATFORM
                    ),
                    "limit {{platform}} {{operation}} {{egress}}",
                ),
                Query(
                    total(
                        "clipmill_rate_allowed_per_second", "platform, operation, egress", PLATFORM
                    ),
                    "allowed {{platform}} {{operation}} {{egress}}",
                ),
                Query(
                    rate("clipmill_request_seconds_count", "platform, operation", PLATFORM),
                    "used {{platform}} {{operation}}",
                ),
            ),
            unit="reqps",
            width=12,
            description="Rate limit of all workers, present adaptive rate, and attempts made.",
            page="breakers",
        ),
        line(
            "Waiting for the rate limiter",
            rate("clipmill_rate_wait_seconds_total", "platform, operation, egress", PLATFORM),
            "{{platform}} {{operation}} {{egress}}",
            unit="s",
            width=6,
        ),
        line(
            "Parked by the rate limiter",
            increase("clipmill_rate_postponed_total", "platform, operation, egress", PLATFORM),
            "{{platform}} {{operation}} {{egress}}",
            width=6,
        ),
        Panel(
            "Slots",
            (
                Query(total("clipmill_tasks_running", "operation"), "running {{operation}}"),
                Query(total("clipmill_tasks_waiting", "operation"), "waiting {{operation}}"),
                Query(total("clipmill_tasks_limit", "operation"), "limit {{operation}}"),
            ),
            width=24,
        ),
    ),
)

BREAKERS = Row(
    "Breakers",
    (
        states(
            "State",
            largest("clipmill_breaker_state", "platform, operation, egress", PLATFORM),
            "{{platform}} {{operation}} {{egress}}",
            BREAKER_STATES,
            width=12,
            page="breakers",
        ),
        line(
            "Changes",
            increase(
                "clipmill_breaker_transitions_total", "platform, operation, egress, state", PLATFORM
            ),
            "{{platform}} {{operation}} {{egress}} {{state}}",
            width=6,
        ),
        line(
            "Attempts rejected by open breakers",
            rate("clipmill_not_permitted_total", "platform, operation", PLATFORM),
            "{{platform}} {{operation}}",
            unit="ops",
            width=6,
        ),
    ),
)

ACCOUNTS = Row(
    "Accounts",
    (
        states(
            "In use",
            largest("clipmill_account_healthy", "platform, account", PLATFORM),
            "{{platform}} {{account}}",
            HEALTH,
            page="overview",
        ),
        line(
            "Login expires in",
            "min by (platform, account) (clipmill_account_cookie_expiry_timestamp_seconds"
            f"{{{PLATFORM}}}) - time()",
            "{{platform}} {{account}}",
            unit="s",
        ),
        line(
            "Pages read with an account",
            rate("clipmill_account_uses_total", "platform, account, outcome", PLATFORM),
            "{{platform}} {{account}} {{outcome}}",
            unit="ops",
        ),
        line(
            "Time since a page was read with an account",
            "time() - max by (platform, account)"
            f" (clipmill_account_last_success_timestamp_seconds{{{PLATFORM}}} > 0)",
            "{{platform}} {{account}}",
            unit="s",
            description="Of accounts with which a page that needs a login was read.",
            width=12,
        ),
        states(
            "Renewed cookies",
            largest("clipmill_account_unsaved", "platform, account", PLATFORM),
            "{{platform}} {{account}}",
            COOKIES,
            width=12,
        ),
    ),
)

ENGINE = Row(
    "Engine",
    (
        stat("Processes", total("clipmill_engine_processes"), page="pipeline#engine"),
        stat("Replaced", total("clipmill_engine_restarts"), page="pipeline#engine"),
        stat("Browser impersonation", f"min(clipmill_engine_impersonation{{{INSTANCE}}})"),
        stat("Native proof of work", largest("clipmill_engine_native_proof_of_work")),
        Panel(
            "Versions",
            (Query(largest("clipmill_engine_info", "instance, yt_dlp, curl_cffi")),),
            kind="table",
            width=8,
            height=4,
            description="Versions of yt-dlp and curl_cffi by instance.",
            page="pipeline#engine",
        ),
        line(
            "Challenge pages", rate("clipmill_engine_challenge_seconds_count"), unit="ops", width=12
        ),
        quantiles("Duration of a challenge", "clipmill_engine_challenge_seconds", width=12),
    ),
)

PLATFORMS = Board(
    "platforms",
    "Platforms and egress",
    "Attempts, rates, breakers and accounts by platform and egress.",
    (ATTEMPTS, RATES, BREAKERS, ACCOUNTS, ENGINE),
    (INSTANCES, Variable("platform", "clipmill_request_seconds_count")),
)
