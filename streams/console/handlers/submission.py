"""Submits requests; its page is also the target of a bookmarklet and of a phone's share menu."""

import asyncio
import re
import time
from typing import Any, get_args

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from schemas.codec import MalformedMessageError, decode, encode
from schemas.contract.components import REFERENCE
from schemas.contract.descriptions import field_descriptions
from schemas.contract.examples import REQUESTS
from schemas.contract.json_schema import REQUEST
from schemas.request import Action, Request
from streams.console.access import USER
from streams.console.commands import parse_requests, submit_requests
from streams.console.errors import CallError
from streams.console.forms import OPTION_FIELDS, derived_id, form_values, option_values
from streams.console.http_messages import json_response, read_body
from streams.console.rendering import redirect, render
from streams.console.routes import CHANGE_ERRORS, Body, RouteOperation, Routes
from streams.console.services import SERVICES
from streams.history.rows import format_time
from streams.new_requests import InputError, NewRequest, new_id

ROUTES = Routes()

ACTIONS = get_args(Action)
ABOUT_ACTION = field_descriptions(Request)["action"]

LINK = re.compile(r"(?:https?://|\bwww\.)[^\s<>\"']+")

CLOCK_SKEW_SECONDS = 5.0
"""Tolerated clock skew: the list of the submitted requests begins this much earlier."""

SHARED_PARAMETERS = ("url", "text", "title")
"""Parameters of a share target and of the bookmarklet."""

LINES = frozenset({"text/plain", "application/x-ndjson"})
"""Content types of a body with one URL or request per line."""


class AcceptedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A published request.

    Attributes:
        href: its history, relative to `/api/v1/`.
        url: of a single request.
        batch_size: of a batch.
    """

    id: str
    href: str
    url: str | UnsetType = UNSET
    batch_size: int | UnsetType = UNSET


class AcceptedRequests(msgspec.Struct, frozen=True, kw_only=True):
    """The published requests, in the order of the body."""

    requests: tuple[AcceptedRequest, ...]


_ONE = {"$ref": f"{REFERENCE}{REQUEST.schema_name}"}

_LINES = {
    "type": "string",
    "description": "A URL or a request as JSON on each line; lines that begin with # are ignored.",
}


@ROUTES.get("/submit")
async def submit_page(request: web.Request) -> web.StreamResponse:
    """Show the form, filled with the links that another application has shared."""
    shared = " ".join(request.query.get(name, "") for name in SHARED_PARAMETERS)
    return _form(request, "\n".join(find_links(shared)))


@ROUTES.post("/submit")
async def submit_form(request: web.Request) -> web.StreamResponse:
    """Publish a request for each link in the text; an error shows the form again."""
    form = await form_values(request)
    text = form.get("text", "")
    links = await asyncio.to_thread(find_links, text)
    if not links:
        message = "There is no link in the text; a link begins with https:// or www."
        return _form(request, text, message, status=400)
    try:
        fields = {"action": form.get("action", ACTIONS[0]), "options": option_values(form)}
        lines = "\n".join(links).encode()
        run_id = derived_id(form)
        requests = await asyncio.to_thread(parse_requests, lines, "the text", run_id, fields)
    except InputError as error:
        return _form(request, text, str(error), status=400)
    await submit_requests(request.app[SERVICES].producer, requests, request[USER])
    if len(requests) == 1:
        return redirect("request", id=requests[0].id, ordered="submit")
    since = format_time(time.time() - CLOCK_SKEW_SECONDS)
    return redirect("./", since=since, submitted=str(len(requests)))


def _form(
    request: web.Request, text: str, error: str | None = None, status: int = 200
) -> web.Response:
    return render(
        request,
        "submit.html",
        status,
        text=text,
        error=error,
        actions=ACTIONS,
        about_action=ABOUT_ACTION,
        fields=OPTION_FIELDS,
    )


def find_links(text: str) -> list[str]:
    """Return the links in a text in order, each once."""
    return list(dict.fromkeys(match[0].rstrip(".,;:!?)]}") for match in LINK.finditer(text)))


@ROUTES.operation(
    RouteOperation(
        method="post",
        path="/requests",
        name="submitRequests",
        summary="Publish one request or many; all of the body or nothing. Publishing again with "
        "the same ids is idempotent.",
        body=Body(
            content={
                "application/json": {"anyOf": [_ONE, {"type": "array", "items": _ONE}]},
                "application/x-ndjson": _LINES,
                "text/plain": _LINES,
            },
            example=REQUESTS[0],
        ),
        status=202,
        response=AcceptedRequests,
        example={
            "requests": [{"id": "4be1", "url": REQUESTS[0]["url"], "href": "requests/4be1"}],
        },
        errors=CHANGE_ERRORS,
    )
)
async def submit(request: web.Request) -> web.StreamResponse:
    body = await read_body(request)
    requests = await asyncio.to_thread(_parse_body, body, request.content_type, new_id())
    await submit_requests(request.app[SERVICES].producer, requests, request[USER])
    return json_response({"requests": [_accepted(each) for each in requests]}, 202)


def _parse_body(body: bytes, content_type: str, run_id: str) -> list[NewRequest]:
    if content_type in LINES:
        requests = parse_requests(body, "body", run_id)
    elif content_type == "application/json":
        requests = parse_requests(_as_lines(body), "body", run_id)
    else:
        accepted = ", ".join(["application/json", *sorted(LINES)])
        raise CallError(415, "Content-Type", f"{content_type}: the body is one of {accepted}")
    if not requests:
        raise CallError(400, "body", "the body has no request")
    return requests


def _as_lines(body: bytes) -> bytes:
    """Return each request of a JSON object, or array of objects, on a line of its own."""
    try:
        value: Any = decode(body, Any)
    except MalformedMessageError as error:
        raise CallError(400, "body", str(error)) from None
    requests = value if isinstance(value, list) else [value]
    for index, each in enumerate(requests):
        if not isinstance(each, dict):
            raise CallError(400, "body", f"$[{index}]: not a JSON object")
    return b"\n".join(map(encode, requests))


def _accepted(new: NewRequest) -> dict[str, object]:
    about = {"url": new.url} if new.url is not None else {"batch_size": new.members}
    return {"id": new.id, **about, "href": f"requests/{new.id}"}
