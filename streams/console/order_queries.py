"""Query strings of the orders."""

from collections.abc import Mapping
from typing import get_args
from urllib.parse import urlencode

import msgspec

from schemas.commands import Command, OrderKind
from streams.console.queries import (
    QueryError,
    format_cursor,
    given_texts,
    parse_cursor,
    parse_limit,
    parse_moment,
)
from streams.history.order_list import OrderFilter
from streams.history.orders import Order
from streams.history.rows import Cursor

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


class OrderQuery(msgspec.Struct, frozen=True):
    """A page of orders.

    Attributes:
        texts: the filters as they were given, for the form and the links.
    """

    wanted: OrderFilter
    limit: int
    after: Cursor | None
    texts: Mapping[str, str]

    def next_page(self, orders: list[Order]) -> str | None:
        """Return the query string of the page behind these orders, None behind the last one."""
        if len(orders) < self.limit:
            return None
        after = format_cursor(Cursor(orders[-1].at, orders[-1].id))
        return urlencode({**self.texts, "limit": self.limit, "after": after})


def parse_orders(parameters: Mapping[str, str]) -> OrderQuery:
    """Parse the parameters of a page; empty ones, as a form sends them, count as missing.

    Raises:
        QueryError: a parameter is unknown or malformed.
    """
    given = given_texts(parameters, (*ORDER_FILTERS, "limit", "after"))
    texts = {name: given[name] for name in ORDER_FILTERS if name in given}
    order = given.get("order")
    if order is not None and order not in ORDERS:
        raise QueryError("order", f"one of {', '.join(ORDERS)}")
    wanted = OrderFilter(
        by=given.get("by"),
        order=order,
        subject=given.get("subject"),
        since=parse_moment("since", given.get("since")),
    )
    limit, after = parse_limit(given.get("limit")), parse_cursor(given.get("after"))
    return OrderQuery(wanted, limit, after, texts)
