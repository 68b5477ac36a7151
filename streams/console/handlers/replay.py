"""Replays of dead letters: a dry run to confirm, the order to start, and the progress."""

from datetime import datetime
from typing import Literal

import msgspec
from aiohttp import web

from streams.console.access import USER
from streams.console.dead_letter_queries import (
    ReplayOrder,
    parse_order,
    parse_order_form,
    replay_command,
    with_fixed_moments,
)
from streams.console.forms import form_values
from streams.console.http_messages import json_response, read_object
from streams.console.rendering import redirect, render
from streams.console.routes import CHANGE_ERRORS, Body, RouteOperation, Routes
from streams.console.services import SERVICES

ROUTES = Routes()

SELECTED_IDS_MAX = 1_000
"""Ids in the response to a dry run."""


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """A replay that this console has started.

    Attributes:
        by: user.
        expected: number that was to be replayed when it began.
        skipped: number of matching ones that were not replayed, by reason.
        error: why it has failed.
    """

    state: Literal["running", "finished", "failed"]
    by: str
    expected: int
    replayed: int
    skipped: dict[str, int]
    started_at: datetime
    ended_at: datetime | None
    error: str | None


class LatestReplay(msgspec.Struct, frozen=True, kw_only=True):
    """The running replay of this console, or the last one, or null."""

    replay: ReplayView | None


class DryRunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay would do.

    Attributes:
        ids: the first ones that would be replayed.
        skipped: number of matching ones that would not, by reason.
        not_indexed: number of older ones that are not in the index, whether they match or not.
    """

    would_replay: int
    ids: tuple[str, ...]
    skipped: dict[str, int]
    not_indexed: int


_REPLAY = {
    "state": "running",
    "by": "ann",
    "expected": 300,
    "replayed": 100,
    "skipped": {"already replayed": 2},
    "started_at": "2026-11-02T09:00:00Z",
    "ended_at": None,
    "error": None,
}

_ORDER = Body(
    content={"application/json": ReplayOrder},
    example={"filter": {"code": "internal.bug"}, "limit": 100},
)


@ROUTES.get("/replay")
async def replay_page(request: web.Request) -> web.StreamResponse:
    """Show what a replay would do; without parameters, the progress of the latest one."""
    dead_letters = request.app[SERVICES].dead_letters
    if not request.query:
        return render(request, "replay.html", job=dead_letters.replays.latest)
    order = parse_order_form(request.query)
    plan = order.plan(dead_letters.replays_max, request[USER])
    _, totals = await dead_letters.dry_run(plan)
    order = with_fixed_moments(order, plan)
    if totals.replayed:
        # Not more than the page names, whatever arrives before its form is sent.
        order = msgspec.structs.replace(order, limit=totals.replayed)
    return render(
        request,
        "confirm_replay.html",
        totals=totals,
        skipped=totals.skipped.most_common(),
        order=order,
        fields=_form_fields(order),
        command=replay_command(order),
    )


def _form_fields(order: ReplayOrder) -> dict[str, str]:
    """Return the hidden fields of the form that starts a replay."""
    fields = dict(order.filter or {})
    if order.ids is not None:
        fields["id"] = order.ids[0]
    elif not fields:
        fields["all"] = "yes"
    return fields


@ROUTES.post("/replay")
async def replay_form(request: web.Request) -> web.StreamResponse:
    services, order = request.app[SERVICES], parse_order_form(await form_values(request))
    plan = order.plan(services.dead_letters.replays_max, request[USER])
    await services.dead_letters.start_replay(services.producer, order, plan)
    return redirect("replay")


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/replay",
        name="showReplay",
        summary="Return the running replay of this console, or the last one.",
        response=LatestReplay,
        example={"replay": _REPLAY},
    )
)
async def show_replay(request: web.Request) -> web.StreamResponse:
    job = request.app[SERVICES].dead_letters.replays.latest
    return json_response({"replay": None if job is None else job.to_json()})


@ROUTES.operation(
    RouteOperation(
        method="post",
        path="/replay",
        name="replayDeadLetters",
        summary="Replay dead letters by `ids`, or all that match `filter`.",
        body=_ORDER,
        status=202,
        response=ReplayView,
        example=_REPLAY,
        errors=(*CHANGE_ERRORS, 404, 409),
    )
)
async def replay(request: web.Request) -> web.StreamResponse:
    services, order = request.app[SERVICES], await _read_order(request)
    plan = order.plan(services.dead_letters.replays_max, request[USER])
    job = await services.dead_letters.start_replay(services.producer, order, plan)
    return json_response(job.to_json(), 202)


@ROUTES.operation(
    RouteOperation(
        method="post",
        path="/replay/dry-run",
        name="dryRunReplay",
        summary="Return what a replay would do; takes the same body, and publishes nothing.",
        body=_ORDER,
        response=DryRunResult,
        example={
            "would_replay": 1,
            "ids": ["0-17-1790931600000"],
            "skipped": {"already replayed": 2},
            "not_indexed": 0,
        },
        errors=(*CHANGE_ERRORS, 404),
    )
)
async def dry_run(request: web.Request) -> web.StreamResponse:
    dead_letters, order = request.app[SERVICES].dead_letters, await _read_order(request)
    plan = order.plan(dead_letters.replays_max, request[USER])
    selected, totals = await dead_letters.dry_run(plan)
    return json_response(
        {
            "would_replay": totals.replayed,
            "ids": [each.id for each in selected[:SELECTED_IDS_MAX]],
            "skipped": dict(totals.skipped),
            "not_indexed": dead_letters.index.dropped,
        }
    )


async def _read_order(request: web.Request) -> ReplayOrder:
    return parse_order(await read_object(request, *ReplayOrder.__struct_fields__))
