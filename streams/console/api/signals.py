"""Shared state: show breakers and rates, open or reset a breaker, resume a stage."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from schemas.signals import AccountState, BreakerState, RateState
from streams.console.access import USER
from streams.console.api.responses import ROOT, json_response, read_object
from streams.console.commands import (
    SignalCommand,
    parse_open_breaker,
    parse_reset_breaker,
    parse_resume_stage,
    publish_commands,
)
from streams.console.health.shared_states import accounts, breakers, rates
from streams.console.services import Services


class SignalApi:
    """The handlers of breakers, rates, accounts and paused stages."""

    def __init__(self, services: Services) -> None:
        self._shared_state = services.shared_state
        self._producer = services.producer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/breakers", self.list_breakers)
        router.add_post(f"{ROOT}/breakers/{{name}}/open", self.open_breaker)
        router.add_post(f"{ROOT}/breakers/{{name}}/reset", self.reset_breaker)
        router.add_get(f"{ROOT}/rates", self.list_rates)
        router.add_get(f"{ROOT}/accounts", self.list_accounts)
        router.add_post(f"{ROOT}/stages/{{name}}/resume", self.resume_stage)

    async def list_breakers(self, _request: web.Request) -> web.Response:
        """Return all breakers, by name."""
        return json_response({"breakers": signals_to_json(breakers(self._shared_state))})

    async def list_rates(self, _request: web.Request) -> web.Response:
        """Return all rates, by name."""
        return json_response({"rates": signals_to_json(rates(self._shared_state))})

    async def list_accounts(self, _request: web.Request) -> web.Response:
        """Return the accounts that a worker has, by name."""
        found = accounts(self._shared_state, datetime.now(UTC))
        return json_response({"accounts": signals_to_json(found)})

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


def signals_to_json(
    states: Iterable[AccountState | BreakerState | RateState],
) -> list[dict[str, object]]:
    return [{"name": each.name, **msgspec.to_builtins(each)} for each in states]
