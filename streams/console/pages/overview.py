"""The page that shows what runs and what is wrong."""

from aiohttp import web

from streams.console.api.health import stage_list
from streams.console.health.facts import FactsReader, is_cut
from streams.console.health.problems import find_problems
from streams.console.pages.rendering import Renderer


class OverviewPages:
    """The handler of this page."""

    def __init__(self, facts: FactsReader, renderer: Renderer) -> None:
        self._facts = facts
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/overview", self.show)

    async def show(self, request: web.Request) -> web.Response:
        facts = await self._facts.read()
        return self._renderer.page(
            "overview.html",
            problems=find_problems(facts),
            states=sorted(facts.history.states.items(), key=lambda each: -each[1]),
            results=facts.history.results,
            waiting=facts.history.waiting,
            stages=stage_list(facts),
            breakers=[each for each in facts.breakers if each.state != "closed"],
            rates=[each for each in facts.rates if is_cut(each, facts.now)],
            accounts=facts.accounts,
            dead_letters=facts.dead_letters,
            at=facts.now,
            is_ordered="ordered" in request.query,
        )
