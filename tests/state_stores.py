"""An indexed store in memory: the model of `RocksDbStore`, and its double in tests of stages."""

from collections.abc import Iterator

from streams.state_stores import InMemoryStore, RowFields


class IndexedInMemoryStore(InMemoryStore):
    """Reads all rows where the store on disk reads its index."""

    def __init__(self, index: RowFields) -> None:
        super().__init__()
        self._index = index

    def _all(self) -> list[tuple[bytes, bytes]]:
        return [entry for rows in self.slices(1_000) for entry in rows]

    @property
    def counted(self) -> int:
        return sum(self._index.is_counted(row) for _, row in self._all())

    def expired(self, now: float) -> Iterator[list[bytes]]:
        yield [key for key, row in self._all() if self._index.expires_at(row) <= now]

    def first_to_expire(self, size_bytes: int) -> Iterator[list[bytes]]:
        keys = []
        for key, row in sorted(self._all(), key=lambda entry: self._index.expires_at(entry[1])):
            if size_bytes > 0:
                keys.append(key)
                size_bytes -= len(key) + len(row)
        yield keys
