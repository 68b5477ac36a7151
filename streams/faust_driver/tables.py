"""Tables of a stage: key-value state on a changelog topic, kept in a state store.

Faust declares the changelog and assigns its partitions. Its own stores are not used: they have a
lookup for each partition, lose rows that were not flushed, and know no expiry.

A row is bytes under a text key. Handlers do not write; they return a `TableWrite`. The processor
writes the row to the changelog, to the event's partition, and applies it once it is acknowledged,
before the event's offset can be committed. So no row is lost by a crash. Recovery also reads rows
whose acknowledgement was lost; their records are processed again.

After a rebalance the recovery reads the changelogs of kept partitions from the last read offset,
that is, all that the worker has written since. So these writes advance the read offset, as long as
they are contiguous: a gap may hold writes of another worker, which had the partition while this one
was frozen. The store's checkpoint is the last such record: the next process reads what is behind.
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
from streams.state_stores import Checkpoint, IndexedStore, StateStore, digest_of

OUT_OF_ORDER_MAX = 10_000
"""Offsets of writes behind a gap, per partition. A gap of this worker closes when its record is
acknowledged; behind another worker's gap the next recovery reads the rest."""


class DeclaredTableManager(TableManager):
    """Recovers by `TableRecovery` to `stores`, by the names of their changelogs.

    Starts without Faust's delay of a second, in which agents may declare tables.
    """

    _recovery: TableRecovery | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stores: dict[str, StateStore] = {}

    @property
    def recovery(self) -> TableRecovery:
        """The recovery service, made on first use."""
        if self._recovery is None:
            self._recovery = TableRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """Register the changelogs with the consumer, and start the recovery service."""
        await self._update_channels()
        await self.recovery.start()


class StageTable:
    """One table of one stage: the rows of the partitions that this process owns.

    Attributes:
        changelog: name of its changelog topic.
        reads_pending: whether `get` returns pending rows.
    """

    def __init__(self, app: Any, name: str, partitions: int, store: StateStore) -> None:
        self.name = name
        self.store = store
        self._app = app
        self._out_of_order: dict[TP, dict[int, int]] = {}
        self._pending: dict[str, bytes | None] = {}
        self.reads_pending = False
        self._table = app.Table(
            name, key_type=bytes, value_type=bytes, partitions=partitions, store="memory://"
        )
        self.changelog: str = self._table.changelog_topic.get_topic_name()
        app.tables.stores[self.changelog] = store

    def __len__(self) -> int:
        return len(self.store)

    @property
    def size_bytes(self) -> int:
        """Bytes of all keys and rows."""
        return self.store.size_bytes

    def progress(self) -> Iterator[TableProgress]:
        """Yield the recovery offset of each partition."""
        for tp, read in list(self._app.tables.recovery.read_offsets.items()):
            if tp.topic == self.changelog:
                yield TableProgress(self.name, TopicPartition(*tp), read + 1)

    def get(self, key: str) -> bytes | None:
        if self.reads_pending and key in self._pending:
            return self._pending[key]
        return self.store.get(key.encode())

    def add_pending(self, write: TableWrite) -> None:
        """Let `get` return a row that is not published yet, while `reads_pending` is set.

        For the records whose effects are published together with it.
        """
        self._pending[write.key] = write.value

    def clear_pending(self) -> None:
        self._pending.clear()

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over a snapshot of all rows."""
        for rows in self.slices(max(1, len(self.store))):
            yield from rows

    def slices(self, rows: int) -> Iterator[list[tuple[str, bytes]]]:
        """Iterate over slices of so many rows; each has the rows as they are when it is read."""
        for found in self.store.slices(rows):
            yield [(key.decode(), row) for key, row in found]

    def changelog_record(self, write: TableWrite, partition: int | None) -> Write:
        return Write(self.changelog, write.key.encode(), write.value, partition=partition)

    def apply(self, write: TableWrite, metadata: RecordMetadata) -> None:
        """Make an acknowledged write visible to readers.

        ``metadata`` is that of its changelog record. The row of a partition that has another owner
        by now is not kept.
        """
        tp = TP(metadata.topic, metadata.partition)
        if tp not in self._app.tables.recovery.assigned:
            return
        self._app.tables.recovery.extend(tp, metadata.offset)
        key = write.key.encode()
        self.store.put(key, write.value, metadata.partition)
        self._advance(tp, metadata.offset, digest_of(key, write.value))

    def discard_out_of_order(self) -> None:
        """Discard the writes behind gaps: recovery reads them after a rebalance."""
        self._out_of_order.clear()

    def _advance(self, tp: TP, offset: int, digest: int) -> None:
        """Advance the read offset and the checkpoint over contiguous changelog records."""
        read = self._app.tables.recovery.read_offsets
        known = read.get(tp)
        ahead = self._out_of_order.setdefault(tp, {})
        ahead[offset] = digest
        if known is None or len(ahead) > OUT_OF_ORDER_MAX:
            ahead.clear()
            return
        while known + 1 in ahead:
            known += 1
            self.store.set_checkpoint(tp.partition, Checkpoint(known, ahead.pop(known)))
        read[tp] = known


class IndexedStageTable(StageTable):
    """A table in a store that indexes the rows by their expiry."""

    store: IndexedStore

    @property
    def counted(self) -> int:
        """Number of rows that `RowFields.is_counted` counts."""
        return self.store.counted

    def expired(self, now: float) -> Iterator[list[str]]:
        """Yield the keys of the expired rows, a slice at a time."""
        return _decoded(self.store.expired(now))

    def first_to_expire(self, size_bytes: int) -> Iterator[list[str]]:
        """Yield the keys of the rows that expire first and have so many bytes."""
        return _decoded(self.store.first_to_expire(size_bytes))


def _decoded(slices: Iterator[list[bytes]]) -> Iterator[list[str]]:
    return ([key.decode() for key in keys] for keys in slices)
