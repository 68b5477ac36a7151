"""The page of the orders of users."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from streams.console.api.jobs import LATEST_MAX
from streams.console.order_queries import ORDER_FILTERS, ORDERS, parse_orders
from streams.console.pages.rendering import Renderer
from streams.console.services import Services
from streams.history.order_list import find_orders
from streams.history.orders import Order


class OrderPages:
    """The handler of this page."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._store = services.store
        self._jobs = services.jobs
        self._dead_letters = services.dead_letters.index
        self._problem = services.orders_problem
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/orders", self.list_orders)

    async def list_orders(self, request: web.Request) -> web.Response:
        query = parse_orders(request.query)
        orders = await asyncio.to_thread(
            find_orders, self._store, query.wanted, query.limit, query.after
        )
        pages = await asyncio.to_thread(self._find_pages, orders)
        return self._renderer.page(
            "orders.html",
            orders=[(each, pages.get(each.subject)) for each in orders],
            problem=self._problem,
            kinds=ORDERS,
            filters=ORDER_FILTERS,
            texts=query.texts,
            following=query.next_page(orders),
        )

    def _find_pages(self, orders: Sequence[Order]) -> dict[str, str]:
        """Return the page of each subject that is still there, or on this console."""
        subjects = {each.subject for each in orders}
        jobs = {each.id for each in self._jobs.latest(LATEST_MAX)}
        return {
            **dict.fromkeys(self._store.known([*subjects]), "request"),
            **{it: "deadletter" for it in subjects if self._dead_letters.get(it) is not None},
            **dict.fromkeys(subjects & jobs, "job"),
        }
