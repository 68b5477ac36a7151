"""The pages of requests: the list, and the forms that cancel or retry it."""

import asyncio

from aiohttp import web

from streams.console.access import USER
from streams.console.advice import REJECTED
from streams.console.commands import parse_cancel, parse_retry, publish_commands
from streams.console.errors import CallError
from streams.console.event_text import format_id
from streams.console.forms import OPTION_FIELDS, derived_id, form_values, option_values
from streams.console.jobs.planning import find_matches
from streams.console.pages.rendering import Renderer, redirect
from streams.console.queries import FILTERS, parse_page
from streams.console.services import Services
from streams.history.rows import RequestFilter


class RequestPages:
    """The handlers of these pages."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._store = services.store
        self._producer = services.producer
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/", self.list_requests)
        router.add_get("/cancel", self.confirm_cancel)
        router.add_post("/cancel", self.cancel)
        router.add_get("/retry", self.edit_retry)
        router.add_post("/retry", self.retry)

    async def list_requests(self, request: web.Request) -> web.Response:
        texts = dict(request.query)
        submitted = texts.pop("submitted", "")
        query = parse_page(texts)
        revision = await asyncio.to_thread(self._store.revision)  # before the rows: none is missed
        rows = await asyncio.to_thread(self._store.requests, query.wanted, query.limit, query.after)
        counts = await asyncio.to_thread(self._store.counts, RequestFilter())
        matches = await asyncio.to_thread(find_matches, self._store, query.wanted)
        return self._renderer.page(
            "requests.html",
            matches=matches,
            rows=rows,
            revision=format_id(revision),
            limit=query.limit,
            counts=sorted(counts.items(), key=lambda each: -each[1]),
            filters=FILTERS,
            texts=query.texts,
            following=query.next_page(rows),
            submitted=submitted if submitted.isdecimal() else "",
        )

    async def confirm_cancel(self, request: web.Request) -> web.Response:
        request_id = request.query.get("id", "")
        if await asyncio.to_thread(self._store.request, request_id) is None:
            raise unknown_request(request_id)
        members = RequestFilter(batch=request_id)
        counts = await asyncio.to_thread(self._store.counts, members)
        count = sum(counts.values()) or 1
        return self._renderer.page("cancel.html", request_id=request_id, count=count)

    async def cancel(self, request: web.Request) -> web.Response:
        form = await form_values(request)
        command = parse_cancel(form.get("id", ""), request[USER])
        await publish_commands(self._producer, [command])
        return redirect("request", id=command.request_id, ordered="cancel")

    async def edit_retry(self, request: web.Request) -> web.Response:
        request_id = request.query.get("id", "")
        row = await asyncio.to_thread(self._store.request, request_id)
        if row is None:
            raise unknown_request(request_id)
        if row.state == REJECTED and row.url:
            return redirect("submit", url=row.url)
        return self._renderer.page("retry.html", row=row, fields=OPTION_FIELDS)

    async def retry(self, request: web.Request) -> web.Response:
        form = await form_values(request)
        command = parse_retry(
            form.get("id", ""), option_values(form), request[USER], name=derived_id(form)
        )
        await publish_commands(self._producer, [command])
        return redirect("request", id=command.new_id or "", ordered="retry")


def unknown_request(request_id: str) -> CallError:
    return CallError(404, "id", f"The history has no request {request_id[:200]!r}.")
