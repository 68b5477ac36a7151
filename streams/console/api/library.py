"""The library: requests with stored files."""

import asyncio

import msgspec
from aiohttp import web

from streams.console.api.responses import ROOT, json_response
from streams.console.library_queries import parse_library
from streams.console.services import Services
from streams.history.library import find_files, sum_files
from streams.history.rows import row_to_json


class LibraryApi:
    """The handler of the library."""

    def __init__(self, services: Services) -> None:
        self._store = services.store

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/library", self.list_files)

    async def list_files(self, request: web.Request) -> web.Response:
        """Return a page of requests with files, the query of the next page, and the sums."""
        query = parse_library(request.query)
        rows = await asyncio.to_thread(
            find_files, self._store, query.wanted, query.limit, query.after
        )
        totals = await asyncio.to_thread(sum_files, self._store, query.wanted)
        following = query.next_page(rows)
        return json_response(
            {
                "requests": list(map(row_to_json, rows)),
                "next": None if following is None else f"library?{following}",
                "totals": msgspec.to_builtins(totals),
            }
        )
