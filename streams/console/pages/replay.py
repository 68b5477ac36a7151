"""The page that replays dead letters: confirms what a dry run selects, then shows the progress."""

import msgspec
from aiohttp import web

from streams.console.access import USER
from streams.console.dead_letter_orders import start_replay
from streams.console.dead_letter_queries import (
    ReplayOrder,
    parse_order_form,
    replay_command,
    with_fixed_moments,
)
from streams.console.forms import form_values
from streams.console.pages.rendering import Renderer, redirect
from streams.console.services import Services


class ReplayPages:
    """The handlers of this page."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._dead_letters = services.dead_letters
        self._producer = services.producer
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/replay", self.show)
        router.add_post("/replay", self.start)

    async def show(self, request: web.Request) -> web.Response:
        """Show what a replay would do; without parameters, the progress of the latest one."""
        if not request.query:
            return self._renderer.page("replay.html", job=self._dead_letters.replays.latest)
        order = parse_order_form(request.query)
        plan = order.plan(self._dead_letters.replays_max, request[USER])
        _, totals = await self._dead_letters.dry_run(plan)
        order = with_fixed_moments(order, plan)
        if totals.replayed:
            # Not more than the page names, whatever arrives before its form is sent.
            order = msgspec.structs.replace(order, limit=totals.replayed)
        return self._renderer.page(
            "confirm_replay.html",
            totals=totals,
            skipped=totals.skipped.most_common(),
            order=order,
            fields=_form_fields(order),
            command=replay_command(order),
        )

    async def start(self, request: web.Request) -> web.Response:
        order = parse_order_form(await form_values(request))
        plan = order.plan(self._dead_letters.replays_max, request[USER])
        await start_replay(self._dead_letters, self._producer, order, plan)
        return redirect("replay")


def _form_fields(order: ReplayOrder) -> dict[str, str]:
    """Return the hidden fields of the form that starts a replay."""
    fields = dict(order.filter or {})
    if order.ids is not None:
        fields["id"] = order.ids[0]
    elif not fields:
        fields["all"] = "yes"
    return fields
