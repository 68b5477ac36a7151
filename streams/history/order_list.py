"""The list of orders in the history."""

from typing import Any

import msgspec

from streams.history.orders import Order
from streams.history.rows import Cursor
from streams.history.store import HistoryStore

_FIELDS = ("id", "at", "by", "order", "subject", "count", "note")

_COLUMNS = "id, at, author, kind, subject, count, note"


class OrderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders to return; None matches all."""

    by: str | None = None
    order: str | None = None
    subject: str | None = None
    since: float | None = None


def find_orders(
    store: HistoryStore, wanted: OrderFilter, limit: int, after: Cursor | None = None
) -> list[Order]:
    """Return the orders that match, newest first, from behind a cursor."""
    conditions, values = ["TRUE"], list[Any]()
    for condition, value in (
        ("author = ?", wanted.by),
        ("kind = ?", wanted.order),
        ("subject = ?", wanted.subject),
        ("at >= ?", wanted.since),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if after is not None:
        conditions.append("(at, id) < (?, ?)")
        values += [after.received_at, after.id]
    where = " AND ".join(conditions)
    query = f"SELECT {_COLUMNS} FROM user_order WHERE {where} ORDER BY at DESC, id DESC LIMIT ?"  # noqa: S608  (constants)
    return [
        Order(**dict(zip(_FIELDS, row, strict=True)))
        for row in store.select(query, (*values, limit))
    ]
