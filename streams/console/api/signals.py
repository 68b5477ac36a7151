"""Shared state: show breakers and rates, open or reset a breaker, resume a stage."""

import msgspec
from aiohttp import web

from schemas.signals import BREAKER, RATE, BreakerState, RateState
from streams.console.access import USER
from streams.console.api.responses import ROOT, json_response, read_object
from streams.console.commands import (
    SignalCommand,
    parse_open_breaker,
    parse_reset_breaker,
    parse_resume_stage,
    publish_commands,
)
from streams.console.services import Services


class SignalApi:
    """The handlers of breakers, rates and paused stages."""

    def __init__(self, services: Services) -> None:
        self._shared_state = services.shared_state
        self._producer = services.producer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/breakers", self.list_breakers)
        router.add_post(f"{ROOT}/breakers/{{name}}/open", self.open_breaker)
        router.add_post(f"{ROOT}/breakers/{{name}}/reset", self.reset_breaker)
        router.add_get(f"{ROOT}/rates", self.list_rates)
        router.add_post(f"{ROOT}/stages/{{name}}/resume", self.resume_stage)

    async def list_breakers(self, _request: web.Request) -> web.Response:
        """Return all breakers, by name."""
        return json_response({"breakers": self._states(BREAKER, BreakerState)})

    async def list_rates(self, _request: web.Request) -> web.Response:
        """Return all rates, by name."""
        return json_response({"rates": self._states(RATE, RateState)})

    async def open_breaker(self, request: web.Request) -> web.Response:
        """Publish the command that forces a breaker open until it is reset."""
        await read_object(request)
        return await self._publish(parse_open_breaker(request.match_info["name"], request[USER]))

    async def reset_breaker(self, request: web.Request) -> web.Response:
        """Publish the command that closes a breaker and clears its counts."""
        await read_object(request)
        return await self._publish(parse_reset_breaker(request.match_info["name"], request[USER]))

    async def resume_stage(self, request: web.Request) -> web.Response:
        """Publish the command that resumes the intake of a paused stage."""
        await read_object(request)
        return await self._publish(parse_resume_stage(request.match_info["name"], request[USER]))

    async def _publish(self, command: SignalCommand) -> web.Response:
        await publish_commands(self._producer, [command])
        return json_response({"command": command.id}, 202)

    def _states(
        self, prefix: str, kind: type[BreakerState] | type[RateState]
    ) -> list[dict[str, object]]:
        keys = sorted(key for key, _ in self._shared_state.items(prefix))
        states = (self._shared_state.read(key, kind) for key in keys)
        return [
            {"name": each.name, **msgspec.to_builtins(each)} for each in states if each is not None
        ]
