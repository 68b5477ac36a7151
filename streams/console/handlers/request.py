"""One request: its timeline, error, recovery, files and commands, and why it waits."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import msgspec
from aiohttp import web

from schemas.events import Progress
from schemas.signals import BREAKER, INTAKE, BreakerState, IntakeSignal
from streams.cluster.shared_state import SharedState
from streams.console.advice import advice_of, can_retry, commands_of
from streams.console.errors import CallError
from streams.console.event_text import format_id
from streams.console.handlers.requests import ROW, HistoryRequest
from streams.console.http_messages import json_response
from streams.console.rendering import render
from streams.console.routes import READ_ERRORS, Parameter, RouteOperation, Routes
from streams.console.services import SERVICES, Services
from streams.console.timeline import RETRIES, failed_endpoints, timeline
from streams.history.changes import RequestEvent
from streams.history.rows import (
    RequestFilter,
    RequestRow,
    RetryState,
    event_to_json,
    row_to_json,
)
from streams.history.store import RETRIES_MAX
from streams.settings.console import TRACE_ID

ROUTES = Routes()

NEXT_STAGES: Mapping[str, str] = MappingProxyType(
    {"accepted": "extraction", "extracted": "selection", "selected": "download"}
)
"""The stage that has a request, or its queue, by the state of the request."""

ID = Parameter(
    name="id",
    description="Id of the request; that of a batch member is `BATCH/INDEX`.",
    schema={"type": "string", "minLength": 1},
    example="order-4",
    pattern=".+",
)


class HistoryEvent(RequestEvent, frozen=True, kw_only=True):
    """A transition of a request.

    Attributes:
        at: time of the transition.
    """

    at: datetime  # type: ignore[assignment]


class RequestHistory(HistoryRequest, frozen=True, kw_only=True):
    """A request with its transitions, oldest first.

    Attributes:
        technical_details: facts of its failure for developers, redacted.
        progress: of its download; null when none is under way.
        retries: the requests that repeat it, oldest first, at most 20; the filter `retry_of` of the
            list finds all.
    """

    events: tuple[HistoryEvent, ...]
    retries: tuple[RetryState, ...]
    technical_details: dict[str, str]
    progress: Progress | None


_EVENT = {
    "at": "2026-11-02T09:00:01.250Z",
    "step": "extraction",
    "transition": "finished",
    "detail": {},
}


@ROUTES.get("/request")
async def request_page(request: web.Request) -> web.StreamResponse:
    services, request_id = request.app[SERVICES], request.query.get("id", "")
    store = services.store
    revision = await asyncio.to_thread(store.revision)
    row = await asyncio.to_thread(store.request, request_id)
    if row is None and "ordered" in request.query:
        return render(request, "ordered.html", request_id=request_id)
    if row is None:
        raise unknown_request(request_id)
    events = await asyncio.to_thread(store.events, request_id)
    members = RequestFilter(batch=request_id)
    command = row.command
    named = [row.retry_of or "", "" if command is None else command.request_id or ""]
    phases = timeline(row, events, time.time())
    return render(
        request,
        "request.html",
        row=row,
        revision=format_id(revision),
        events=events,
        has_members=bool(await asyncio.to_thread(store.requests, members, 1)),
        details=await asyncio.to_thread(store.details, request_id),
        retries=await asyncio.to_thread(store.retries, request_id),
        retries_max=RETRIES_MAX,
        known=await asyncio.to_thread(store.known, named),
        is_cancelled=request.query.get("ordered") == "cancel",
        phases=phases,
        endpoints=failed_endpoints(phases),
        advice=advice_of(row),
        can_retry=can_retry(row),
        progress=_progress(services, row),
        reasons=waiting_reasons(row, events, services.shared_state),
        trace_url=_trace_link(services.settings.console.trace_url, row),
        commands=commands_of(row),
    )


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/requests/{id}",
        name="showRequest",
        summary="Return a request with its transitions and its retries.",
        parameters=(ID,),
        response=RequestHistory,
        example={
            **ROW,
            "retry_of": "order-1",
            "events": [_EVENT],
            "retries": [{"id": "9c21", "state": "completed"}],
            "technical_details": {"reason": "statusCode 10204", "host": "www.tiktok.com"},
            "progress": None,
        },
        errors=(*READ_ERRORS, 404),
    )
)
async def show_request(request: web.Request) -> web.StreamResponse:
    services, request_id = request.app[SERVICES], request.match_info["id"]
    store = services.store
    row = await asyncio.to_thread(store.request, request_id)
    if row is None:
        raise CallError(404, "id", "the history has no request of this id")
    events = await asyncio.to_thread(store.events, request_id)
    retries = await asyncio.to_thread(store.retries, request_id)
    more = {
        "events": list(map(event_to_json, events)),
        "retries": msgspec.to_builtins(retries),
        "technical_details": await asyncio.to_thread(store.details, request_id),
        "progress": msgspec.to_builtins(_progress(services, row)),
    }
    return json_response(row_to_json(row) | more)


def unknown_request(request_id: str) -> CallError:
    return CallError(404, "id", f"The history has no request {request_id[:200]!r}.")


def _progress(services: Services, row: RequestRow) -> Progress | None:
    return None if row.is_final else services.progress.get(row.id)


def _trace_link(trace_url: str | None, row: RequestRow) -> str | None:
    if trace_url is None or row.trace_id is None:
        return None
    return trace_url.replace(TRACE_ID, row.trace_id)


def waiting_reasons(
    row: RequestRow, events: Sequence[RequestEvent], shared_state: SharedState
) -> list[str]:
    """Return why a request is not processed now, a sentence each; none of a decided one."""
    if row.is_final:
        return []
    stage = NEXT_STAGES.get(row.state, row.step or "")
    retry = next((each for each in reversed(events) if each.transition in RETRIES), None)
    if row.due is None or retry is None:
        reasons = [f"It is in the queue of the stage {stage}, or processed there."]
    else:
        reasons = [_reason_of(retry, stage)]
        reasons += _breaker_reasons(retry.detail.get("endpoint", ""), shared_state)
    intake = shared_state.read(f"{INTAKE}{stage}", IntakeSignal)
    if intake is not None and intake.paused:
        reasons.append(f"The stage {stage} is paused: {intake.reason}")
    return reasons


def _reason_of(retry: RequestEvent, stage: str) -> str:
    code = retry.detail.get("code", "an unknown error")
    if retry.transition == "parked":
        return f"The cause of {code} is outside of the request: the wait uses up no attempt."
    return f"The stage {stage} is repeated after {code}; the wait grows with each attempt."


def _breaker_reasons(endpoint: str, shared_state: SharedState) -> list[str]:
    breaker = shared_state.read(f"{BREAKER}{endpoint}", BreakerState)
    if breaker is None or breaker.state == "closed":
        return []
    state = breaker.state.replace("_", " ")
    since = f"{breaker.since:%Y-%m-%d %H:%M:%S} UTC"
    return [f"The circuit breaker {endpoint} is {state} since {since}."]
