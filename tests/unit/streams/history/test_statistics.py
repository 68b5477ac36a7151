from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streams.history.changes import RejectedCommand, RequestChange
from streams.history.statements import FoldedRecord
from streams.history.statistics import (
    TREND_HOURS,
    percentile,
    read_failures,
    read_results,
    read_waiting,
    success_ratio,
)
from streams.history.store import HistoryStore

NOW = 1_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HistoryStore]:
    with HistoryStore(tmp_path / "history.db") as store:
        yield store


def result(name: str, state: str, at: float, **fields: Any) -> RequestChange:
    fields = {"received_at": at - 2.0, **fields}
    return RequestChange(
        request_id=name, at=at, introduces=True, state=state, is_final=True, **fields
    )


def undecided(name: str, state: str, received_at: float, **fields: Any) -> RequestChange:
    return RequestChange(
        request_id=name,
        at=received_at,
        received_at=received_at,
        introduces=True,
        state=state,
        **fields,
    )


def apply(store: HistoryStore, *changes: RequestChange) -> None:
    records = [FoldedRecord(0, offset, each) for offset, each in enumerate(changes)]
    store.apply("audit", records, {}, store.open_generation("cluster"))


def test_results_of_a_time_span_are_counted_and_timed(store: HistoryStore) -> None:
    apply(
        store,
        *(result(f"c{n}", "completed", NOW - n, received_at=NOW - n - (n + 1)) for n in range(10)),
        result("early", "completed", NOW - 61),
        result("f", "failed", NOW - 1, received_at=0.0),
        result("x", "cancelled", NOW - 1),
        result("b", "batch_finished", NOW - 1),
        undecided("u", "accepted", NOW - 1),
    )
    found = read_results(store, 60.0, NOW)
    assert found.states == {"completed": 10, "failed": 1, "cancelled": 1}
    assert (found.per_minute, found.success_ratio) == (12.0, 10 / 11)
    assert (found.median_seconds, found.p99_seconds) == (5.0, 10.0)


def test_time_of_a_request_is_not_negative_when_its_client_is_ahead(store: HistoryStore) -> None:
    apply(store, result("c", "completed", NOW, received_at=NOW + 5))
    assert read_results(store, 60.0, NOW).median_seconds == 0.0


def test_results_of_an_empty_history_are_unknown(store: HistoryStore) -> None:
    found = read_results(store, 60.0, NOW)
    assert (found.per_minute, found.success_ratio, found.p99_seconds) == (0.0, None, None)


@pytest.mark.parametrize(
    ("states", "ratio"),
    [
        ({"completed": 3, "failed": 1}, 0.75),
        ({"completed": 1, "expired": 1, "rejected": 5, "cancelled": 5}, 0.5),
        ({"rejected": 5}, None),
    ],
)
def test_success_ratio_leaves_out_what_clients_decide(
    states: dict[str, int], ratio: float | None
) -> None:
    assert success_ratio(states) == ratio


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([1.0], 0.99, 1.0), ([1.0, 2.0], 0.5, 1.0), ([1.0, 2.0, 3.0], 0.99, 3.0)],
)
def test_percentile(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


def test_waiting_requests_are_dated(store: HistoryStore) -> None:
    apply(
        store,
        undecided("p1", "parked", 20.0, due=500.0),
        undecided("p2", "parked", 10.0, due=600.0),
        undecided("r", "retrying", 1.0, due=1.0),
        undecided("batch", "accepted", 2.0),
        undecided("a", "accepted", 6.0, url="u"),
        undecided("s", "selected", 5.0, url="u"),
    )
    found = read_waiting(store)
    assert (found.parked, found.parked_since, found.next_due) == (2, moment(10), moment(500))
    assert (found.oldest, found.oldest_state) == (moment(5), "selected")


def test_nothing_waits_in_an_empty_history(store: HistoryStore) -> None:
    found = read_waiting(store)
    assert (found.parked, found.next_due, found.oldest, found.oldest_state) == (0, None, None, None)


def test_failures_are_grouped_by_code_and_platform_with_their_hours(store: HistoryStore) -> None:
    hour = 3_600.0
    apply(
        store,
        result("1", "failed", NOW - 0.5 * hour, error="network.dns", video="tiktok:1"),
        result("2", "failed", NOW - 0.6 * hour, error="network.dns", video="tiktok:2"),
        result("3", "failed", NOW - 1.5 * hour, error="network.dns", video="tiktok:3"),
        result("4", "failed", NOW - 90 * hour, error="network.dns", video="tiktok:4"),
        result("5", "rejected", NOW + hour, error="request.invalid"),
        result("6", "cancelled", NOW, error="request.cancelled"),
        result(
            "c",
            "rejected",
            NOW,
            error="request.invalid",
            command=RejectedCommand(name="cancel", request_id="1"),
        ),
        undecided("7", "retrying", NOW, error="network.dns"),
    )
    dns, invalid = read_failures(store, NOW)
    assert (dns.error, dns.platform, dns.count, dns.share) == ("network.dns", "tiktok", 4, 0.8)
    assert (dns.first_at, dns.last_at) == (moment(NOW - 90 * hour), moment(NOW - 0.5 * hour))
    assert dns.hours == (*[0] * (TREND_HOURS - 2), 1, 2)
    assert (invalid.error, invalid.platform, invalid.count) == ("request.invalid", None, 1)
    assert (dns.retryable, invalid.retryable) == (4, 0)
    assert invalid.hours[-1] == 1


def test_statistics_read_only_covering_indexes(
    store: HistoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, Sequence[Any]]] = []
    select = store.select

    def record(query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        seen.append((query, values))
        return select(query, values)

    monkeypatch.setattr(store, "select", record)
    read_results(store, 60.0, NOW)
    read_failures(store, NOW)
    plans = [str(select(f"EXPLAIN QUERY PLAN {query}", values)) for query, values in seen]
    assert len(plans) == 4
    assert all("COVERING INDEX" in plan for plan in plans), plans


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
