"""The history in SQLite."""

import itertools
import logging
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorCode
from streams.history.changes import RejectedCommand, RequestChange, RequestEvent
from streams.history.rows import CriterionError, Cursor, RequestFilter, RequestRow, RetryState
from streams.history.statements import FoldedRecord
from streams.history.store import (
    PRUNED_REQUESTS,
    RETRIES_MAX,
    HistoryError,
    HistoryStore,
    ReadPosition,
    StaleGenerationError,
)

ALL = RequestFilter()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.db"


@pytest.fixture
def store(path: Path) -> Iterator[HistoryStore]:
    with HistoryStore(path) as store:
        yield store


def change(
    request_id: str = "r", at: float = 1.0, *, introduces: bool = True, **fields: Any
) -> RequestChange:
    return RequestChange(request_id=request_id, at=at, introduces=introduces, **fields)


def transition(name: str, at: float, request_id: str = "r", **fields: Any) -> RequestChange:
    event = RequestEvent(at=at, step="s", transition=name)
    return change(request_id, at, event=event, **{"step": "s", **fields})


ACCEPTED = transition(
    "accepted", 1.0, state="accepted", action="info", url="u", video="tiktok:7", received_at=0.5
)
RETRYING = transition(
    "retrying", 2.0, introduces=False, state="retrying", error="network.timeout", due=30.0
)
EXTRACTED = transition("extracted", 3.0, introduces=False, state="extracted")
FINISHED = transition("finished", 4.0, introduces=False, step=None)
COMPLETED = change(at=4.0, state="completed", is_final=True, attempts=2, received_at=0.5)
FAILED = change(
    at=4.0,
    state="failed",
    is_final=True,
    error="content.private",
    step="extraction",
    received_at=0.5,
)

AUDITED = [ACCEPTED, RETRYING, EXTRACTED, FINISHED]


def apply(
    store: HistoryStore, *changes: RequestChange, topic: str = "audit", partition: int = 0
) -> None:
    records = [FoldedRecord(partition, offset, each) for offset, each in enumerate(changes)]
    store.apply(topic, records, {}, store.open_generation("cluster"))


def states_of(store: HistoryStore, wanted: RequestFilter = ALL) -> dict[str, str]:
    return {row.id: row.state for row in store.requests(wanted, 1_000)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            [ACCEPTED],
            {"state": "accepted", "action": "info", "url": "u", "video": "tiktok:7", "step": "s"},
            id="accepted",
        ),
        pytest.param(
            [ACCEPTED, RETRYING],
            {"state": "retrying", "error": "network.timeout", "due": 30.0, "is_final": False},
            id="waits for its next attempt",
        ),
        pytest.param(
            [ACCEPTED, RETRYING, EXTRACTED],
            {"state": "extracted", "error": "network.timeout", "due": None},
            id="goes on",
        ),
        pytest.param(
            [*AUDITED, COMPLETED],
            {"state": "completed", "error": None, "attempts": 2, "is_final": True},
            id="completed",
        ),
        pytest.param(
            [*AUDITED, FAILED],
            {"state": "failed", "error": "content.private", "step": "extraction", "url": "u"},
            id="failed",
        ),
        pytest.param(
            [FAILED, RETRYING],
            {"state": "failed", "error": "content.private", "due": None, "step": "extraction"},
            id="late transition",
        ),
        pytest.param(
            [COMPLETED, FAILED], {"state": "completed", "error": None}, id="the first result stays"
        ),
        pytest.param(
            [ACCEPTED, transition("retrying", 99.0, state="retrying", due=120.0), EXTRACTED],
            {"state": "extracted", "due": None, "updated_at": 99.0},
            id="clock of another worker is ahead",
        ),
        pytest.param(
            [ACCEPTED, transition("ordered", 99.0, introduces=False, step=None), RETRYING],
            {"state": "retrying", "due": 30.0, "step": "s"},
            id="command from a clock that is ahead",
        ),
        pytest.param(
            [*AUDITED, COMPLETED, *AUDITED, msgspec.structs.replace(FAILED, received_at=9.0)],
            {"state": "failed", "received_at": 9.0, "error": "content.private"},
            id="id that is used again",
        ),
    ],
)
def test_request_has_the_state_of_its_records(
    store: HistoryStore, changes: Sequence[RequestChange], expected: dict[str, Any]
) -> None:
    apply(store, *changes)
    row = store.request("r")
    assert row is not None
    assert {name: getattr(row, name) for name in expected} == expected


