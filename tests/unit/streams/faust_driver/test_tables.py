from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import RecordMetadata, TopicPartition
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.cluster.producer import Write
from streams.faust_driver.tables import OUT_OF_ORDER_MAX, StageTable
from streams.records import TableWrite
from streams.state_stores import InMemoryStore

CHANGELOG = "app-rows-changelog"


class FakeApp:
    """Faust app with a table and its changelog."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.read: dict[TP, int] = {}
        self.extensions: list[tuple[TP, int]] = []
        recovery = SimpleNamespace(
            read_offsets=self.read,
            assigned={TP(CHANGELOG, number) for number in range(4)},
            extend=lambda *end: self.extensions.append(end),
        )
        self.tables = SimpleNamespace(recovery=recovery, stores={})

    def Table(self, name: str, **options: Any) -> Any:  # noqa: N802
        self.options = options
        changelog = SimpleNamespace(get_topic_name=lambda: f"app-{name}-changelog")
        return SimpleNamespace(changelog_topic=changelog)


def metadata_of(offset: int, partition: int = 0) -> RecordMetadata:
    topic_partition = TopicPartition(CHANGELOG, partition)
    return RecordMetadata(CHANGELOG, partition, topic_partition, offset, None, None, None)


@pytest.fixture
def app() -> FakeApp:
    return FakeApp()


@pytest.fixture
def table(app: FakeApp) -> StageTable:
    return StageTable(app, "rows", 4, InMemoryStore())


def test_changelog_has_the_partition_count_of_the_source() -> None:
    app = FakeApp()
    StageTable(app, "rows", 4, InMemoryStore())
    assert app.options["partitions"] == 4
    assert app.options["store"] == "memory://"


def test_size_is_the_bytes_of_keys_and_rows(table: StageTable) -> None:
    assert table.size_bytes == 0
    table.apply(TableWrite("rows", "ä", b"123"), metadata_of(0))
    table.apply(TableWrite("rows", "b", b""), metadata_of(0))
    assert table.size_bytes == 2 + 3 + 1
    assert list(table.slices(1)) == [[("ä", b"123")], [("b", b"")]]


def test_progress_is_the_next_offset_of_each_partition_being_read(
    app: FakeApp, table: StageTable
) -> None:
    app.read.update({TP(CHANGELOG, 0): -1, TP(CHANGELOG, 1): 6})
    app.read[TP("another-changelog", 0)] = 5
    assert [(each.partition, each.next) for each in table.progress()] == [
        (TopicPartition(CHANGELOG, 0), 0),
        (TopicPartition(CHANGELOG, 1), 7),
    ]


def test_applied_rows_are_visible(table: StageTable) -> None:
    assert table.get("ä") is None
    table.apply(TableWrite("rows", "ä", b"1"), metadata_of(0))
    table.apply(TableWrite("rows", "b", b""), metadata_of(0))
    assert (table.get("ä"), table.get("b"), len(table)) == (b"1", b"", 2)
    table.apply(TableWrite("rows", "ä", b"2"), metadata_of(0))
    assert dict(table.items()) == {"ä": b"2", "b": b""}


def test_pending_rows_are_visible_to_their_batch_only(table: StageTable) -> None:
    table.apply(TableWrite("rows", "a", b"1"), metadata_of(0))
    table.add_pending(TableWrite("rows", "a", None))
    table.add_pending(TableWrite("rows", "b", b"2"))
    assert (table.get("a"), table.get("b")) == (b"1", None)
    table.reads_pending = True
    assert (table.get("a"), table.get("b"), len(table)) == (None, b"2", 1)
    table.clear_pending()
    assert (table.get("a"), table.get("b")) == (b"1", None)


def test_tombstone_deletes_a_row_or_is_a_no_op(table: StageTable) -> None:
    table.apply(TableWrite("rows", "a", b"1"), metadata_of(0))
    for _ in range(2):
        table.apply(TableWrite("rows", "a", None), metadata_of(0))
    assert (table.get("a"), len(table)) == (None, 0)


def test_rows_may_change_during_iteration(table: StageTable) -> None:
    for number in range(10):
        table.apply(TableWrite("rows", str(number), b"x"), metadata_of(0))
    for key, value in table.items():
        assert value == b"x"
        table.apply(TableWrite("rows", key, None), metadata_of(0))
    assert len(table) == 0


@pytest.mark.parametrize("partition", [0, 3, None])
def test_changelog_record_of_a_row(table: StageTable, partition: int | None) -> None:
    assert table.changelog_record(TableWrite("rows", "ä", b"1"), partition) == Write(
        "app-rows-changelog", "ä".encode(), b"1", partition=partition
    )


# Own writes that recovery need not read again


def apply_at(table: StageTable, *offsets: int, partition: int = 0) -> None:
    for offset in offsets:
        table.apply(TableWrite("rows", f"k{offset}", b"1"), metadata_of(offset, partition))


@given(st.permutations(range(11, 19)))
def test_own_writes_count_as_read_in_any_order_of_acknowledgement(
    order: list[int],
) -> None:
    app = FakeApp()
    table = StageTable(app, "rows", 4, InMemoryStore())
    app.read[TP(CHANGELOG, 0)] = 10
    apply_at(table, *order[:4])
    so_far = app.read[TP(CHANGELOG, 0)] or 0
    assert set(range(11, so_far + 1)) <= set(order[:4])
    assert so_far + 1 not in order[:4]
    apply_at(table, *order[4:])
    assert app.read == {TP(CHANGELOG, 0): 18}


def test_writes_after_that_of_another_worker_do_not_count_as_read(
    table: StageTable, app: FakeApp
) -> None:
    app.read[TP(CHANGELOG, 0)] = 10
    apply_at(table, 11, 13, 14)
    assert app.read == {TP(CHANGELOG, 0): 11}


def test_partitions_are_tracked_separately(table: StageTable, app: FakeApp) -> None:
    app.read |= {TP(CHANGELOG, 0): 10, TP(CHANGELOG, 1): 20}
    apply_at(table, 11)
    apply_at(table, 21, 22, partition=1)
    assert app.read == {TP(CHANGELOG, 0): 11, TP(CHANGELOG, 1): 22}


def test_writes_do_not_count_before_the_changelog_is_read(table: StageTable, app: FakeApp) -> None:
    apply_at(table, 0, 1)
    assert app.read == {}


def test_running_recovery_reads_up_to_own_writes(table: StageTable, app: FakeApp) -> None:
    apply_at(table, 7, 5)
    assert app.extensions == [(TP(CHANGELOG, 0), 7), (TP(CHANGELOG, 0), 5)]


def test_row_of_a_lost_partition_is_not_kept(table: StageTable, app: FakeApp) -> None:
    app.read[TP(CHANGELOG, 7)] = 0
    apply_at(table, 1, partition=7)
    assert (len(table), app.read) == (0, {TP(CHANGELOG, 7): 0})


def test_gap_from_before_a_rebalance_is_not_closed_after_it(
    table: StageTable, app: FakeApp
) -> None:
    app.read[TP(CHANGELOG, 0)] = 10
    apply_at(table, 12)
    table.discard_out_of_order()
    apply_at(table, 11)
    assert app.read == {TP(CHANGELOG, 0): 11}


def test_tracked_writes_after_a_gap_are_bounded(table: StageTable, app: FakeApp) -> None:
    app.read[TP(CHANGELOG, 0)] = 10
    apply_at(table, *range(12, 12 + 3 * OUT_OF_ORDER_MAX))
    assert sum(map(len, table._out_of_order.values())) <= OUT_OF_ORDER_MAX
