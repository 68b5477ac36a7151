"""Orders in the records of the commands, and their list in the history."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.codec import encode
from schemas.contract.examples import COMMANDS
from streams.history.order_list import OrderFilter, find_orders
from streams.history.orders import LATEST_SECONDS, PART_OF_JOB, Order, order_of
from streams.history.rows import Cursor
from streams.history.store import HistoryStore

JOB = "0123456789abcdef"


@dataclass
class Record:
    """A record as aiokafka returns it."""

    value: bytes | None
    partition: int = 1
    offset: int = 7
    timestamp: int = 5_000
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def order(**fields: Any) -> Order | None:
    return order_of(Record(encode({"by": "ann", **fields})))


def part(number: int, by: str = "ann", **fields: Any) -> Order:
    """Return the order of a command of a job."""
    body = {"id": f"{JOB}-{number:024x}", "command": "cancel", "request_id": "r", "by": by}
    found = order(**{**body, **fields})
    assert found is not None
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HistoryStore]:
    with HistoryStore(tmp_path / "history.db") as store:
        yield store


def apply(store: HistoryStore, *orders: Order) -> None:
    store.apply("commands", orders, {}, store.open_generation("cluster"))


def numbered(number: int, **fields: Any) -> Order:
    given = {"by": "ann", "order": "cancel", "subject": f"r{number}", **fields}
    return Order(id=f"0-{number}", at=float(number), **given)


def subjects(orders: list[Order]) -> list[str]:
    return [each.subject for each in orders]


@pytest.mark.parametrize(
    ("fields", "kind", "subject", "count", "note"),
    [
        ({"command": "cancel", "request_id": "r"}, "cancel", "r", 1, ""),
        (
            {
                "command": "retry",
                "request_id": "r",
                "new_id": "s",
                "options": {"quality": "480p", "degrade": True},
            },
            "retry",
            "r",
            1,
            "as s, quality=480p, degrade=True",
        ),
        ({"command": "refresh", "video": "tiktok:7"}, "refresh", "tiktok:7", 1, ""),
        ({"command": "open_breaker", "breaker": "a:b:c"}, "open_breaker", "a:b:c", 1, ""),
        ({"command": "reset_breaker", "breaker": "a:b:c"}, "reset_breaker", "a:b:c", 1, ""),
        ({"command": "resume_stage", "stage": "download"}, "resume_stage", "download", 1, ""),
        (
            {"command": "record_order", "order": "submit", "subject": "r", "count": 9, "note": "n"},
            "submit",
            "r",
            9,
            "n",
        ),
    ],
)
def test_command_is_an_order_of_its_author(
    fields: dict[str, Any], kind: str, subject: str, count: int, note: str
) -> None:
    assert order(**fields) == Order(
        id="1-7", at=5.0, by="ann", order=kind, subject=subject, count=count, note=note
    )


def test_every_command_is_an_order() -> None:
    assert None not in [order_of(Record(encode(each))) for each in COMMANDS]


def test_command_in_a_structured_cloud_event_is_an_order() -> None:
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "shop",
        "type": "cancel",
        "data": {"command": "cancel", "request_id": "r", "by": "ann"},
    }
    headers = (("content-type", b"application/cloudevents+json"),)
    found = order_of(Record(encode(event), headers=headers))
    assert found is not None
    assert (found.order, found.subject, found.by) == ("cancel", "r", "ann")


@pytest.mark.parametrize("value", [None, b"", b"{", b"{}", b'{"command": "stop"}', b"\xff"])
def test_record_that_the_service_rejects_is_no_order(value: bytes | None) -> None:
    assert order_of(Record(value)) is None


@pytest.mark.parametrize(
    ("timestamp", "at"), [(-1, 0.0), (0, 0.0), (1_500, 1.5), (2**62, LATEST_SECONDS)]
)
def test_time_of_any_record_is_one_that_can_be_written(timestamp: int, at: float) -> None:
    found = order_of(Record(encode(COMMANDS[0]), timestamp=timestamp))
    assert found is not None
    assert found.at == at


def test_commands_of_a_job_are_one_order_for_each_author(store: HistoryStore) -> None:
    later = msgspec.structs.replace(part(1), at=9.0)
    apply(store, later, part(2), part(3), part(4, by="eve"))
    found = {each.by: each for each in find_orders(store, OrderFilter(), 10)}
    assert found["ann"] == Order(
        id=f"cancel {JOB} ann",
        at=5.0,
        by="ann",
        order="cancel",
        subject=JOB,
        count=3,
        note=PART_OF_JOB,
    )
    assert found["eve"].count == 1


def test_order_with_the_id_of_another_is_listed_too(store: HistoryStore) -> None:
    body = encode({"command": "cancel", "id": "same", "request_id": "r"})
    records = [Record(body, offset=each) for each in range(2)]
    apply(store, *filter(None, map(order_of, records)))
    assert len(find_orders(store, OrderFilter(), 10)) == 2


def test_record_that_is_read_again_is_one_order(store: HistoryStore) -> None:
    apply(store, numbered(1, count=3))
    apply(store, numbered(1, count=3))
    assert [each.count for each in find_orders(store, OrderFilter(), 10)] == [3]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (OrderFilter(), ["r3", "r2", "r1"]),
        (OrderFilter(by="eve"), ["r2"]),
        (OrderFilter(order="retry"), ["r3"]),
        (OrderFilter(subject="r1"), ["r1"]),
        (OrderFilter(since=2.0), ["r3", "r2"]),
        (OrderFilter(by="eve", since=2.5), []),
    ],
)
def test_orders_are_listed_by_filter_newest_first(
    store: HistoryStore, wanted: OrderFilter, expected: list[str]
) -> None:
    apply(store, numbered(1), numbered(2, by="eve"), numbered(3, order="retry"))
    assert subjects(find_orders(store, wanted, 10)) == expected


def test_pages_of_orders_of_one_time_are_without_gap_and_overlap(store: HistoryStore) -> None:
    apply(store, *(msgspec.structs.replace(numbered(n), at=1.0) for n in range(7)))
    pages, after = [], None
    for _ in range(5):
        orders = find_orders(store, OrderFilter(), 3, after)
        if not orders:
            break
        pages.append(subjects(orders))
        after = Cursor(orders[-1].at, orders[-1].id)
    assert [len(each) for each in pages] == [3, 3, 1]
    assert len(set(itertools.chain(*pages))) == 7


def test_old_orders_and_those_beyond_the_limit_are_deleted(store: HistoryStore) -> None:
    apply(store, *map(numbered, range(10)))
    store.prune_orders(older_than=3.0, count=100)
    assert subjects(find_orders(store, OrderFilter(), 10))[-1] == "r3"
    store.prune_orders(older_than=3.0, count=2)
    assert subjects(find_orders(store, OrderFilter(), 10)) == ["r9", "r8"]


def test_orders_of_another_log_are_deleted(store: HistoryStore) -> None:
    apply(store, numbered(1))
    store.clear("other")
    assert find_orders(store, OrderFilter(), 10) == []


def test_orders_change_no_revision(store: HistoryStore) -> None:
    before = store.revision().number
    apply(store, numbered(1))
    assert store.revision().number == before
