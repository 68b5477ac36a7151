"""The page of the caches."""

from datetime import UTC, datetime

from aiohttp import web

from streams.console.caches import caches_of, sum_caches
from streams.console.health.shared_states import caches
from streams.console.pages.rendering import Renderer
from streams.console.services import Services


class CachePages:
    """The handler of this page."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._shared_state = services.shared_state
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/caches", self.show)

    async def show(self, _request: web.Request) -> web.Response:
        states = caches(self._shared_state, datetime.now(UTC))
        return self._renderer.page(
            "caches.html", sums=sum_caches(states), workers=list(map(caches_of, states))
        )
