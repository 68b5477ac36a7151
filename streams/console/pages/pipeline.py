"""The page of the pipeline: stages with their groups, workers, engines, topics."""

from datetime import UTC, datetime

from aiohttp import web

from streams.console.health.shared_states import engines
from streams.console.pages.rendering import Renderer
from streams.console.services import Services


class PipelinePages:
    """The handler of this page."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._pipeline = services.pipeline
        self._shared_state = services.shared_state
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/pipeline", self.show)

    async def show(self, _request: web.Request) -> web.Response:
        view = await self._pipeline.view(self._shared_state)
        return self._renderer.page(
            "pipeline.html",
            view=view,
            workers=view.workers(),
            engines=engines(self._shared_state, datetime.now(UTC)),
        )
