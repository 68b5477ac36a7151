"""The health of the service: overview, stages, failures."""

import asyncio
import time

import msgspec
from aiohttp import web

from streams.console.api.health_operations import FailureList, StageList, StageView
from streams.console.api.responses import ROOT, json_response
from streams.console.api.signals import signals_to_json
from streams.console.health.facts import Facts, FactsReader, is_cut
from streams.console.health.problems import find_problems
from streams.console.services import Services
from streams.history.statistics import read_failures


class HealthApi:
    """The handlers of the health."""

    def __init__(self, services: Services, facts: FactsReader) -> None:
        self._store = services.store
        self._facts = facts

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/overview", self.show_overview)
        router.add_get(f"{ROOT}/stages", self.list_stages)
        router.add_get(f"{ROOT}/failures", self.list_failures)

    async def show_overview(self, _request: web.Request) -> web.Response:
        return json_response(overview_to_json(await self._facts.read()))

    async def list_stages(self, _request: web.Request) -> web.Response:
        return json_response(msgspec.to_builtins(stage_list(await self._facts.read())))

    async def list_failures(self, _request: web.Request) -> web.Response:
        """Return failures by error code and platform, the most frequent first."""
        groups = await asyncio.to_thread(read_failures, self._store, time.time())
        return json_response(msgspec.to_builtins(FailureList(failures=tuple(groups))))


def overview_to_json(facts: Facts) -> dict[str, object]:
    history = facts.history
    return {
        "at": facts.now,
        "problems": msgspec.to_builtins(find_problems(facts)),
        "states": dict(history.states),
        "results": msgspec.to_builtins(history.results),
        "waiting": msgspec.to_builtins(history.waiting),
        "stages": msgspec.to_builtins(stage_list(facts)),
        "breakers": signals_to_json(each for each in facts.breakers if each.state != "closed"),
        "rates": signals_to_json(each for each in facts.rates if is_cut(each, facts.now)),
        "accounts": signals_to_json(facts.accounts),
        "dead_letters": msgspec.to_builtins(facts.dead_letters),
    }


def stage_list(facts: Facts) -> StageList:
    """Return all stages, by name; those of the measurement that failed have no lag."""
    return StageList(
        stages=tuple(_stage_view(facts, name) for name in sorted(facts.stages)),
        measured_at=facts.lag.measured_at,
        problem=facts.lag.problem,
    )


def _stage_view(facts: Facts, name: str) -> StageView:
    measured = facts.lag.stages.get(name)
    return StageView(
        name=name,
        topics=() if measured is None else measured.topics,
        lag=None if measured is None else measured.lag,
        members=None if measured is None else measured.members,
        is_delaying=name in facts.delaying,
        pause=facts.pauses.get(name),
    )
