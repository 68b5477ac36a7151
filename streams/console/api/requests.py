"""Requests: list, show, count, submit, cancel, retry."""

import asyncio
from typing import Any

from aiohttp import web

from schemas.codec import MalformedMessageError, decode, encode
from streams.console.access import USER
from streams.console.api.responses import (
    ROOT,
    error_response,
    json_response,
    read_object,
)
from streams.console.bodies import read_body
from streams.console.commands import (
    new_id,
    parse_cancel,
    parse_requests,
    parse_retry,
    publish_commands,
)
from streams.console.errors import CallError
from streams.console.orders import submit_requests
from streams.console.queries import parse_page
from streams.console.services import Services
from streams.history.rows import event_to_json, row_to_json
from streams.new_requests import NewRequest

LINES = frozenset({"text/plain", "application/x-ndjson"})
"""Content types of a body with one URL or request per line."""


class RequestApi:
    """The handlers of requests."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._producer = services.producer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/requests", self.list_requests)
        router.add_post(f"{ROOT}/requests", self.submit)
        router.add_post(f"{ROOT}/requests/{{id:.+}}/cancel", self.cancel)
        router.add_post(f"{ROOT}/requests/{{id:.+}}/retry", self.retry)
        router.add_get(f"{ROOT}/requests/{{id:.+}}", self.show_request)
        router.add_get(f"{ROOT}/counts", self.count)

    async def list_requests(self, request: web.Request) -> web.Response:
        """Return a page of requests, newest first, and the query of the next page."""
        query = parse_page(request.query)
        rows = await asyncio.to_thread(self._store.requests, query.wanted, query.limit, query.after)
        following = query.next_page(rows)
        return json_response(
            {
                "requests": list(map(row_to_json, rows)),
                "next": None if following is None else f"requests?{following}",
            }
        )

    async def show_request(self, request: web.Request) -> web.Response:
        """Return a request with its transitions, oldest first."""
        request_id = request.match_info["id"]
        row = await asyncio.to_thread(self._store.request, request_id)
        if row is None:
            return error_response(404, "id", "the history has no request of this id")
        events = await asyncio.to_thread(self._store.events, request_id)
        return json_response({**row_to_json(row), "events": list(map(event_to_json, events))})

    async def count(self, request: web.Request) -> web.Response:
        """Return the number of matching requests by state."""
        wanted = parse_page(request.query).wanted
        return json_response({"states": await asyncio.to_thread(self._store.counts, wanted)})

    async def submit(self, request: web.Request) -> web.Response:
        """Publish one request, an array of them, or lines; all of the body or nothing.

        Publishing again with the same ids is idempotent.
        """
        requests = await asyncio.to_thread(
            _parse_body, await read_body(request), request.content_type, new_id()
        )
        await submit_requests(self._producer, requests, request[USER])
        return json_response({"requests": [_accepted(each) for each in requests]}, 202)

    async def cancel(self, request: web.Request) -> web.Response:
        """Publish the command that cancels a request, or a batch with all its members."""
        await read_object(request)
        command = parse_cancel(request.match_info["id"], request[USER])
        await publish_commands(self._producer, [command])
        return json_response({"command": command.id, "request_id": command.request_id}, 202)

    async def retry(self, request: web.Request) -> web.Response:
        """Publish the command that makes a new request of a decided one; it keeps all options.

        Publishing again with the same ``id`` is idempotent.
        """
        body = await read_object(request, "id", "options")
        command = parse_retry(
            request.match_info["id"],
            body.get("options", {}),
            request[USER],
            name=body.get("id") or new_id(),
        )
        await publish_commands(self._producer, [command])
        return json_response({"id": command.new_id, "href": f"requests/{command.new_id}"}, 202)


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
