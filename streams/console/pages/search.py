"""The search box of every page: leads to a request, or to the list of those that match."""

import asyncio

from aiohttp import web

from schemas.errors import ErrorCode
from streams.console.errors import CallError
from streams.console.pages.rendering import redirect
from streams.console.queries import VALUE_CHARACTERS_MAX
from streams.console.services import Services
from streams.history.rows import RequestFilter
from streams.history.store import HistoryStore

_CODES = frozenset(ErrorCode)


class SearchPages:
    """The handler of the search box."""

    def __init__(self, services: Services) -> None:
        self._store = services.store

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/search", self.search)

    async def search(self, request: web.Request) -> web.Response:
        text = request.query.get("text", "").strip()
        if not text:
            return redirect("./")
        if len(text) > VALUE_CHARACTERS_MAX:
            raise CallError(400, "text", f"longer than {VALUE_CHARACTERS_MAX} characters")
        if await asyncio.to_thread(self._store.request, text) is not None:
            return redirect("request", id=text)
        criterion = await asyncio.to_thread(find_criterion, self._store, text)
        if criterion is None:
            raise CallError(
                404,
                "text",
                f"{text[:200]!r} is no id, URL, post (PLATFORM:ID), batch, error code or state "
                "of a request in the history",
            )
        return redirect("./", **{criterion: text})


def find_criterion(store: HistoryStore, text: str) -> str | None:
    """Return the criterion of the list that a searched text is a value of, None for none.

    Of a text that may be several things the first one counts: error code, URL, state, post, batch.
    """
    if text in _CODES:
        return "error"
    if text.startswith(("https://", "http://")):
        return "url"
    if text in store.counts(RequestFilter()):
        return "state"
    if store.requests(RequestFilter(video=text), 1):
        return "video"
    return "batch" if store.requests(RequestFilter(batch=text), 1) else None
