"""Commands for one request, or one batch: cancel and retry."""

import asyncio

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from schemas.commands import OptionChanges
from schemas.request import RequestId
from streams.console.access import USER
from streams.console.advice import REJECTED
from streams.console.commands import parse_cancel, parse_retry, publish_commands
from streams.console.forms import OPTION_FIELDS, derived_id, form_values, option_values
from streams.console.handlers.request import ID, unknown_request
from streams.console.http_messages import json_response, read_object
from streams.console.rendering import redirect, render
from streams.console.routes import CHANGE_ERRORS, NO_BODY, Body, RouteOperation, Routes
from streams.console.services import SERVICES
from streams.history.rows import RequestFilter
from streams.new_requests import new_id

ROUTES = Routes()


class AcceptedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A published command.

    Attributes:
        command: id of the command; a rejection is a result with this id.
    """

    command: str
    request_id: str


class AcceptedRetry(msgspec.Struct, frozen=True, kw_only=True):
    """The new request that a retry makes.

    Attributes:
        href: its history, relative to `/api/v1/`.
    """

    id: str
    href: str


class RetryBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of a retry.

    Attributes:
        id: of the new request; the same one again makes no second request.
        options: the changed options; the others are kept.
    """

    id: RequestId | UnsetType = UNSET
    options: OptionChanges | UnsetType = UNSET


@ROUTES.get("/cancel")
async def cancel_page(request: web.Request) -> web.StreamResponse:
    """Ask whether to cancel a request; count the members of a batch."""
    store, request_id = request.app[SERVICES].store, request.query.get("id", "")
    if await asyncio.to_thread(store.request, request_id) is None:
        raise unknown_request(request_id)
    counts = await asyncio.to_thread(store.counts, RequestFilter(batch=request_id))
    count = sum(counts.values()) or 1
    return render(request, "cancel.html", request_id=request_id, count=count)


@ROUTES.post("/cancel")
async def cancel_form(request: web.Request) -> web.StreamResponse:
    form = await form_values(request)
    command = parse_cancel(form.get("id", ""), request[USER])
    await publish_commands(request.app[SERVICES].producer, [command])
    return redirect("request", id=command.request_id, ordered="cancel")


@ROUTES.operation(
    RouteOperation(
        method="post",
        path="/requests/{id}/cancel",
        name="cancelRequest",
        summary="Publish the command that cancels a request, or a batch with all its members.",
        parameters=(ID,),
        body=NO_BODY,
        status=202,
        response=AcceptedCommand,
        example={"command": "7f3a", "request_id": "order-4"},
        errors=(*CHANGE_ERRORS, 404),
    )
)
async def cancel(request: web.Request) -> web.StreamResponse:
    await read_object(request)
    command = parse_cancel(request.match_info["id"], request[USER])
    await publish_commands(request.app[SERVICES].producer, [command])
    return json_response({"command": command.id, "request_id": command.request_id}, 202)


@ROUTES.get("/retry")
async def retry_page(request: web.Request) -> web.StreamResponse:
    """Show the options of a retry; a rejected request has no job, and is submitted again."""
    request_id = request.query.get("id", "")
    row = await asyncio.to_thread(request.app[SERVICES].store.request, request_id)
    if row is None:
        raise unknown_request(request_id)
    if row.state == REJECTED and row.url:
        return redirect("submit", url=row.url)
    return render(request, "retry.html", row=row, fields=OPTION_FIELDS)


@ROUTES.post("/retry")
async def retry_form(request: web.Request) -> web.StreamResponse:
    form = await form_values(request)
    command = parse_retry(
        form.get("id", ""), option_values(form), request[USER], name=derived_id(form)
    )
    await publish_commands(request.app[SERVICES].producer, [command])
    return redirect("request", id=command.new_id or "", ordered="retry")


@ROUTES.operation(
    RouteOperation(
        method="post",
        path="/requests/{id}/retry",
        name="retryRequest",
        summary="Publish the command that makes a new request of a decided one.",
        parameters=(ID,),
        body=Body(
            content={"application/json": RetryBody},
            example={"options": {"quality": "480p"}},
            required=False,
        ),
        status=202,
        response=AcceptedRetry,
        example={"id": "9c21", "href": "requests/9c21"},
        errors=(*CHANGE_ERRORS, 404),
    )
)
async def retry(request: web.Request) -> web.StreamResponse:
    """Publish a retry, which keeps all other options; the same ``id`` again is idempotent."""
    body = await read_object(request, "id", "options")
    command = parse_retry(
        request.match_info["id"],
        body.get("options", {}),
        request[USER],
        name=body.get("id") or new_id(),
    )
    await publish_commands(request.app[SERVICES].producer, [command])
    return json_response({"id": command.new_id, "href": f"requests/{command.new_id}"}, 202)
