"""Operations on the health of the service, and the types of their JSON."""

from datetime import datetime
from typing import Any

import msgspec

from schemas.contract.examples import BREAKER_STATES
from schemas.signals import IntakeSignal
from streams.console.api.operations import Operation
from streams.console.api.signal_operations import AccountView, BreakerView, RateView
from streams.console.health.facts import DeadLetterCounts
from streams.console.health.findings import Finding
from streams.console.health.lag import TopicLag
from streams.history.statistics import FailureGroup, Results, Waiting


class StageView(msgspec.Struct, frozen=True, kw_only=True):
    """A stage.

    Attributes:
        topics: its source topics; empty while the lag is unknown.
        lag: unfinished records in them; null while it is unknown.
        members: workers of the stage; null while they are unknown.
        is_delaying: its records wait on purpose.
        pause: why it consumes nothing; null for a running one.
    """

    name: str
    topics: tuple[TopicLag, ...]
    lag: int | None
    members: int | None
    is_delaying: bool
    pause: IntakeSignal | None


class StageList(msgspec.Struct, frozen=True, kw_only=True):
    """All stages.

    Attributes:
        measured_at: time of the measurement of the lag.
        problem: why the lag is unknown.
    """

    stages: tuple[StageView, ...]
    measured_at: datetime | None
    problem: str | None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the service.

    Attributes:
        at: time of these facts.
        problems: what is wrong, the critical first.
        states: number of requests by state.
        results: those of the last 5 and 60 minutes.
        breakers: those that are not closed.
        rates: those below their setting, or paused.
    """

    at: datetime
    problems: tuple[Finding, ...]
    states: dict[str, int]
    results: tuple[Results, ...]
    waiting: Waiting
    stages: StageList
    breakers: tuple[BreakerView, ...]
    rates: tuple[RateView, ...]
    accounts: tuple[AccountView, ...]
    dead_letters: DeadLetterCounts


class FailureList(msgspec.Struct, frozen=True, kw_only=True):
    """Failures by error code and platform, the most frequent first."""

    failures: tuple[FailureGroup, ...]


_STAGES: dict[str, Any] = {
    "stages": [
        {
            "name": "download",
            "topics": [{"topic": "videos.selected", "partitions": 8, "lag": 12}],
            "lag": 12,
            "members": 2,
            "is_delaying": False,
            "pause": None,
        }
    ],
    "measured_at": "2026-11-02T09:00:00Z",
    "problem": None,
}

_PROBLEM: dict[str, Any] = {
    "severity": "critical",
    "message": "The stage download has no worker; 12 records wait for it.",
    "remedy": "Start one.",
    "command": "clipmill worker download",
    "actions": [],
    "error": None,
    "runbook": "docs/runbooks/ClipmillStageWithoutWorker.md",
}

_RESULTS: dict[str, Any] = {
    "seconds": 300.0,
    "states": {"completed": 290, "failed": 10},
    "median_seconds": 1.2,
    "p99_seconds": 8.5,
    "per_minute": 60.0,
    "success_ratio": 0.967,
}

OPERATIONS = (
    Operation(
        method="get",
        path="/overview",
        name="showOverview",
        summary="Return what runs, what is wrong, and what to do about it.",
        response=Overview,
        example={
            "at": "2026-11-02T09:00:00Z",
            "problems": [_PROBLEM],
            "states": {"completed": 1200, "failed": 34},
            "results": [_RESULTS],
            "waiting": {
                "parked": 1,
                "parked_since": "2026-11-02T08:40:00Z",
                "next_due": "2026-11-02T09:10:00Z",
                "oldest": None,
                "oldest_state": None,
            },
            "stages": _STAGES,
            "breakers": [
                {"name": each.name, **msgspec.to_builtins(each)} for each in BREAKER_STATES[:1]
            ],
            "rates": [],
            "accounts": [],
            "dead_letters": {"waiting": {"internal.bug": 2}, "parked": 0, "problem": None},
        },
    ),
    Operation(
        method="get",
        path="/stages",
        name="listStages",
        summary="Return all stages with their lag, workers and pauses.",
        response=StageList,
        example=_STAGES,
    ),
    Operation(
        method="get",
        path="/failures",
        name="listFailures",
        summary="Return failures by error code and platform, with their trend of 24 hours.",
        response=FailureList,
        example={
            "failures": [
                {
                    "error": "content.private",
                    "platform": "tiktok",
                    "count": 34,
                    "first_at": "2026-11-01T10:00:00Z",
                    "last_at": "2026-11-02T08:59:00Z",
                    "hours": [0] * 22 + [3, 31],
                    "share": 1.0,
                }
            ]
        },
    ),
)
