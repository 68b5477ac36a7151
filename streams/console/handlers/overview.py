"""The health of the service: what runs, what is wrong, and what to do about it."""

from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from schemas.contract.examples import BREAKER_STATES
from schemas.signals import IntakeSignal
from streams.console.handlers.breakers import (
    AccountView,
    BreakerView,
    RateView,
    signals_to_json,
)
from streams.console.health.facts import DeadLetterCounts, Facts, FactsReader, is_cut
from streams.console.health.findings import Finding
from streams.console.health.lag import TopicLag
from streams.console.health.problems import find_problems
from streams.console.http_messages import json_response
from streams.console.rendering import render
from streams.console.routes import RouteOperation, Routes
from streams.history.statistics import Results, Waiting

ROUTES = Routes()

FACTS = web.AppKey("facts", FactsReader)


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
        results: counts and times of the last 5 and 60 minutes.
        breakers: circuit breakers that are open or half-open.
        rates: adaptive rates below their setting, or paused.
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


@ROUTES.get("/overview")
async def overview_page(request: web.Request) -> web.StreamResponse:
    facts = await request.app[FACTS].read()
    return render(
        request,
        "overview.html",
        problems=find_problems(facts),
        states=sorted(facts.history.states.items(), key=lambda each: -each[1]),
        results=facts.history.results,
        waiting=facts.history.waiting,
        stages=_stage_list(facts),
        breakers=[each for each in facts.breakers if each.state != "closed"],
        rates=[each for each in facts.rates if is_cut(each, facts.now)],
        accounts=facts.accounts,
        dead_letters=facts.dead_letters,
        at=facts.now,
        is_ordered="ordered" in request.query,
    )


@ROUTES.operation(
    RouteOperation(
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
            "breakers": signals_to_json(BREAKER_STATES[:1]),
            "rates": [],
            "accounts": [],
            "dead_letters": {"waiting": {"internal.bug": 2}, "parked": 0, "problem": None},
        },
    )
)
async def show_overview(request: web.Request) -> web.StreamResponse:
    facts = await request.app[FACTS].read()
    history = facts.history
    return json_response(
        {
            "at": facts.now,
            "problems": msgspec.to_builtins(find_problems(facts)),
            "states": dict(history.states),
            "results": msgspec.to_builtins(history.results),
            "waiting": msgspec.to_builtins(history.waiting),
            "stages": msgspec.to_builtins(_stage_list(facts)),
            "breakers": signals_to_json(each for each in facts.breakers if each.state != "closed"),
            "rates": signals_to_json(each for each in facts.rates if is_cut(each, facts.now)),
            "accounts": signals_to_json(facts.accounts),
            "dead_letters": msgspec.to_builtins(facts.dead_letters),
        }
    )


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/stages",
        name="listStages",
        summary="Return all stages with their lag, workers and pauses.",
        response=StageList,
        example=_STAGES,
    )
)
async def list_stages(request: web.Request) -> web.StreamResponse:
    return json_response(msgspec.to_builtins(_stage_list(await request.app[FACTS].read())))


def _stage_list(facts: Facts) -> StageList:
    """Return all stages, by name; those of the measurement that failed have no lag."""
    return StageList(
        stages=tuple(_stage_view(facts, name) for name in sorted(facts.stages)),
        measured_at=facts.lag.measured_at,
        problem=facts.lag.problem,
    )


def _stage_view(facts: Facts, name: str) -> StageView:
    measured = facts.lag.stages.get(name)
    return StageView(
        name=name,
        topics=() if measured is None else measured.topics,
        lag=None if measured is None else measured.lag,
        members=None if measured is None else measured.members,
        is_delaying=name in facts.delaying,
        pause=facts.pauses.get(name),
    )
