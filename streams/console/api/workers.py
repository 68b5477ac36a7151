"""What the workers publish of themselves: their caches and their engines."""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from streams.console.api.responses import ROOT, json_response
from streams.console.api.worker_operations import CacheList, EngineList
from streams.console.caches import caches_of, sum_caches
from streams.console.health.shared_states import caches, engines
from streams.console.services import Services


class WorkerApi:
    """The handlers of caches and engines."""

    def __init__(self, services: Services) -> None:
        self._shared_state = services.shared_state

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/caches", self.list_caches)
        router.add_get(f"{ROOT}/engine", self.list_engines)

    async def list_caches(self, _request: web.Request) -> web.Response:
        """Return the caches, summed over the workers, and by worker."""
        states = caches(self._shared_state, datetime.now(UTC))
        found = CacheList(caches=sum_caches(states), workers=tuple(map(caches_of, states)))
        return json_response(msgspec.to_builtins(found))

    async def list_engines(self, _request: web.Request) -> web.Response:
        """Return the engines of all workers, by worker."""
        found = EngineList(engines=engines(self._shared_state, datetime.now(UTC)))
        return json_response(msgspec.to_builtins(found))
