"""Faust tables as stages see them: read here, written as data.

A row is bytes under a text key. A handler does not write; it returns a `TableWrite`. The runner
puts the row on the changelog with the partition of the event, and shows it to readers once it is
acknowledged, before the event's offset can be committed. So a row is never lost by a crash, and
recovery reads exactly what was acknowledged.

After a rebalance Faust reads the changelogs of kept partitions from where it stopped reading, that
is, all that the worker has written since. So these writes are counted as read, as long as they
follow each other: behind a gap may be the writes of another worker, which had the partition while
this one was frozen.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata
from faust.tables.manager import TableManager
from faust.types import TP

from streams.cluster.producer import Write
from streams.observability.lag import TableProgress
from streams.records import TableWrite

AHEAD_MAX = 10_000
"""Writes of a partition behind a gap. A gap of our own closes when its record is acknowledged;
behind another worker's the next recovery reads what follows."""


class DeclaredTableManager(TableManager):
    """Starts at once: Faust gives agents a second to declare tables, ours are declared before."""

    async def on_start(self) -> None:
        """Announce the changelogs to the consumer, and be ready to recover them."""
        await self._update_channels()
        await self.recovery.start()


class StageTable:
    """One table of one stage: the rows of the partitions that this process owns."""

    def __init__(self, app: Any, name: str, partitions: int) -> None:
        self.name = name
        self._app = app
        self._ahead: dict[TP, set[int]] = {}
        self._table = app.Table(
            name, key_type=bytes, value_type=bytes, partitions=partitions, store="memory://"
        )

    def __len__(self) -> int:
        return len(self._table.data.data)

    @property
    def size_bytes(self) -> int:
        """Bytes of all keys and rows; takes 40 ns a row."""
        rows = self._table.data.data
        return sum(map(len, rows)) + sum(map(len, rows.values()))

    def progress(self) -> Iterator[TableProgress]:
        """Yield how far the recovery of each partition is."""
        topic = self._table.changelog_topic.get_topic_name()
        for tp, read in list(self._app.tables.recovery.active_offsets.items()):
            if tp.topic == topic and read is not None:
                yield TableProgress(self.name, TopicPartition(*tp), read + 1)

    def get(self, key: str) -> bytes | None:
        """Return the row, None when there is none."""
        row: bytes | None = self._table.data.data.get(key.encode())
        return row

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over a snapshot of all rows."""
        for key, value in list(self._table.data.data.items()):
            yield key.decode(), value

    def rows(self) -> Iterator[bytes]:
        """Iterate over all rows, without a copy: to be done before the next await."""
        return iter(self._table.data.data.values())

    def changelog(self, write: TableWrite, partition: int | None) -> Write:
        """Return the changelog record of a write."""
        topic = self._table.changelog_topic.get_topic_name()
        return Write(topic, write.key.encode(), write.value, partition=partition)

    def show(self, write: TableWrite, place: RecordMetadata | None = None) -> None:
        """Make an acknowledged write visible to readers.

        ``place`` is where its changelog record went: Faust forgets the rows of a partition that
        gets another owner, but only those whose partition it knows.
        """
        if place is not None:
            self._note_read(TP(place.topic, place.partition), place.offset)
        key, store = write.key.encode(), self._table.data
        if write.value is None:
            store.data.pop(key, None)
            store._key_partition.pop(key, None)  # noqa: SLF001  (Faust has no other way)
            return
        store.data[key] = write.value
        if place is not None:
            store._key_partition[key] = place.partition  # noqa: SLF001

    def forget_gaps(self) -> None:
        """Forget writes behind a gap: after a rebalance recovery reads them."""
        self._ahead.clear()

    def _note_read(self, tp: TP, offset: int) -> None:
        """Note that recovery need not read a record of the changelog again."""
        read = self._app.tables.recovery.active_offsets
        known = read.get(tp)
        ahead = self._ahead.setdefault(tp, set())
        ahead.add(offset)
        if known is None or len(ahead) > AHEAD_MAX:
            ahead.clear()
            return
        while known + 1 in ahead:
            known += 1
            ahead.discard(known)
        read[tp] = known
