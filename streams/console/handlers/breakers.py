"""Breakers, rates and accounts; the forms that open or reset a breaker, or resume a stage."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from schemas.contract.examples import ACCOUNT_STATE, BREAKER_STATES, RATE_STATES
from schemas.signals import (
    BREAKER,
    INTAKE,
    AccountState,
    BreakerState,
    IntakeSignal,
    RateState,
)
from streams.console.access import USER
from streams.console.commands import (
    parse_open_breaker,
    parse_reset_breaker,
    parse_resume_stage,
    publish_commands,
)
from streams.console.errors import CallError
from streams.console.forms import form_values
from streams.console.health.facts import is_cut
from streams.console.health.shared_states import accounts, breakers, rates
from streams.console.http_messages import json_response, read_object
from streams.console.jobs.selection import UNDECIDED
from streams.console.rendering import redirect, render
from streams.console.routes import CHANGE_ERRORS, NO_BODY, Parameter, RouteOperation, Routes
from streams.console.services import SERVICES
from streams.history.rows import RequestFilter

ROUTES = Routes()


class BreakerView(BreakerState, frozen=True, kw_only=True):
    """A circuit breaker of one platform, operation and egress."""

    name: str


class RateView(RateState, frozen=True, kw_only=True):
    """A rate limit of an operation of a platform over one egress."""

    name: str


class AccountView(AccountState, frozen=True, kw_only=True):
    """An account of a platform, as the worker sees it that has published it last."""

    name: str


class BreakerList(msgspec.Struct, frozen=True, kw_only=True):
    """All breakers, by name."""

    breakers: tuple[BreakerView, ...]


class RateList(msgspec.Struct, frozen=True, kw_only=True):
    """All rates, by name."""

    rates: tuple[RateView, ...]


class AccountList(msgspec.Struct, frozen=True, kw_only=True):
    """The accounts that a worker has, by name."""

    accounts: tuple[AccountView, ...]


class AcceptedSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A published command.

    Attributes:
        command: id of the command; a rejection is a result with this id.
    """

    command: str


BREAKER_NAME = Parameter(
    name="name", description="`PLATFORM:OPERATION:EGRESS`.", example="tiktok:extract:direct"
)
STAGE_NAME = Parameter(name="name", description="Name of the stage.", example="download")


def signals_to_json(
    states: Iterable[AccountState | BreakerState | RateState],
) -> list[dict[str, object]]:
    return [{"name": each.name, **msgspec.to_builtins(each)} for each in states]


@ROUTES.get("/breakers")
async def breakers_page(request: web.Request) -> web.StreamResponse:
    shared_state, now = request.app[SERVICES].shared_state, datetime.now(UTC)
    return render(
        request,
        "breakers.html",
        breakers=breakers(shared_state),
        rates=[(each, is_cut(each, now)) for each in rates(shared_state)],
        is_ordered="ordered" in request.query,
    )


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/breakers",
        name="listBreakers",
        summary="Return all circuit breakers, by name.",
        response=BreakerList,
        example={"breakers": signals_to_json(BREAKER_STATES[:1])},
    )
)
async def list_breakers(request: web.Request) -> web.StreamResponse:
    found = breakers(request.app[SERVICES].shared_state)
    return json_response({"breakers": signals_to_json(found)})


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/rates",
        name="listRates",
        summary="Return all rate limits, by name.",
        response=RateList,
        example={"rates": signals_to_json(RATE_STATES[:1])},
    )
)
async def list_rates(request: web.Request) -> web.StreamResponse:
    found = rates(request.app[SERVICES].shared_state)
    return json_response({"rates": signals_to_json(found)})


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/accounts",
        name="listAccounts",
        summary="Return the accounts that a worker has, by name.",
        response=AccountList,
        example={"accounts": signals_to_json([ACCOUNT_STATE])},
    )
)
async def list_accounts(request: web.Request) -> web.StreamResponse:
    found = accounts(request.app[SERVICES].shared_state, datetime.now(UTC))
    return json_response({"accounts": signals_to_json(found)})


def _change(path: str, name: str, summary: str, parameter: Parameter) -> RouteOperation:
    return RouteOperation(
        method="post",
        path=path,
        name=name,
        summary=summary,
        parameters=(parameter,),
        body=NO_BODY,
        status=202,
        response=AcceptedSignal,
        example={"command": "7f3a"},
        errors=(*CHANGE_ERRORS, 404),
    )


