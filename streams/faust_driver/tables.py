"""Tables of a stage: key-value state on a changelog topic, kept in memory by Faust.

A row is bytes under a text key. Handlers do not write; they return a `TableWrite`. The processor
writes the row to the changelog, to the event's partition, and applies it once it is acknowledged,
before the event's offset can be committed. So no row is lost by a crash. Recovery also reads rows
whose acknowledgement was lost; their records are processed again.

After a rebalance the recovery reads the changelogs of kept partitions from the last read offset,
that is, all that the worker has written since. So these writes advance the read offset, as long as
they are contiguous: a gap may hold writes of another worker, which had the partition while this one
was frozen.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata
from faust.tables.manager import TableManager
from faust.types import TP

from streams.cluster.producer import Write
from streams.faust_driver.table_recovery import TableRecovery
from streams.observability.lag import TableProgress
from streams.records import TableWrite

AHEAD_MAX = 10_000
"""Offsets of writes behind a gap, per partition. A gap of this worker closes when its record is
acknowledged; behind another worker's gap the next recovery reads the rest."""


class DeclaredTableManager(TableManager):
    """Recovers by `TableRecovery`.

    Starts without Faust's delay of a second, in which agents may declare tables.
    """

    _recovery: TableRecovery | None

    @property
    def recovery(self) -> TableRecovery:
        """The recovery service, made on first use."""
        if self._recovery is None:
            self._recovery = TableRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    def changelog_table(self, topic: str) -> Any:
        """Return the Faust table of a changelog topic."""
        return self._changelogs[topic]

    async def on_start(self) -> None:
        """Register the changelogs with the consumer, and start the recovery service."""
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
        """Bytes of all keys and rows; costs 40 ns a row."""
        rows = self._table.data.data
        return sum(map(len, rows)) + sum(map(len, rows.values()))

    def progress(self) -> Iterator[TableProgress]:
        """Yield the recovery offset of each partition."""
        topic = self._table.changelog_topic.get_topic_name()
        for tp, read in list(self._app.tables.recovery.read_offsets.items()):
            if tp.topic == topic:
                yield TableProgress(self.name, TopicPartition(*tp), read + 1)

    def get(self, key: str) -> bytes | None:
        row: bytes | None = self._table.data.data.get(key.encode())
        return row

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over a snapshot of all rows."""
        for key, value in list(self._table.data.data.items()):
            yield key.decode(), value

    def slices(self, rows: int) -> Iterator[list[tuple[str, bytes]]]:
        """Iterate over slices of so many rows; each has the rows as they are when it is read."""
        stored = self._table.data.data
        keys = list(stored)
        for first in range(0, len(keys), rows):
            yield [
                (key.decode(), row)
                for key in keys[first : first + rows]
                if (row := stored.get(key)) is not None
            ]

    def changelog_record(self, write: TableWrite, partition: int | None) -> Write:
        topic = self._table.changelog_topic.get_topic_name()
        return Write(topic, write.key.encode(), write.value, partition=partition)

    def apply(self, write: TableWrite, metadata: RecordMetadata) -> None:
        """Make an acknowledged write visible to readers.

        ``metadata`` is that of its changelog record. The row of a partition that has another owner
        by now is not kept.
        """
        tp = TP(metadata.topic, metadata.partition)
        if tp not in self._app.tables.recovery.assigned:
            return
        self._app.tables.recovery.extend(tp, metadata.offset)
        self._advance_read_offset(tp, metadata.offset)
        key, store = write.key.encode(), self._table.data
        if write.value is None:
            store.data.pop(key, None)
            store._key_partition.pop(key, None)  # noqa: SLF001  (no public API)
        else:
            store.data[key] = write.value
            store._key_partition[key] = metadata.partition  # noqa: SLF001

    def discard_gaps(self) -> None:
        """Discard the writes behind gaps: recovery reads them after a rebalance."""
        self._ahead.clear()

    def _advance_read_offset(self, tp: TP, offset: int) -> None:
        """Mark a changelog record as read, so that recovery skips it."""
        read = self._app.tables.recovery.read_offsets
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
