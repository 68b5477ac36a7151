"""The operation on orders, and the types of its JSON."""

from typing import Annotated

import msgspec

from streams.console.api.operations import Operation, Parameter
from streams.console.api.request_operations import PAGE_PARAMETERS
from streams.console.order_queries import ORDERS


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

OPERATIONS = (
    Operation(
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
    ),
)
