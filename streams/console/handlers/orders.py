"""Orders of users: what was ordered, by whom, when, and for how many."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, get_args

import msgspec
from aiohttp import web

from schemas.commands import Command, OrderKind
from streams.console.handlers.requests import PAGE_PARAMETERS
from streams.console.http_messages import json_response
from streams.console.jobs.store import LATEST_MAX
from streams.console.queries import Page, QueryError, parse_moment, parse_page
from streams.console.rendering import render
from streams.console.routes import Parameter, RouteOperation, Routes
from streams.console.services import SERVICES, Services
from streams.history.order_list import OrderFilter, find_orders
from streams.history.orders import Order
from streams.history.rows import format_time

ROUTES = Routes()

ORDER_FILTERS = ("by", "order", "subject", "since")

ORDERS = tuple(
    sorted(
        {
            *get_args(OrderKind),
            *(str(each.__struct_config__.tag) for each in get_args(Command)),
        }
        - {"record_order"}
    )
)
"""All kinds of orders."""


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """An order of a user.

    Attributes:
        id: unique.
        at: time of its record, by the clock of the console or client.
        by: the author: a user that a proxy has named, `console`, or what another client has named.
        order: a command, or an order of the console.
        subject: the request, post, breaker, stage, job or dead letter.
        count: number of requests or dead letters.
        note: which ones, or why.
    """

    id: str
    at: Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
    by: str
    order: str
    subject: str
    count: int
    note: str


class OrderList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of orders, newest first.

    Attributes:
        next: the next page, relative to `/api/v1/`; null behind the last one.
        problem: why the orders are not read; null when they are.
    """

    orders: tuple[OrderView, ...]
    next: str | None
    problem: str | None


_PARAMETERS = (
    Parameter(name="by", description="The author.", example="ann"),
    Parameter(
        name="order",
        description="What was ordered.",
        schema={"type": "string", "enum": list(ORDERS)},
        example="cancel",
    ),
    Parameter(name="subject", description="Request, post, breaker, stage, job or dead letter."),
    Parameter(name="since", description="Ordered at this time or later.", example="2h"),
)


@ROUTES.get("/orders")
async def orders_page(request: web.Request) -> web.StreamResponse:
    services = request.app[SERVICES]
    query, orders = await _find(request)
    pages = await asyncio.to_thread(_find_pages, services, orders)
    return render(
        request,
        "orders.html",
        orders=[(each, pages.get(each.subject)) for each in orders],
        problem=services.orders_problem,
        kinds=ORDERS,
        filters=ORDER_FILTERS,
        texts=query.texts,
        following=query.next_page(orders),
    )


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/orders",
        name="listOrders",
        summary="Return the orders of users, newest first: what, who, when, and for how many.",
        parameters=(*_PARAMETERS, *PAGE_PARAMETERS),
        response=OrderList,
        example={
            "orders": [
                {
                    "id": "3-41",
                    "at": "2026-11-02T09:00:00.000Z",
                    "by": "ann",
                    "order": "retry_all",
                    "subject": "5f0c9a3e1b7d2468",
                    "count": 300,
                    "note": "error=content.not_found, quality=360p",
                }
            ],
            "next": None,
            "problem": None,
        },
    )
)
async def list_orders(request: web.Request) -> web.StreamResponse:
    query, orders = await _find(request)
    following = query.next_page(orders)
    found = OrderList(
        orders=tuple(map(_view, orders)),
        next=None if following is None else f"orders?{following}",
        problem=request.app[SERVICES].orders_problem,
    )
    return json_response(msgspec.to_builtins(found))


async def _find(request: web.Request) -> tuple[Page[OrderFilter], list[Order]]:
    query = parse_page(request.query, ORDER_FILTERS, _parse_filter)
    store = request.app[SERVICES].store
    found = await asyncio.to_thread(find_orders, store, query.wanted, query.limit, query.after)
    return query, found


def _parse_filter(texts: Mapping[str, str]) -> OrderFilter:
    order = texts.get("order")
    if order is not None and order not in ORDERS:
        raise QueryError("order", f"one of {', '.join(ORDERS)}")
    return OrderFilter(
        by=texts.get("by"),
        order=order,
        subject=texts.get("subject"),
        since=parse_moment("since", texts.get("since")),
    )


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


def _find_pages(services: Services, orders: Sequence[Order]) -> dict[str, str]:
    """Return the page of each subject that is still there, or on this console."""
    subjects = {each.subject for each in orders}
    jobs = {each.id for each in services.jobs.latest(LATEST_MAX)}
    dead_letters = services.dead_letters.index
    return {
        **dict.fromkeys(services.store.known([*subjects]), "request"),
        **{it: "deadletter" for it in subjects if dead_letters.get(it) is not None},
        **dict.fromkeys(subjects & jobs, "job"),
    }
