"""The stream of changes, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from aiohttp import ClientConnectionError, web

from streams.console.event_text import opening, parse_id, request_event
from streams.console.feed import ChangeFeed, Viewer
from streams.console.http_messages import HEADERS
from streams.console.queries import QueryError
from streams.console.routes import READ_ERRORS, Parameter, RouteOperation, Routes
from streams.console.services import SERVICES
from streams.history.rows import Revision
from streams.history.store import HistoryError, HistoryStore

ROUTES = Routes()

PARAMETERS = ("after", "request")

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # nginx would collect the events.
    "X-Accel-Buffering": "no",
}


FEED = web.AppKey("feed", ChangeFeed)

_STREAM: dict[str, Any] = {
    "type": "string",
    "description": "Server-sent events `requests`, `counts` and `reset`, and `progress` of the "
    "downloads of one request; the data are JSON.",
}


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/events",
        name="streamEvents",
        summary="Send changes as they happen, until the client disconnects.",
        parameters=(
            Parameter(name="after", description="Id of the last received event.", example="1.42"),
            Parameter(name="request", description="Id of the one request whose changes are sent."),
        ),
        content_type="text/event-stream",
        response=_STREAM,
        example='retry: 2000\nid: 1.42\n\nevent: counts\ndata: {"states":{"completed":120}}\n\n',
        errors=READ_ERRORS,
    )
)
async def stream_events(request: web.Request) -> web.StreamResponse:
    """Send changes as they happen, behind ``Last-Event-ID`` or ``after``."""
    after, request_id = _parse_parameters(request), request.query.get("request")
    store, feed = request.app[SERVICES].store, request.app[FEED]
    viewer = await feed.join(lambda: _abort(request), request_id)
    try:
        present = await asyncio.to_thread(store.revision)
        start = after if after is not None and request_id is None else present
        if request_id is None:
            texts = _changes(feed, viewer, start)
        else:
            texts = _changes_of_request(store, viewer, start, request_id)
        response = web.StreamResponse(headers=HEADERS | STREAM_HEADERS)
        # The client has closed the connection, or the history fails: it connects again.
        with suppress(ClientConnectionError, HistoryError):
            await response.prepare(request)
            await response.write(opening(start))
            async for text in texts:
                await response.write(text)
    finally:
        feed.leave(viewer)
    return response


async def _changes(feed: ChangeFeed, viewer: Viewer, after: Revision) -> AsyncIterator[bytes]:
    async for event in feed.changes_behind(after):
        yield event.text
        after = event.revision or after
    async for event in viewer.events():
        if event.kind == "requests" and _is_known(event.revision, after):
            continue
        yield event.text


async def _changes_of_request(
    store: HistoryStore, viewer: Viewer, start: Revision, request_id: str
) -> AsyncIterator[bytes]:
    """Yield a request as it is, and again when it has changed; and its progress."""
    if text := await _request_text(store, start, request_id):
        yield text
    async for event in viewer.events():
        if event.revision is not None and request_id in event.requests:
            if text := await _request_text(store, event.revision, request_id):
                yield text
        elif event.kind in ("progress", "reset", "heartbeat"):
            yield event.text


async def _request_text(store: HistoryStore, revision: Revision, request_id: str) -> bytes:
    row = await asyncio.to_thread(store.request, request_id)
    if row is None:
        return b""
    events = await asyncio.to_thread(store.events, request_id)
    return request_event(revision, row, events)


def _parse_parameters(request: web.Request) -> Revision | None:
    """Return the revision behind which a client resumes.

    Raises:
        QueryError: a parameter is unknown, or an id malformed.
    """
    for name in request.query:
        if name not in PARAMETERS:
            raise QueryError(name[:80], f"unknown; there are {', '.join(PARAMETERS)}")
    # A browser repeats the URL of a page that may be hours old, and adds the header.
    for field, given in (("Last-Event-ID", request.headers), ("after", request.query)):
        if text := given.get(field):
            return parse_id(text, field)
    return None


def _is_known(revision: Revision | None, after: Revision) -> bool:
    return (
        revision is not None
        and revision.generation == after.generation
        and revision.number <= after.number
    )


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