@given(position=st.integers(0, len(AUDITED)), data=st.data())
def test_result_may_arrive_before_or_between_the_transitions(
    position: int, data: st.DataObject
) -> None:
    result = data.draw(st.sampled_from([COMPLETED, FAILED]))
    rows = []
    for place in (position, len(AUDITED)):
        with TemporaryDirectory() as folder, HistoryStore(Path(folder) / "history.db") as store:
            generation = store.open_generation("cluster")
            audited = [FoldedRecord(0, offset, each) for offset, each in enumerate(AUDITED)]
            store.apply("audit", audited[:place], {}, generation)
            store.apply("results", [FoldedRecord(3, 1, result)], {}, generation)
            store.apply("audit", audited[place:], {}, generation)
            rows.append(store.request("r"))
    assert rows[0] is not None
    assert rows[0] == rows[1]


def test_record_that_is_read_again_changes_nothing(store: HistoryStore) -> None:
    apply(store, *AUDITED, COMPLETED)
    before = store.request("r"), store.events("r")
    apply(store, *AUDITED, COMPLETED)
    assert (store.request("r"), store.events("r")) == before
    assert [each.transition for each in store.events("r")] == [
        "accepted",
        "retrying",
        "extracted",
        "finished",
    ]


FILTERED: list[tuple[RequestFilter, set[str]]] = [
    (ALL, {"a", "b", "b/0"}),
    (RequestFilter(state="failed"), {"a"}),
    (RequestFilter(error="content.private"), {"a"}),
    (RequestFilter(platform="tiktok"), {"a"}),
    (RequestFilter(platform="tik"), set()),
    (RequestFilter(platform="streamable"), {"b/0"}),
    (RequestFilter(video="streamable:x"), {"b/0"}),
    (RequestFilter(url="u"), {"a"}),
    (RequestFilter(batch="b"), {"b/0"}),
    (RequestFilter(retry_of="b/0"), {"a"}),
    (RequestFilter(since=2.0), {"b", "b/0"}),
    (RequestFilter(since=2.0, state="failed"), set()),
]


@pytest.mark.parametrize(("wanted", "expected"), FILTERED)
def test_requests_are_filtered(
    store: HistoryStore, wanted: RequestFilter, expected: set[str]
) -> None:
    apply(
        store,
        change("a", 1.0, state="failed", error="content.private", url="u", video="tiktok:7"),
        change("a", 1.0, retry_of="b/0", introduces=False),
        change("b", 2.0, state="batch_finished", is_final=True),
        change("b/0", 3.0, state="parked", batch="b", video="streamable:x"),
    )
    assert states_of(store, wanted).keys() == expected


@pytest.mark.parametrize("code", [None, *ErrorCode, "recorded"])
def test_code_of_the_catalogue_or_of_a_request_is_accepted(
    store: HistoryStore, code: str | None
) -> None:
    apply(store, change("a", 1.0, state="failed", error="recorded"))
    store.check_error(code)


@pytest.mark.parametrize("code", ["foo", "network", "content.foo", "' OR 1=1 --"])
def test_unknown_code_is_rejected_with_the_families(store: HistoryStore, code: str) -> None:
    with pytest.raises(
        CriterionError, match=r"such as content.not_found; .* network\.\*"
    ) as raised:
        store.check_error(code)
    assert raised.value.field == "error"


def test_details_are_those_of_the_last_result(store: HistoryStore) -> None:
    failed = msgspec.structs.replace(FAILED, details={"reason": "x"})
    apply(store, ACCEPTED, failed, EXTRACTED)
    assert store.details("r") == {"reason": "x"}
    again = change(at=9.0, state="completed", is_final=True, received_at=8.0)
    apply(store, again, topic="results", partition=1)
    assert (store.details("r"), store.details("unknown")) == ({}, {})


def test_retries_are_listed_oldest_first_with_their_states(store: HistoryStore) -> None:
    many = [change(f"m{n}", 9.0 + n, retry_of="m") for n in range(RETRIES_MAX + 1)]
    again = change("r/replay-1", 5.0, state="completed", is_final=True, retry_of="r")
    apply(store, change("late", 7.0, state="failed", retry_of="r"), ACCEPTED, again, *many)
    retries = [RetryState("r/replay-1", "completed"), RetryState("late", "failed")]
    assert store.retries("r") == retries
    assert store.retries("late") == []
    assert [each.id for each in store.retries("m")] == [f"m{n}" for n in range(RETRIES_MAX)]


