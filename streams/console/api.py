"""The HTTP API under ``/api/v1``: JSON of the history of requests."""

import asyncio

import orjson
from aiohttp import web

from streams.console.queries import parse_page
from streams.history.rows import event_to_json, row_to_json
from streams.history.store import HistoryStore

ROOT = "/api/v1"


class Api:
    """The handlers of the API.

    Args:
        store: the history, which another task fills.
    """

    def __init__(self, store: HistoryStore) -> None:
        self._store = store

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/requests", self.list_requests)
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


def json_response(body: object, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", charset="utf-8"
    )


def error_response(status: int, field: str, message: str) -> web.Response:
    """Return an error that names the parameter that it concerns."""
    return json_response({"error": {"field": field, "message": message}}, status)
