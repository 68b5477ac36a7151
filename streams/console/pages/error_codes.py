"""The page of the error codes: what each means, and what to do about it."""

from aiohttp import web

from schemas.error_catalog import MESSAGES, REQUEST
from streams.console.pages.rendering import Renderer


class ErrorCodePages:
    """The handler of this page."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/codes", self.show)

    async def show(self, _request: web.Request) -> web.Response:
        return self._renderer.page("codes.html", messages=MESSAGES, placeholder=REQUEST)