def test_first_origin_of_a_retry_stays_until_its_id_is_used_again(store: HistoryStore) -> None:
    again = change(at=9.0, state="failed", is_final=True, received_at=8.0, retry_of="c")
    for each, origin in ((ACCEPTED, None), (COMPLETED, None), (again, "c")):
        apply(store, each)
        row = store.request("r")
        assert row is not None
        assert row.retry_of == origin


def test_rejected_command_is_kept(store: HistoryStore) -> None:
    command = RejectedCommand(name="cancel", request_id="r")
    apply(store, change("c", 1.0, state="rejected", is_final=True, command=command), ACCEPTED)
    row = store.request("c")
    assert row is not None
    assert (row.command, row.subject) == (command, "rejected command: cancel r")
    assert [each.subject for each in store.requests(ALL, 10)] == [row.subject, "u"]


def test_pages_have_each_request_once_newest_first(store: HistoryStore) -> None:
    apply(store, *(change(f"r{number:02}", number // 3) for number in range(20)))
    pages: list[RequestRow] = []
    after = None
    while page := store.requests(ALL, 7, after):
        pages += page
        after = Cursor(page[-1].received_at, page[-1].id)
    assert [each.id for each in pages] == [f"r{number:02}" for number in reversed(range(20))]


def test_counts_are_by_state(store: HistoryStore) -> None:
    apply(store, change("a", state="parked"), change("b", state="parked"), change("c", 7.0))
    assert store.counts(ALL) == {"parked": 2, "accepted": 1}
    assert store.counts(RequestFilter(since=5.0)) == {"accepted": 1}


def test_records_of_an_unknown_request_introduce_none(store: HistoryStore) -> None:
    apply(store, EXTRACTED, RETRYING, FINISHED)
    assert (store.request("r"), store.events("r")) == (None, [])


def test_newer_transition_stays_when_partitions_are_read_in_any_order(store: HistoryStore) -> None:
    apply(store, ACCEPTED, EXTRACTED, partition=5)
    apply(store, RETRYING, partition=0)
    row = store.request("r")
    assert row is not None
    assert (row.state, row.due) == ("extracted", None)


@pytest.mark.parametrize(
    ("older_than", "count", "kept"),
    [(0.0, 3, {"r7", "r8", "r9"}), (8.0, 100, {"r8", "r9"}), (0.0, 100, set(range(10)))],
)
def test_oldest_requests_are_pruned_with_their_events(
    store: HistoryStore, older_than: float, count: int, kept: set[Any]
) -> None:
    apply(store, *(transition("accepted", number, f"r{number}") for number in range(10)))
    while store.prune(older_than=older_than, count=count):
        pass
    names = {f"r{each}" if isinstance(each, int) else each for each in kept}
    assert states_of(store).keys() == names
    assert {name for name in map("r{}".format, range(10)) if store.events(name)} == names


def test_pruning_is_done_in_slices(store: HistoryStore) -> None:
    apply(store, *(change(f"r{number}", number) for number in range(PRUNED_REQUESTS + 10)))
    deleted = iter(lambda: store.prune(older_than=0.0, count=1), 0)
    assert list(deleted) == [PRUNED_REQUESTS, 9]


def test_positions_are_stored_with_the_rows_or_not_at_all(store: HistoryStore) -> None:
    generation = store.open_generation("cluster")
    positions = {0: ReadPosition(7, 1), 2: ReadPosition(3, 2)}
    store.apply("audit", [FoldedRecord(0, 6, ACCEPTED)], positions, generation)
    assert store.positions("audit") == positions
    assert store.positions("results") == {}
    broken = change("broken", event=RequestEvent(at=1.0, step="s", transition="t", detail={1j: ""}))  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        store.apply("audit", [FoldedRecord(0, 7, broken)], {0: ReadPosition(8, 1)}, generation)
    assert store.positions("audit")[0] == ReadPosition(7, 1)
    assert store.request("broken") is None


def test_position_never_moves_back(store: HistoryStore) -> None:
    generation = store.open_generation("cluster")
    store.apply("audit", [], {0: ReadPosition(7, 1)}, generation)
    store.apply("audit", [], {0: ReadPosition(3, 2)}, generation)
    assert store.positions("audit") == {0: ReadPosition(7, 1)}


def changed(store: HistoryStore, after: int = 0, limit: int = 100) -> list[tuple[int, str, str]]:
    return [(each.number, each.row.id, each.row.state) for each in store.changes(after, limit)]


def test_changed_requests_are_read_behind_a_revision_earliest_first(store: HistoryStore) -> None:
    apply(store, change("a"), change("b"), change("c"))
    before = store.revision().number
    assert changed(store, limit=2) == [(1, "a", "accepted"), (2, "b", "accepted")]
    apply(store, change("b", state="failed", is_final=True), change("unknown", introduces=False))
    assert changed(store, before) == [(4, "b", "failed")]
    assert changed(store, store.revision().number) == []
    assert [name for _, name, _ in changed(store)] == ["a", "c", "b"]


def test_revision_rises_over_restarts_and_in_all_processes(path: Path) -> None:
    with HistoryStore(path) as store:
        apply(store, change("a"))
        first = store.revision()
    with HistoryStore(path) as one, HistoryStore(path) as other:
        apply(one, change("b"))
        apply(other, change("c"))
        last = one.revision()
        assert changed(one, first.number) == [(2, "b", "accepted"), (3, "c", "accepted")]
    assert (last.generation, last.number) == (first.generation, first.number + 2)


def test_emptied_or_new_file_is_another_generation(store: HistoryStore) -> None:
    first = store.revision().generation
    store.clear("cluster")
    assert store.revision().generation > first
    assert abs(first - time.time()) < 60, "the time of creation: of a file with other rows, another"


def test_history_survives_a_restart(path: Path) -> None:
    with HistoryStore(path) as store:
        apply(store, ACCEPTED)
    with HistoryStore(path) as store:
        assert states_of(store) == {"r": "accepted"}


def test_rows_of_another_cluster_are_emptied(store: HistoryStore) -> None:
    apply(store, ACCEPTED)
    assert store.open_generation("cluster") == store.open_generation("cluster")
    assert states_of(store) == {"r": "accepted"}
    store.open_generation("another")
    assert (states_of(store), store.events("r"), store.positions("audit")) == ({}, [], {})


def test_reader_of_an_emptied_history_writes_nothing(path: Path) -> None:
    with HistoryStore(path) as one, HistoryStore(path) as other:
        generation = one.open_generation("cluster")
        assert other.clear("cluster") != generation
        with pytest.raises(StaleGenerationError):
            one.apply("audit", [FoldedRecord(0, 6, ACCEPTED)], {0: ReadPosition(7, 1)}, generation)
        assert (states_of(one), one.positions("audit")) == ({}, {})


def test_damaged_file_is_moved_aside_and_filled_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path.parent.mkdir()
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5_000)
    with HistoryStore(path) as store:
        apply(store, ACCEPTED)
        assert states_of(store) == {"r": "accepted"}
    assert path.with_name("history.db.damaged").exists()
    assert "moved to" in caplog.text


def test_rows_of_another_version_are_dropped(path: Path) -> None:
    with HistoryStore(path) as store:
        apply(store, ACCEPTED)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    with HistoryStore(path) as store:
        assert states_of(store) == {}
        apply(store, ACCEPTED)


def test_database_of_another_program_is_not_touched(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE request (precious)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="of another program; move it away"):
        HistoryStore(path).__enter__()
    assert path.read_bytes() == before


def test_directory_in_place_of_the_file_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(HistoryError, match=r"history.db: unable to open .*; free space"):
        HistoryStore(path).__enter__()


def test_file_in_place_of_the_data_directory_is_named(path: Path) -> None:
    path.parent.write_bytes(b"")
    with pytest.raises(HistoryError, match="data_dir has to be a directory"):
        HistoryStore(path).__enter__()


def write_forever(path: Path) -> None:
    with HistoryStore(path) as store:
        generation = store.open_generation("cluster")
        for number in itertools.count():
            record = FoldedRecord(0, number, transition("accepted", number, f"r{number}"))
            store.apply("audit", [record], {0: ReadPosition(number + 1, 0)}, generation)


def test_killed_writer_leaves_the_rows_of_its_position(path: Path) -> None:
    writer = multiprocessing.get_context("spawn").Process(target=write_forever, args=(path,))
    writer.start()
    deadline = time.monotonic() + 20
    with HistoryStore(path) as store:
        while not (position := store.positions("audit").get(0)) or position.next_offset < 200:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        (position,) = store.positions("audit").values()
        assert store.counts(ALL) == {"accepted": position.next_offset}
        assert store.events(f"r{position.next_offset - 1}")
