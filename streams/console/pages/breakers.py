"""The pages of breakers and rates, and the forms that open or reset a breaker or resume a stage."""

import asyncio
from datetime import UTC, datetime

from aiohttp import web

from schemas.signals import BREAKER, INTAKE, BreakerState, IntakeSignal
from streams.console.access import USER
from streams.console.commands import (
    SignalCommand,
    parse_open_breaker,
    parse_reset_breaker,
    parse_resume_stage,
    publish_commands,
)
from streams.console.errors import CallError
from streams.console.forms import form_values
from streams.console.health.facts import is_cut
from streams.console.health.shared_states import breakers, rates
from streams.console.jobs.selection import UNDECIDED
from streams.console.pages.rendering import Renderer, redirect
from streams.console.services import Services
from streams.history.rows import RequestFilter


class BreakerPages:
    """The handlers of these pages."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._shared_state = services.shared_state
        self._store = services.store
        self._producer = services.producer
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/breakers", self.list_breakers)
        router.add_get("/open-breaker", self.confirm_open)
        router.add_post("/open-breaker", self.open)
        router.add_get("/reset-breaker", self.confirm_reset)
        router.add_post("/reset-breaker", self.reset)
        router.add_get("/resume-stage", self.confirm_resume)
        router.add_post("/resume-stage", self.resume)

    async def list_breakers(self, request: web.Request) -> web.Response:
        now = datetime.now(UTC)
        return self._renderer.page(
            "breakers.html",
            breakers=breakers(self._shared_state),
            rates=[(each, is_cut(each, now)) for each in rates(self._shared_state)],
            is_ordered="ordered" in request.query,
        )

    async def confirm_open(self, request: web.Request) -> web.Response:
        """Ask whether to open a breaker; count the requests that it will stop."""
        breaker = self._breaker(request.query.get("name", ""))
        wanted = RequestFilter(platform=breaker.platform)
        counts = await asyncio.to_thread(self._store.counts, wanted)
        undecided = sum(counts.get(state, 0) for state in UNDECIDED)
        return self._renderer.page("open_breaker.html", breaker=breaker, undecided=undecided)

    async def confirm_reset(self, request: web.Request) -> web.Response:
        breaker = self._breaker(request.query.get("name", ""))
        return self._renderer.page("reset_breaker.html", breaker=breaker)

    async def confirm_resume(self, request: web.Request) -> web.Response:
        name = request.query.get("name", "")
        return self._renderer.page("resume_stage.html", name=name, pause=self._pause(name))

    async def open(self, request: web.Request) -> web.Response:
        name = self._breaker(await _posted_name(request)).name
        return await self._publish(parse_open_breaker(name, request[USER]), "breakers")

    async def reset(self, request: web.Request) -> web.Response:
        name = self._breaker(await _posted_name(request)).name
        return await self._publish(parse_reset_breaker(name, request[USER]), "breakers")

    async def resume(self, request: web.Request) -> web.Response:
        name = await _posted_name(request)
        self._pause(name)
        return await self._publish(parse_resume_stage(name, request[USER]), "overview")

    async def _publish(self, command: SignalCommand, page: str) -> web.Response:
        await publish_commands(self._producer, [command])
        return redirect(page, ordered="yes")

    def _breaker(self, name: str) -> BreakerState:
        found = self._shared_state.read(f"{BREAKER}{name}", BreakerState)
        if found is None:
            raise CallError(404, "name", f"There is no breaker {name[:200]!r}.")
        return found

    def _pause(self, name: str) -> IntakeSignal:
        found = self._shared_state.read(f"{INTAKE}{name}", IntakeSignal)
        if found is None or not found.paused:
            raise CallError(404, "name", f"The stage {name[:200]!r} is not paused.")
        return found


async def _posted_name(request: web.Request) -> str:
    return (await form_values(request)).get("name", "")
