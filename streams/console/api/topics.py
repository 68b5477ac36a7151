"""The topics of the pipeline, and the stages that consume them."""

import msgspec
from aiohttp import web

from streams.console.api.responses import ROOT, json_response
from streams.console.services import Services


class TopicApi:
    """The handler of topics."""

    def __init__(self, services: Services) -> None:
        self._pipeline = services.pipeline
        self._shared_state = services.shared_state

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/topics", self.list_topics)

    async def list_topics(self, _request: web.Request) -> web.Response:
        """Return the topics with their offsets, and the stages with their groups."""
        return json_response(msgspec.to_builtins(await self._pipeline.view(self._shared_state)))
