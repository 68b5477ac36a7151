"""The page of one request: its timeline, error, recovery, files and commands."""

import asyncio
import time

from aiohttp import web

from streams.console.advice import advice_of, can_retry, commands_of
from streams.console.event_text import format_id
from streams.console.pages.rendering import Renderer
from streams.console.pages.requests import unknown_request
from streams.console.services import Services
from streams.console.timeline import failed_endpoints, timeline
from streams.console.waits import waiting_reasons
from streams.history.rows import RequestFilter, RequestRow
from streams.settings.console import TRACE_ID


class RequestPage:
    """The handler of this page."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._store = services.store
        self._shared_state = services.shared_state
        self._trace_url = services.settings.console.trace_url
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/request", self.show)

    async def show(self, request: web.Request) -> web.Response:
        request_id = request.query.get("id", "")
        revision = await asyncio.to_thread(self._store.revision)
        row = await asyncio.to_thread(self._store.request, request_id)
        if row is None and "ordered" in request.query:
            return self._renderer.page("ordered.html", request_id=request_id)
        if row is None:
            raise unknown_request(request_id)
        events = await asyncio.to_thread(self._store.events, request_id)
        members = RequestFilter(batch=request_id)
        phases = timeline(row, events, time.time())
        return self._renderer.page(
            "request.html",
            row=row,
            revision=format_id(revision),
            events=events,
            has_members=bool(await asyncio.to_thread(self._store.requests, members, 1)),
            is_cancelled=request.query.get("ordered") == "cancel",
            phases=phases,
            endpoints=failed_endpoints(phases),
            advice=advice_of(row),
            can_retry=can_retry(row),
            reasons=waiting_reasons(row, events, self._shared_state),
            trace_url=self._trace_link(row),
            commands=commands_of(row),
        )

    def _trace_link(self, row: RequestRow) -> str | None:
        if self._trace_url is None or row.trace_id is None:
            return None
        return self._trace_url.replace(TRACE_ID, row.trace_id)
