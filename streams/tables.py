"""Faust tables as stages see them: read here, written as data.

A row is bytes under a text key. A handler does not write; it returns a `TableWrite`. The runner
puts the row on the changelog with the partition of the event, and shows it to readers once it is
acknowledged, before the event's offset can be committed. So a row is never lost by a crash, and
recovery reads exactly what was acknowledged.
"""

from collections.abc import Iterator
from typing import Any

from streams.outbox import Write
from streams.records import TableWrite


class StageTable:
    """One table of one stage: the rows of the partitions that this process owns."""

    def __init__(self, app: Any, name: str, partitions: int) -> None:
        self.name = name
        self._table = app.Table(
            name, key_type=bytes, value_type=bytes, partitions=partitions, store="memory://"
        )

    def __len__(self) -> int:
        return len(self._table.data.data)

    def get(self, key: str) -> bytes | None:
        """Return the row, None when there is none."""
        row: bytes | None = self._table.data.data.get(key.encode())
        return row

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over a snapshot of all rows."""
        for key, value in list(self._table.data.data.items()):
            yield key.decode(), value

    def changelog(self, write: TableWrite, partition: int | None) -> Write:
        """Return the changelog record of a write."""
        topic = self._table.changelog_topic.get_topic_name()
        return Write(topic, write.key.encode(), write.value, partition=partition)

    def show(self, write: TableWrite, partition: int | None = None) -> None:
        """Make an acknowledged write visible to readers.

        ``partition`` is where its changelog record went: Faust forgets the rows of a partition
        that gets another owner, but only those whose partition it knows.
        """
        key, store = write.key.encode(), self._table.data
        if write.value is None:
            store.data.pop(key, None)
            store._key_partition.pop(key, None)  # noqa: SLF001  (Faust has no other way)
            return
        store.data[key] = write.value
        if partition is not None:
            store._key_partition[key] = partition  # noqa: SLF001
