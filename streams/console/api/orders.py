"""Orders of users."""

import asyncio

import msgspec
from aiohttp import web

from streams.console.api.order_operations import OrderList, OrderView
from streams.console.api.responses import ROOT, json_response
from streams.console.order_queries import parse_orders
from streams.console.services import Services
from streams.history.order_list import find_orders
from streams.history.orders import Order
from streams.history.rows import format_time


class OrderApi:
    """The handler of orders."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._problem = services.orders_problem

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/orders", self.list_orders)

    async def list_orders(self, request: web.Request) -> web.Response:
        """Return a page of orders, newest first, and the query of the next page."""
        query = parse_orders(request.query)
        orders = await asyncio.to_thread(
            find_orders, self._store, query.wanted, query.limit, query.after
        )
        following = query.next_page(orders)
        found = OrderList(
            orders=tuple(map(_view, orders)),
            next=None if following is None else f"orders?{following}",
            problem=self._problem,
        )
        return json_response(msgspec.to_builtins(found))


def _view(order: Order) -> OrderView:
    return OrderView(
        id=order.id,
        at=format_time(order.at),
        by=order.by,
        order=order.order,
        subject=order.subject,
        count=order.count,
        note=order.note,
    )
