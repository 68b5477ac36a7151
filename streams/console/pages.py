"""The pages of the console, rendered on the server; they need no JavaScript.

All links are relative, so the console works under any path of a reverse proxy.
"""

import asyncio
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from streams.console.queries import FILTERS, parse_page
from streams.history.rows import RequestFilter, format_time
from streams.history.store import HistoryStore


class Pages:
    """The handlers of the pages.

    Args:
        store: the history, which another task fills.
    """

    def __init__(self, store: HistoryStore) -> None:
        self._store = store
        self._templates = Environment(
            loader=PackageLoader("streams.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["rfc3339"] = format_time
        self._templates.filters["time"] = _to_the_second
        self._templates.filters["query"] = urlencode

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/", self.list_requests)
        router.add_get("/request", self.show_request)

    async def list_requests(self, request: web.Request) -> web.Response:
        query = parse_page(request.query)
        rows = await asyncio.to_thread(self._store.requests, query.wanted, query.limit, query.after)
        counts = await asyncio.to_thread(self._store.counts, RequestFilter())
        return self._render(
            "requests.html",
            rows=rows,
            counts=sorted(counts.items(), key=lambda each: -each[1]),
            filters=FILTERS,
            texts=query.texts,
            following=query.next_page(rows),
        )

    async def show_request(self, request: web.Request) -> web.Response:
        request_id = request.query.get("id", "")
        row = await asyncio.to_thread(self._store.request, request_id)
        if row is None:
            return self.error(404, f"The history has no request {request_id[:200]!r}.")
        events = await asyncio.to_thread(self._store.events, request_id)
        members = RequestFilter(batch=request_id)
        has_members = bool(await asyncio.to_thread(self._store.requests, members, 1))
        return self._render("request.html", row=row, events=events, has_members=has_members)

    def error(self, status: int, message: str) -> web.Response:
        """Return an error page."""
        return self._render("error.html", status=status, message=message)

    def _render(self, template: str, status: int = 200, **values: object) -> web.Response:
        text = self._templates.get_template(template).render(status=status, **values)
        return web.Response(text=text, status=status, content_type="text/html")


def _to_the_second(seconds: float) -> str:
    return format_time(seconds)[:19].replace("T", " ")
