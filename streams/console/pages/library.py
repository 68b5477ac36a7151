"""The page of the library: stored files, to play and to download."""

import asyncio

from aiohttp import web

from streams.console.library_queries import LIBRARY_FILTERS, parse_library
from streams.console.pages.rendering import Renderer
from streams.console.services import Services
from streams.history.library import find_files, sum_files


class LibraryPages:
    """The handler of this page."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._store = services.store
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/library", self.list_files)

    async def list_files(self, request: web.Request) -> web.Response:
        query = parse_library(request.query)
        rows = await asyncio.to_thread(
            find_files, self._store, query.wanted, query.limit, query.after
        )
        totals = await asyncio.to_thread(sum_files, self._store, query.wanted)
        return self._renderer.page(
            "library.html",
            rows=rows,
            totals=totals,
            filters=LIBRARY_FILTERS,
            texts=query.texts,
            following=query.next_page(rows),
        )
