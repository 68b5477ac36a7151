from types import SimpleNamespace
from typing import Any

import pytest

from streams.outbox import Write
from streams.records import TableWrite
from streams.tables import StageTable


class FakeApp:
    """What a Faust app gives for a table: a store with a dictionary, and its changelog."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.store = SimpleNamespace(data={}, _key_partition={})

    def Table(self, name: str, **options: Any) -> Any:  # noqa: N802
        self.options = options
        changelog = SimpleNamespace(get_topic_name=lambda: f"app-{name}-changelog")
        return SimpleNamespace(data=self.store, changelog_topic=changelog)


@pytest.fixture
def app() -> FakeApp:
    return FakeApp()


@pytest.fixture
def table(app: FakeApp) -> StageTable:
    return StageTable(app, "rows", 4)


def test_its_changelog_has_the_partitions_of_the_source() -> None:
    app = FakeApp()
    StageTable(app, "rows", 4)
    assert app.options["partitions"] == 4
    assert app.options["store"] == "memory://"


def test_rows_are_seen_when_they_are_shown(table: StageTable) -> None:
    assert table.get("ä") is None
    table.show(TableWrite("rows", "ä", b"1"))
    table.show(TableWrite("rows", "b", b""))
    assert (table.get("ä"), table.get("b"), len(table)) == (b"1", b"", 2)
    table.show(TableWrite("rows", "ä", b"2"))
    assert dict(table.items()) == {"ä": b"2", "b": b""}


def test_a_tombstone_deletes_even_what_is_not_there(table: StageTable) -> None:
    table.show(TableWrite("rows", "a", b"1"))
    for _ in range(2):
        table.show(TableWrite("rows", "a", None))
    assert (table.get("a"), len(table)) == (None, 0)


def test_faust_knows_the_partition_of_a_row_as_long_as_there_is_one(
    table: StageTable, app: FakeApp
) -> None:
    table.show(TableWrite("rows", "a", b"1"), 3)
    table.show(TableWrite("rows", "b", b"1"))
    assert app.store._key_partition == {b"a": 3}
    table.show(TableWrite("rows", "a", None), 3)
    assert app.store._key_partition == {}


def test_rows_may_change_while_they_are_iterated(table: StageTable) -> None:
    for number in range(10):
        table.show(TableWrite("rows", str(number), b"x"))
    for key, value in table.items():
        assert value == b"x"
        table.show(TableWrite("rows", key, None))
    assert len(table) == 0


@pytest.mark.parametrize("partition", [0, 3, None])
def test_a_row_on_the_changelog(table: StageTable, partition: int | None) -> None:
    assert table.changelog(TableWrite("rows", "ä", b"1"), partition) == Write(
        "app-rows-changelog", "ä".encode(), b"1", partition=partition
    )