@ROUTES.get("/open-breaker")
async def open_breaker_page(request: web.Request) -> web.StreamResponse:
    """Ask whether to open a breaker; count the requests that it will stop."""
    breaker = _find_breaker(request, request.query.get("name", ""))
    wanted = RequestFilter(platform=breaker.platform)
    counts = await asyncio.to_thread(request.app[SERVICES].store.counts, wanted)
    undecided = sum(counts.get(state, 0) for state in UNDECIDED)
    return render(request, "open_breaker.html", breaker=breaker, undecided=undecided)


@ROUTES.post("/open-breaker")
async def open_breaker_form(request: web.Request) -> web.StreamResponse:
    name = _find_breaker(request, await _posted_name(request)).name
    command = parse_open_breaker(name, request[USER])
    await publish_commands(request.app[SERVICES].producer, [command])
    return redirect("breakers", ordered="yes")


@ROUTES.operation(
    _change(
        "/breakers/{name}/open",
        "openBreaker",
        "Publish the command that forces a breaker open until it is reset.",
        BREAKER_NAME,
    )
)
async def open_breaker(request: web.Request) -> web.StreamResponse:
    await read_object(request)
    command = parse_open_breaker(request.match_info["name"], request[USER])
    await publish_commands(request.app[SERVICES].producer, [command])
    return json_response({"command": command.id}, 202)


@ROUTES.get("/reset-breaker")
async def reset_breaker_page(request: web.Request) -> web.StreamResponse:
    breaker = _find_breaker(request, request.query.get("name", ""))
    return render(request, "reset_breaker.html", breaker=breaker)


@ROUTES.post("/reset-breaker")
async def reset_breaker_form(request: web.Request) -> web.StreamResponse:
    name = _find_breaker(request, await _posted_name(request)).name
    command = parse_reset_breaker(name, request[USER])
    await publish_commands(request.app[SERVICES].producer, [command])
    return redirect("breakers", ordered="yes")


@ROUTES.operation(
    _change(
        "/breakers/{name}/reset",
        "resetBreaker",
        "Publish the command that closes a breaker and clears its counts.",
        BREAKER_NAME,
    )
)
async def reset_breaker(request: web.Request) -> web.StreamResponse:
    await read_object(request)
    command = parse_reset_breaker(request.match_info["name"], request[USER])
    await publish_commands(request.app[SERVICES].producer, [command])
    return json_response({"command": command.id}, 202)


def _find_breaker(request: web.Request, name: str) -> BreakerState:
    found = request.app[SERVICES].shared_state.read(f"{BREAKER}{name}", BreakerState)
    if found is None:
        raise CallError(404, "name", f"There is no breaker {name[:200]!r}.")
    return found


@ROUTES.get("/resume-stage")
async def resume_stage_page(request: web.Request) -> web.StreamResponse:
    name = request.query.get("name", "")
    return render(request, "resume_stage.html", name=name, pause=_find_pause(request, name))


@ROUTES.post("/resume-stage")
async def resume_stage_form(request: web.Request) -> web.StreamResponse:
    name = await _posted_name(request)
    _find_pause(request, name)
    command = parse_resume_stage(name, request[USER])
    await publish_commands(request.app[SERVICES].producer, [command])
    return redirect("overview", ordered="yes")


@ROUTES.operation(
    _change(
        "/stages/{name}/resume",
        "resumeStage",
        "Publish the command that resumes the intake of a paused stage.",
        STAGE_NAME,
    )
)
async def resume_stage(request: web.Request) -> web.StreamResponse:
    await read_object(request)
    command = parse_resume_stage(request.match_info["name"], request[USER])
    await publish_commands(request.app[SERVICES].producer, [command])
    return json_response({"command": command.id}, 202)


def _find_pause(request: web.Request, name: str) -> IntakeSignal:
    found = request.app[SERVICES].shared_state.read(f"{INTAKE}{name}", IntakeSignal)
    if found is None or not found.paused:
        raise CallError(404, "name", f"The stage {name[:200]!r} is not paused.")
    return found


async def _posted_name(request: web.Request) -> str:
    return (await form_values(request)).get("name", "")
