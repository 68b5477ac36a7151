"""The stream of changes, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import ClientConnectionError, web

from streams.console.api.responses import ROOT
from streams.console.event_text import opening, parse_id, request_event
from streams.console.feed import ChangeFeed, Viewer
from streams.console.headers import HEADERS
from streams.console.queries import QueryError
from streams.console.services import Services
from streams.history.rows import Revision
from streams.history.store import HistoryError

PARAMETERS = ("after", "request")

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # nginx would collect the events.
    "X-Accel-Buffering": "no",
}


class EventApi:
    """The handler of the stream."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._feed = ChangeFeed(services.store)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/events", self.stream)

    async def close(self, _application: web.Application) -> None:
        """End all streams; the server waits for them when it stops."""
        await self._feed.close()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send changes as they happen, behind ``Last-Event-ID`` or ``after``."""
        after, request_id = parse_parameters(request), request.query.get("request")
        viewer = await self._feed.join(lambda: _abort(request))
        try:
            present = await asyncio.to_thread(self._store.revision)
            start = after if after is not None and request_id is None else present
            response = web.StreamResponse(headers=HEADERS | STREAM_HEADERS)
            # The client has closed the connection, or the history fails: it connects again.
            with suppress(ClientConnectionError, HistoryError):
                await response.prepare(request)
                await response.write(opening(start))
                async for text in self._texts(viewer, start, request_id):
                    await response.write(text)
        finally:
            self._feed.leave(viewer)
        return response

    def _texts(
        self, viewer: Viewer, start: Revision, request_id: str | None
    ) -> AsyncIterator[bytes]:
        if request_id is None:
            return self._of_all(viewer, start)
        return self._of_request(viewer, start, request_id)

    async def _of_all(self, viewer: Viewer, after: Revision) -> AsyncIterator[bytes]:
        async for event in self._feed.changes_behind(after):
            yield event.text
            after = event.revision or after
        async for event in viewer.events():
            if event.kind == "requests" and _is_known(event.revision, after):
                continue
            yield event.text

    async def _of_request(
        self, viewer: Viewer, start: Revision, request_id: str
    ) -> AsyncIterator[bytes]:
        """Yield a request as it is, and again when it has changed."""
        if text := await self._request_text(start, request_id):
            yield text
        async for event in viewer.events():
            if event.revision is not None and request_id in event.requests:
                if text := await self._request_text(event.revision, request_id):
                    yield text
            elif event.kind in ("reset", "heartbeat"):
                yield event.text

    async def _request_text(self, revision: Revision, request_id: str) -> bytes:
        row = await asyncio.to_thread(self._store.request, request_id)
        if row is None:
            return b""
        events = await asyncio.to_thread(self._store.events, request_id)
        return request_event(revision, row, events)


def parse_parameters(request: web.Request) -> Revision | None:
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
